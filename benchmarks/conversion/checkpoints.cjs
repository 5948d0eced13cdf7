// Checkpoints to convert, of the sizes and under the names of timm's RepVGG networks, so that its own converter reads them too.
const { Tensor, writeTorch } = require('repfuse');

/** Widths of stem and stages, blocks of each stage. */
const NETS = {
  repvgg_a0: { widths: [48, 48, 96, 192, 1280], depths: [2, 4, 14, 1] },
  repvgg_b1: { widths: [64, 128, 256, 512, 2048], depths: [4, 6, 16, 1] },
  repvgg_b3: { widths: [64, 192, 384, 768, 2560], depths: [4, 6, 16, 1] },
};

/** Values that differ, cheaply made. */
function values(size, centre, spread) {
  const data = new Float32Array(size);
  for (let i = 0; i < size; i++) data[i] = centre + spread * (((i * 2654435761) % 1009) / 504.5 - 1);
  return data;
}

function* batchNorm(key, channels) {
  yield [`${key}.weight`, Tensor.f32([channels], values(channels, 1, 0.5))];
  yield [`${key}.bias`, Tensor.f32([channels], values(channels, 0, 0.2))];
  yield [`${key}.running_mean`, Tensor.f32([channels], values(channels, 0, 0.5))];
  yield [`${key}.running_var`, Tensor.f32([channels], values(channels, 1.2, 0.8))];
  yield [`${key}.num_batches_tracked`, new Tensor('I64', [], BigInt64Array.of(1000n))];
}

function* block(prefix, inChannels, outChannels, identity) {
  if (identity) yield* batchNorm(`${prefix}.identity`, inChannels);
  for (const [name, k] of [
    ['conv_kxk', 3],
    ['conv_1x1', 1],
  ]) {
    const shape = [outChannels, inChannels, k, k];
    yield [`${prefix}.${name}.conv.weight`, Tensor.f32(shape, values(outChannels * inChannels * k * k, 0, 0.05))];
    yield* batchNorm(`${prefix}.${name}.bn`, outChannels);
  }
}

function* network({ widths, depths }) {
  yield* block('stem', 3, widths[0], false);
  for (const [stage, depth] of depths.entries()) {
    const [before, width] = [widths[stage], widths[stage + 1]];
    for (let i = 0; i < depth; i++) yield* block(`stages.${stage}.${i}`, i === 0 ? before : width, width, i > 0);
  }
  const last = widths.at(-1);
  yield ['head.fc.weight', Tensor.f32([1000, last], values(1000 * last, 0, 0.02))];
  yield ['head.fc.bias', Tensor.f32([1000], values(1000, 0, 0.02))];
}

/** Writes the training form of a network as a torch file. */
async function writeNetwork(name, file) {
  await writeTorch(file, new Map(network(NETS[name])));
}

/** Writes a checkpoint of one block of eight channels: as small as they come. */
async function writeSmall(file, seed) {
  const tensors = new Map(block('stages.0.1', 8, 8, true));
  tensors.get('stages.0.1.conv_kxk.conv.weight').data[0] = seed; // no two are the same
  await writeTorch(file, tensors);
}

module.exports = { NETS, writeNetwork, writeSmall };
