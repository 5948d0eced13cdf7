const { execFileSync } = require('node:child_process');
const { cpus } = require('node:os');
const { info } = require('repfuse');

/** What a figure depends on: CPU, level, Node, version, commit. No host, user or path. */
function describeMachine() {
  const { version, node, isasAvailable, threads, cpuQuota } = info();
  return {
    version,
    commit: commit(),
    node,
    cpu: cpus()[0].model,
    cpus: cpus().length,
    cpuQuota,
    isasAvailable,
    threads,
  };
}

function commit() {
  try {
    return execFileSync('git', ['describe', '--always', '--dirty'], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    }).trim();
  } catch {
    return null; // not a clone
  }
}

module.exports = { describeMachine };
