// A network of ours as an ONNX file, for the runtimes that read nothing else: protocol buffers by hand, the few operators of these networks.

const WIRE = { varint: 0, bytes: 2, float: 5 };

function varint(value) {
  const bytes = [];
  let rest = BigInt.asUintN(64, BigInt(value));
  do {
    const low = Number(rest & 127n);
    rest >>= 7n;
    bytes.push(rest === 0n ? low : low | 128);
  } while (rest !== 0n);
  return Buffer.from(bytes);
}

const tag = (field, wire) => varint((field << 3) | wire);
const int = (field, value) => Buffer.concat([tag(field, WIRE.varint), varint(value)]);
const bytes = (field, value) => {
  const body = typeof value === 'string' ? Buffer.from(value) : value;
  return Buffer.concat([tag(field, WIRE.bytes), varint(body.length), body]);
};
const float = (field, value) => {
  const body = Buffer.alloc(4);
  body.writeFloatLE(value);
  return Buffer.concat([tag(field, WIRE.float), body]);
};
const message = (field, ...parts) => bytes(field, Buffer.concat(parts));

const ATTRIBUTE = { float: 1, int: 2, ints: 7 };
function attribute(name, value) {
  if (Array.isArray(value))
    return message(5, bytes(1, name), ...value.map((item) => int(8, item)), int(20, ATTRIBUTE.ints));
  if (Number.isInteger(value)) return message(5, bytes(1, name), int(3, value), int(20, ATTRIBUTE.int));
  return message(5, bytes(1, name), float(2, value), int(20, ATTRIBUTE.float));
}

function node(op, inputs, output, attributes = {}) {
  return message(
    1,
    ...inputs.map((input) => bytes(1, input)),
    bytes(2, output),
    bytes(3, output),
    bytes(4, op),
    ...Object.entries(attributes).map(([name, value]) => attribute(name, value)),
  );
}

const FLOAT = 1;
function initializer(name, { shape, data }) {
  const raw = Buffer.from(data.buffer, data.byteOffset, data.byteLength);
  return message(5, ...shape.map((dim) => int(1, dim)), int(2, FLOAT), bytes(8, name), bytes(9, raw));
}

function value(field, name, dims) {
  const shape = dims.map((dim) => message(1, typeof dim === 'string' ? bytes(2, dim) : int(1, dim)));
  return message(field, bytes(1, name), message(2, message(1, int(1, FLOAT), message(2, ...shape))));
}

/** The nodes of one of ours. */
function nodesOf(item, tensors) {
  const [x, other] = item.inputs;
  switch (item.op) {
    case 'conv2d': {
      const [vertical, horizontal] = item.padding;
      return [
        node('Conv', [x, item.weight, ...(item.bias === null ? [] : [item.bias])], item.id, {
          dilations: [...item.dilation],
          group: item.groups,
          kernel_shape: tensors.get(item.weight).shape.slice(2),
          pads: [vertical, horizontal, vertical, horizontal],
          strides: [...item.stride],
        }),
      ];
    }
    case 'batch_norm': {
      const keys = ['weight', 'bias', 'running_mean', 'running_var'].map((name) => `${item.prefix}.${name}`);
      return [node('BatchNormalization', [x, ...keys], item.id, { epsilon: item.eps })];
    }
    case 'add':
      return [node('Add', [x, other], item.id)];
    case 'relu':
      return [node('Relu', [x], item.id)];
    case 'global_avg_pool':
      return [node('GlobalAveragePool', [x], item.id)];
    case 'flatten':
      return [node('Flatten', [x], item.id)];
    case 'linear':
      return [node('Gemm', [x, item.weight, item.bias], item.id, { transB: 1 })];
    case 'squeeze_excite': {
      const conv = (input, prefix, output) =>
        node('Conv', [input, `${prefix}.weight`, `${prefix}.bias`], output, { kernel_shape: [1, 1] });
      const at = (step) => `${item.id}.${step}`;
      return [
        node('GlobalAveragePool', [x], at('mean')),
        conv(at('mean'), item.reduce, at('reduced')),
        node('Relu', [at('reduced')], at('relu')),
        conv(at('relu'), item.expand, at('expanded')),
        node('Sigmoid', [at('expanded')], at('gate')),
        node('Mul', [x, at('gate')], item.id),
      ];
    }
    default:
      throw new Error(`no ONNX for ${item.op}`);
  }
}

/** The bytes of an ONNX file (opset 17), batch size open, BatchNorms as they are. */
function onnxFile({ graph, tensors }) {
  const [channels, height, width] = graph.inputShape;
  const classes = tensors.get(graph.nodes.at(-1).weight).shape[0];
  const weights = [...tensors].filter(([, { dtype }]) => dtype === 'F32');
  const body = Buffer.concat([
    ...graph.nodes.flatMap((item) => nodesOf(item, tensors)),
    bytes(2, 'network'),
    ...weights.map(([name, tensor]) => initializer(name, tensor)),
    value(11, graph.input, ['n', channels, height, width]),
    value(12, graph.output, ['n', classes]),
  ]);
  return Buffer.concat([int(1, 8), bytes(7, body), message(8, bytes(1, ''), int(2, 17))]);
}

module.exports = { onnxFile };
