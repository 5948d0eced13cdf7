// Transform III: a 1x1 convolution and the 3x3 convolution after it are one 3x3 convolution.
// Exact here because the 3x3 has no padding; docs/transforms.md tells what happens at a border.
const { algebra, ops } = require('repfuse');
const { compare } = require('./support/compare.cjs');
const { randomTensors } = require('./support/random.cjs');

const random = randomTensors(1);
const input = random([1, 64, 7, 7]);
const pointwise = random([64, 64, 1, 1]);
const spatial = random([64, 64, 3, 3]);

const before = ops.conv2d(ops.conv2d(input, pointwise), spatial);

const fused = algebra.composeSequential(algebra.conv(pointwise, null), algebra.conv(spatial, null));
const { weight, bias } = algebra.materialize(fused);
const after = ops.conv2d(input, weight, bias);

compare('III, 1x1 then 3x3', before, after);
