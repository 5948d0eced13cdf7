const { readFileSync } = require('node:fs');

/** Bytes of memory that the process has at present, without what it could give back at once. */
function residentMemory() {
  globalThis.gc?.();
  return Number(/^VmRSS:\s+(\d+) kB/m.exec(readFileSync('/proc/self/status', 'utf8'))[1]) * 1024;
}

module.exports = { residentMemory };
