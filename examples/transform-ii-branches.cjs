// Transform II: parallel convolutions that are summed are one convolution with the summed kernels.
const { algebra, ops } = require('repfuse');
const { compare } = require('./support/compare.cjs');
const { randomTensors } = require('./support/random.cjs');

const random = randomTensors(1);
const input = random([1, 64, 7, 7]);
const branches = [1, 2].map(() => ({ weight: random([64, 64, 3, 3]), bias: random([64]) }));

const [first, second] = branches.map(({ weight, bias }) => ops.conv2d(input, weight, bias, { padding: 1 }));
const before = ops.add(first, second);

const fused = algebra.addBranches(branches.map(({ weight, bias }) => algebra.conv(weight, bias, { padding: 1 })));
const { weight, bias } = algebra.materialize(fused);
const after = ops.conv2d(input, weight, bias, { padding: fused.padding });

compare('II, sum of convs', before, after);
