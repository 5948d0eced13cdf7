// Seeded random tensors for the examples: the same on every machine.
const { Tensor } = require('repfuse');

/** A source of float32 tensors with values uniform in [low, high); generator mulberry32 (public domain). */
function randomTensors(seed) {
  let state = seed;
  const next = () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
  return (shape, low = -1, high = 1) => {
    const tensor = Tensor.f32(shape);
    for (let i = 0; i < tensor.size; i++) tensor.data[i] = low + (high - low) * next();
    return tensor;
  };
}

/** A BatchNorm as training leaves it: with fresh statistics (mean 0, variance 1) folding it would prove nothing. */
function trainedBatchNorm(random, channels) {
  return {
    weight: random([channels], 0.3, 2),
    bias: random([channels]),
    runningMean: random([channels]),
    runningVar: random([channels], 0.05, 5),
    eps: 1e-5,
  };
}

/** Puts such BatchNorms into a block. */
function trainBatchNorms(random, block) {
  const tensors = block.stateDict();
  for (const [key, { size }] of tensors) {
    if (!key.endsWith('.running_mean')) continue;
    const prefix = key.slice(0, -'running_mean'.length);
    const { weight, bias, runningMean, runningVar } = trainedBatchNorm(random, size);
    const values = { weight, bias, running_mean: runningMean, running_var: runningVar };
    for (const [name, tensor] of Object.entries(values)) tensors.set(prefix + name, tensor);
  }
  block.loadStateDict(tensors);
}

module.exports = { randomTensors, trainBatchNorms, trainedBatchNorm };
