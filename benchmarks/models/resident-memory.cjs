const { readFileSync } = require('node:fs');
const { setTimeout: wait } = require('node:timers/promises');

/** Bytes of memory that the process holds once it has collected its garbage: buffers go with the second collection. */
async function residentMemory() {
  for (let i = 0; i < 3; i++) {
    globalThis.gc?.();
    await wait(20);
  }
  return Number(/^VmRSS:\s+(\d+) kB/m.exec(readFileSync('/proc/self/status', 'utf8'))[1]) * 1024;
}

module.exports = { residentMemory };
