// Transform I: a convolution and the BatchNorm after it are one convolution.
const { algebra, ops } = require('repfuse');
const { compare } = require('./support/compare.cjs');
const { randomTensors, trainedBatchNorm } = require('./support/random.cjs');

const random = randomTensors(1);
const input = random([1, 64, 7, 7]);
const weight = random([64, 64, 3, 3]);
const bias = random([64]);
const batchNorm = trainedBatchNorm(random, 64);

const before = ops.batchNorm(ops.conv2d(input, weight, bias, { padding: 1 }), batchNorm);

const fused = algebra.foldBatchNorm(algebra.conv(weight, bias, { padding: 1 }), batchNorm);
const { weight: fusedWeight, bias: fusedBias } = algebra.materialize(fused);
const after = ops.conv2d(input, fusedWeight, fusedBias, { padding: fused.padding });

compare('I, conv + BN', before, after);
