// Transform IV: convolutions whose outputs are concatenated are one convolution with the concatenated kernels.
const { Tensor, algebra, ops } = require('repfuse');
const { compare } = require('./support/compare.cjs');
const { randomTensors } = require('./support/random.cjs');

const random = randomTensors(1);
const input = random([1, 64, 7, 7]);
const parts = [1, 2].map(() => ({ weight: random([32, 64, 3, 3]), bias: random([32]) }));

// One image: its channels lie one after the other.
const outputs = parts.map(({ weight, bias }) => ops.conv2d(input, weight, bias, { padding: 1 }));
const before = Tensor.f32([1, 64, 7, 7], [...outputs[0].data, ...outputs[1].data]);

const fused = algebra.concatOutputs(parts.map(({ weight, bias }) => algebra.conv(weight, bias, { padding: 1 })));
const { weight, bias } = algebra.materialize(fused);
const after = ops.conv2d(input, weight, bias, { padding: fused.padding });

compare('IV, concatenated convs', before, after);
