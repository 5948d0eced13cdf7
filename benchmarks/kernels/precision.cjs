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
  return { description: 'largest error of a layer over the peak of its result, beside float64', rows };
}

module.exports = { run };
