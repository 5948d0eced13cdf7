// The native benchmarks (native/bench), built and run. Needs cmake and Google Benchmark (Debian: libbenchmark-dev).
const { spawnSync } = require('node:child_process');
const { join, resolve } = require('node:path');

const ROOT = resolve(__dirname, '..', '..');
const BUILD = join(ROOT, 'build-native', 'bench');
function call(command, args) {
  const { status, error, stdout } = spawnSync(command, args, {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
    maxBuffer: 1 << 28,
  });
  if (error !== undefined || status !== 0)
    throw error ?? new Error(`${command} ${args.join(' ')} failed (is Google Benchmark installed?)\n${stdout}`);
  return stdout;
}

/** The reports of the benchmarks whose names match, in the order in which they stand in the sources. */
function runNative(filter, flags = []) {
  call('cmake', ['-S', ROOT, '-B', BUILD, '-DREPFUSE_BENCHMARKS=ON']);
  call('cmake', ['--build', BUILD, '--target', 'native_benchmarks', '-j', '2']);
  const binary = join(BUILD, 'native_benchmarks');
  const matching = `--benchmark_filter=${filter}`;
  const names = call(binary, [matching, '--benchmark_list_tests']).split('\n');
  const { benchmarks } = JSON.parse(call(binary, [matching, ...flags, '--benchmark_format=json']));
  return benchmarks.sort((a, b) => names.indexOf(a.name) - names.indexOf(b.name));
}

module.exports = { runNative };
