// The native addon itself, for what only benchmarks ask of it: another level within a process, and probes of the machine.
const { join, resolve } = require('node:path');

const addon = require(
  resolve(process.env.REPFUSE_NATIVE_PATH || join(__dirname, '..', 'build', 'Release', 'repfuse.node')),
);

/** Runs one of the addon's probes. */
function probe(name, args) {
  const status = addon[name](args);
  if (status !== null) throw new Error(`${name}: ${status.message}`);
}

module.exports = { addon, probe };
