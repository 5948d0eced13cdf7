// Transform VI: 1x1, 1x3 and 3x1 convolutions in parallel are one 3x3 convolution.
const { algebra, ops } = require('repfuse');
const { compare } = require('./support/compare.cjs');
const { randomTensors } = require('./support/random.cjs');

const random = randomTensors(1);
const input = random([1, 64, 7, 7]);
const branches = [
  { kernel: [1, 1], padding: [0, 0] },
  { kernel: [1, 3], padding: [0, 1] },
  { kernel: [3, 1], padding: [1, 0] },
].map(({ kernel, padding }) => ({ weight: random([64, 64, ...kernel]), bias: random([64]), padding }));

const before = branches
  .map(({ weight, bias, padding }) => ops.conv2d(input, weight, bias, { padding }))
  .reduce((sum, output) => ops.add(sum, output));

const fused = algebra.addBranches(branches.map(({ weight, bias, padding }) => algebra.conv(weight, bias, { padding })));
const { weight, bias } = algebra.materialize(fused);
const after = ops.conv2d(input, weight, bias, { padding: fused.padding });

compare('VI, 1x1 + 1x3 + 3x1', before, after);
