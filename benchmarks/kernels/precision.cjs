// What each way to compute a convolution loses, beside float64 (native/bench/precision_bench.cc).
const { runNative } = require('./google-benchmark.cjs');

function run(print) {
  const rows = runNative('^precision/').map(({ name, label, error, rms }) => {
    const [, layer, method] = name.split('/');
    return { layer, method, kernel: label, error, rms };
  });
  for (const { layer, method, kernel, error, rms } of rows)
    print(
      `${layer.padEnd(32)} ${method.padEnd(14)} ${kernel.padEnd(24)} ${error.toExponential(1)} of the peak, rms ${rms.toExponential(1)}`,
    );
  const adversaries = runNative('^adversaries/').map(({ name, label, most, even }) => {
    const [, layer, method] = name.split('/');
    return { layer, method, most, even, worst: label };
  });
  for (const { layer, method, most, even, worst } of adversaries)
    print(
      `${layer.padEnd(32)} ${method.padEnd(14)} ${most.toExponential(1)} of the sum of magnitudes (${worst}), ${even.toExponential(1)} spread evenly`,
    );
  return {
    description:
      'largest error of a layer over the peak of its result, beside float64; against adversaries over the largest sum of magnitudes of its terms',
    rows,
    adversaries,
  };
}

module.exports = { run };
