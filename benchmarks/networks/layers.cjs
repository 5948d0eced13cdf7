// The distinct pointwise and depthwise convolutions of mobile networks, in the order in which they come: `node benchmarks/networks/layers.cjs` writes
// layers.json, square maps all, from the files of real.json's networks (REPFUSE_NETWORKS).
const { writeFileSync } = require('node:fs');
const { join } = require('node:path');
const { readModel } = require('repfuse');
const { inferShapes } = require('repfuse/graph');
const { fileOf } = require('./files.cjs');
const { REAL } = require('./rows.cjs');

const NETWORKS = ['mobilenetv2_100', 'mobilenetv3_large_100', 'efficientnet_b0'];
/** A product of one pixel with fewer is over before it can be timed: those of squeeze-excite. */
const LEAST_WEIGHTS_OF_PIXEL = 1 << 16;

function layerOf(node, [, inputs, height], tensors) {
  const [outputs, inPerGroup, kernel] = tensors.get(node.weight).shape;
  if (node.op === 'linear') return { in: inPerGroup, out: outputs, size: 1, kernel: 1, stride: 1, groups: 1 };
  return { in: inputs, out: outputs, size: height, kernel, stride: node.stride[0], groups: node.groups };
}

/** Rows of the convolutions and linear layers of one network. */
function layersOf({ graph, tensors }, shape) {
  const shapes = inferShapes(graph, shape, tensors).set(graph.input, shape);
  return graph.nodes
    .filter(({ op }) => op === 'conv2d' || op === 'linear')
    .map((node) => layerOf(node, shapes.get(node.inputs[0]), tensors))
    .filter(({ kernel, groups }) => kernel === 1 || groups > 1)
    .filter((layer) => layer.size > 1 || layer.in * layer.out >= LEAST_WEIGHTS_OF_PIXEL);
}

async function main() {
  const found = new Map();
  for (const { id, network, size } of REAL.filter(({ network }) => NETWORKS.includes(network))) {
    for (const layer of layersOf(await readModel(fileOf(id, 'onnx')), [1, 3, ...size])) {
      const key = JSON.stringify(layer);
      if (!found.has(key)) found.set(key, { networks: [], ...layer });
      const { networks } = found.get(key);
      if (!networks.includes(network)) networks.push(network);
    }
  }
  writeFileSync(join(__dirname, 'layers.json'), `${JSON.stringify([...found.values()], null, 2)}\n`);
}

main();
