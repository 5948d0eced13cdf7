// The native micro-benchmarks of speed: every kernel on the layers of RepVGG-A0, B1 and MobileOne-S0, and fusing RepVGG-B3 in place beside memcpy.
// REPFUSE_BENCH_ONLY is a filter of names.
const { runNative } = require('./google-benchmark.cjs');

const SECONDS = '0.05'; // of each, at least

/** From `im2col/A0 3->48 3x3 224x224 s2/avx2/1`; levels and threads end a name, and memcpy has no level. */
function rowOf({ name, real_time, time_unit, label, flops, of_peak, step_seconds, bytes_per_second }) {
  const [kind, what, ...rest] = name.replace(/\/real_time$/, '').split('/');
  const threads = Number(rest.at(-1));
  const isa = rest.at(-2) ?? null;
  const method = rest.length > 2 ? rest[0] : kind;
  const unit = { ns: 1e-9, us: 1e-6, ms: 1e-3, s: 1 }[time_unit];
  return {
    kind,
    what,
    method,
    isa,
    threads,
    kernel: label || null,
    seconds: step_seconds ?? real_time * unit,
    gflops: flops === undefined ? null : flops / 1e9,
    shareOfPeak: of_peak ?? null,
    GBps: bytes_per_second === undefined ? null : bytes_per_second / 1e9,
  };
}

function run(print) {
  const filter = process.env.REPFUSE_BENCH_ONLY ?? '^(engine|im2col|fuse|memcpy)';
  const flags = [`--benchmark_min_time=${SECONDS}`, '--benchmark_enable_random_interleaving=true'];
  const rows = runNative(filter, flags).map(rowOf);
  for (const { kind, what, method, isa, threads, kernel, seconds, gflops, shareOfPeak, GBps } of rows) {
    const figures = [
      gflops === null ? '' : `${gflops.toFixed(0)} GFLOP/s (${(100 * shareOfPeak).toFixed(0)} % of peak)`,
      GBps === null ? '' : `${GBps.toFixed(1)} GB/s`,
    ];
    print(
      `${`${kind} ${what}`.padEnd(42)} ${method.padEnd(14)} ${(isa ?? '').padEnd(10)} ${threads}  ${(seconds * 1e6).toFixed(0).padStart(8)} us  ${figures.filter(Boolean).join(', ')}${kernel === null ? '' : `  ${kernel}`}`,
    );
  }
  return { description: 'native kernels on the layers of networks, in one process, in random order', rows };
}

module.exports = { run };
