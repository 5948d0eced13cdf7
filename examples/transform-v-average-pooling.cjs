// Transform V: average pooling is a convolution whose every tap is 1 / 9. It reads one channel each, so it is depthwise: the
// kernel is 64x1x3x3, not 64x64x3x3.
const { algebra, ops } = require('repfuse');
const { compare } = require('./support/compare.cjs');
const { randomTensors } = require('./support/random.cjs');

const input = randomTensors(1)([1, 64, 7, 7]);

const before = ops.avgPool2d(input, { kernel: 3, stride: 1 });

const pool = algebra.averagePool({ channels: 64, kernel: 3, stride: 1 });
const { weight, bias } = algebra.materialize(pool);
const after = ops.conv2d(input, weight, bias, { groups: pool.groups });

compare('V, average pooling', before, after);
