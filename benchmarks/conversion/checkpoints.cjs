// Checkpoints to convert, of the sizes and under the names of timm's RepVGG networks, so that its own converter reads them too.
const { exportOnnx, Tensor, writeTorch } = require('repfuse');

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

/** @param classes of the classifier behind it */
function* network({ widths, depths }, classes = 1000) {
  yield* block('stem', 3, widths[0], false);
  for (const [stage, depth] of depths.entries()) {
    const [before, width] = [widths[stage], widths[stage + 1]];
    for (let i = 0; i < depth; i++) yield* block(`stages.${stage}.${i}`, i === 0 ? before : width, width, i > 0);
  }
  const last = widths.at(-1);
  yield ['head.fc.weight', Tensor.f32([classes, last], values(classes * last, 0, 0.02))];
  yield ['head.fc.bias', Tensor.f32([classes], values(classes, 0, 0.02))];
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

/** A whole network of some 150 tensors and 230 kB, as one of many in a sweep: the same layout, other weights. */
const SWEPT = { widths: [16, 16, 16, 24, 32], depths: [2, 2, 3, 2] };

function sweptTensors(seed) {
  const tensors = new Map(network(SWEPT, 10));
  tensors.get('stem.conv_kxk.conv.weight').data[0] = seed / 1000; // no two are the same
  return tensors;
}

/** Writes a checkpoint of such a sweep. */
async function writeSwept(file, seed) {
  await writeTorch(file, sweptTensors(seed));
}

/** Writes the same as an ONNX model in training form. */
async function writeSweptOnnx(file, seed) {
  await exportOnnx(file, { graph: sweptGraph(), tensors: sweptTensors(seed) });
}

/** The network of `SWEPT`, branch by branch. */
function sweptGraph() {
  const nodes = [];
  let last = 'x';
  const add = (node) => {
    nodes.push({ id: `n${nodes.length}`, ...node });
    return nodes.at(-1).id;
  };
  const branch = (key, size, stride) => {
    const padding = [(size - 1) / 2, (size - 1) / 2];
    const shape = { stride: [stride, stride], padding, dilation: [1, 1], groups: 1 };
    const conv = add({ op: 'conv2d', inputs: [last], weight: `${key}.conv.weight`, bias: null, ...shape });
    return add({ op: 'batch_norm', inputs: [conv], prefix: `${key}.bn`, eps: 1e-5, affine: true });
  };
  const addBlock = (prefix, stride, identity) => {
    const parts = [branch(`${prefix}.conv_kxk`, 3, stride), branch(`${prefix}.conv_1x1`, 1, stride)];
    if (identity)
      parts.push(add({ op: 'batch_norm', inputs: [last], prefix: `${prefix}.identity`, eps: 1e-5, affine: true }));
    const sum = parts.reduce((a, b) => add({ op: 'add', inputs: [a, b] }));
    last = add({ op: 'relu', inputs: [sum] });
  };
  addBlock('stem', 2, false);
  for (const [stage, depth] of SWEPT.depths.entries())
    for (let i = 0; i < depth; i++) addBlock(`stages.${stage}.${i}`, i === 0 ? 2 : 1, i > 0);
  const pooled = add({ op: 'global_avg_pool', inputs: [last] });
  const features = add({ op: 'flatten', inputs: [pooled] });
  const output = add({ op: 'linear', inputs: [features], weight: 'head.fc.weight', bias: 'head.fc.bias' });
  return { input: 'x', output, nodes, inputShape: [3, 64, 64], anySize: true };
}

module.exports = { NETS, writeNetwork, writeSmall, writeSwept, writeSweptOnnx };
