// A network's files for both runtimes.
const { existsSync } = require('node:fs');
const { join } = require('node:path');
const { convert, exportOnnx, netFromSeed, readModel, writeSafetensors } = require('repfuse');
const { graphMetadata } = require('repfuse/graph');

const BASELINES = join(__dirname, '..', 'baselines');

function expectBaselines() {
  if (!existsSync(join(BASELINES, 'node_modules', 'onnxruntime-node')))
    throw new Error('onnxruntime-node is not installed: npm run bench:baselines');
}

/** The files of a network for both runtimes, in one form, with the same weights. */
async function writeModels(folder, net, form) {
  const onnx = join(folder, `${net}.${form}.onnx`);
  const model = join(folder, `${net}.${form}.safetensors`);
  const trainFile = join(folder, `${net}.train.safetensors`);
  if (existsSync(onnx)) return { onnx, model };
  const train = netFromSeed(net);
  await writeSafetensors(trainFile, train.tensors, { metadata: graphMetadata(train.graph), force: true });
  if (form === 'deploy') await convert(trainFile, model);
  await exportOnnx(onnx, await readModel(model));
  return { onnx, model };
}

module.exports = { BASELINES, expectBaselines, writeModels };
