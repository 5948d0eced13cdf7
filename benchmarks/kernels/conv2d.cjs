// conv2d on the layers of RepVGG-A0 (and the layer of the acceptance test), beside the machine's multiply-add peak in the same run.
const { ops, Tensor } = require('repfuse');
const { interleave } = require('../interleave.cjs');
const { addon, probe } = require('../native-addon.cjs');

const ROUNDS = 9;
const PROBE_ROUNDS = 2e6;
/** 3x3 layers with padding 1: in, out, input size, stride. */
const LAYERS = [
  [128, 128, 56, 1],
  [3, 48, 224, 2],
  [48, 48, 112, 2],
  [48, 48, 56, 1],
  [48, 96, 56, 2],
  [96, 96, 28, 1],
  [96, 192, 28, 2],
  [192, 192, 14, 1],
  [192, 1280, 14, 2],
];

function filled(shape) {
  const size = shape.reduce((a, b) => a * b, 1);
  return Tensor.f32(
    shape,
    Float32Array.from({ length: size }, (_, i) => ((i * 7919) % 101) / 101 - 0.5),
  );
}

function run(print) {
  const before = addon.info().isa;
  const isas = addon.info().isasAvailable;
  const rows = [];
  for (const [inChannels, outChannels, size, stride] of LAYERS) {
    const input = filled([1, inChannels, size, size]);
    const weight = filled([outChannels, inChannels, 3, 3]);
    const bias = filled([outChannels]);
    const out = Math.floor((size - 1) / stride) + 1;
    const flops = 2 * inChannels * outChannels * 9 * out * out;
    const bodies = {};
    const peakFlops = {};
    for (const isa of isas) {
      for (const threads of [1, 2]) {
        const name = `${isa}/${threads}`;
        bodies[name] = () => {
          addon.setIsa(isa);
          ops.conv2d(input, weight, bias, { stride, padding: 1, activation: 'relu', threads });
        };
        bodies[`peak ${name}`] = () => {
          addon.setIsa(isa);
          const result = new Float64Array(1);
          probe('fmaProbe', {
            rounds: isa === 'scalar' ? PROBE_ROUNDS / 8 : PROBE_ROUNDS,
            threads,
            flops: result,
          });
          peakFlops[name] = result[0];
        };
      }
    }
    const { milliseconds, ratio } = interleave(bodies, ROUNDS);
    const layer = `${inChannels}->${outChannels} 3x3 ${size}x${size} s${stride}`;
    const cells = [];
    for (const isa of isas) {
      for (const threads of [1, 2]) {
        const name = `${isa}/${threads}`;
        const gflops = flops / milliseconds[name] / 1e6;
        const peak = peakFlops[name] / milliseconds[`peak ${name}`] / 1e6;
        const speedOverScalar = ratio(`scalar/${threads}`, name);
        const speedOverOneThread = ratio(`${isa}/1`, name);
        rows.push({
          layer,
          isa,
          threads,
          milliseconds: milliseconds[name],
          gflops,
          peakGflops: peak,
          shareOfPeak: gflops / peak,
          speedOverScalar,
          speedOverOneThread,
        });
        cells.push(`${name} ${gflops.toFixed(0)} (${((100 * gflops) / peak).toFixed(0)} %)`);
      }
    }
    print(`${layer.padEnd(26)} GFLOP/s (of peak): ${cells.join('  ')}`);
    const best = isas.at(-1);
    const speedUps = isas.slice(1).map((isa) => `${isa} ${ratio('scalar/1', `${isa}/1`).toFixed(1)}x scalar`);
    print(
      `${''.padEnd(26)} ${[...speedUps, `two threads ${ratio(`${best}/1`, `${best}/2`).toFixed(2)}x one at ${best}`].join(', ')}`,
    );
  }
  addon.setIsa(before);
  return {
    description:
      'conv2d with bias and ReLU, one image, against register-only multiply-adds in the same run, interleaved, medians',
    rows,
  };
}

module.exports = { run };
