import { create } from '@bufbuild/protobuf';
import type { OnnxModel } from '../../lib/onnx/model';
import { type Attribute, Attribute_Type, AttributeSchema, type Node, NodeSchema } from '../../lib/onnx/schema/onnx_pb';
import { protoOf } from '../../lib/onnx/values';
import { Tensor } from '../../lib/tensor/tensor';
import { model } from '../support/onnx-model';
import type { Random } from '../support/random';

/** Operators that are computed from constants, with the inputs that they have; and some that are only near to it. */
const OPERATORS: Readonly<Record<string, number>> = {
  ...{ Add: 2, Sub: 2, Mul: 2, Div: 2, Mod: 2, Pow: 2, Equal: 2, Less: 2, Greater: 2, And: 2, Not: 1, Where: 3 },
  ...{ Cast: 1, CastLike: 2, Identity: 1, Shape: 1, Size: 1, Reshape: 2, Squeeze: 2, Unsqueeze: 2, Flatten: 1 },
  ...{ Concat: 3, Gather: 2, GatherND: 2, Slice: 5, Split: 2, Transpose: 1, Expand: 2, Tile: 2, Pad: 3, Range: 3 },
  ...{
    ConstantOfShape: 1,
    CumSum: 2,
    ReduceSum: 2,
    ReduceProd: 2,
    ReduceMax: 2,
    ReduceMean: 2,
    ReduceL2: 2,
    NonZero: 1,
  },
  ...{ Neg: 1, Abs: 1, Floor: 1, Ceil: 1, Sqrt: 1, Round: 1, Clip: 3, Max: 3, Min: 2, Sum: 3, OneHot: 3, ScatterND: 3 },
};
const NAMES = [...Object.keys(OPERATORS)];
const ODD_NAMES = ['constructor', '__proto__', 'toString', 'hasOwnProperty', 'If', 'Loop', 'Scan'];
/** Names that objects have of their own are names like any other. */
const VALUES = ['constructor', '__proto__', 'toString', 'hasOwnProperty', 'valueOf'];
const ATTRIBUTES = [
  'axis',
  'axes',
  'to',
  'perm',
  'keepdims',
  'fmod',
  'value',
  'split',
  'starts',
  'ends',
  'exclusive',
  'reverse',
  'allowzero',
  'start',
  'end',
  'mode',
  'pads',
];
const WHOLE = [
  0n,
  0n,
  1n,
  1n,
  2n,
  3n,
  4n,
  -1n,
  -2n,
  7n,
  64n,
  2n ** 31n,
  2n ** 53n + 1n,
  2n ** 62n,
  2n ** 63n - 1n,
  -(2n ** 63n),
];
const FLOATS = [
  0,
  1,
  -1,
  0.5,
  2,
  3,
  1e30,
  -1e30,
  1e-30,
  Number.NaN,
  Number.POSITIVE_INFINITY,
  Number.NEGATIVE_INFINITY,
];

/**
 * A network of convolutions among whose nodes constants are computed, rightly or not, and read as scales, shapes and offsets.
 */
export function constantGraph(random: Random): OnnxModel {
  const tensors: Record<string, Tensor> = Object.create(null);
  const pool = VALUES.map((name) => {
    tensors[name] = constant(random);
    return name;
  });
  for (let i = 0; i < 6; i++) {
    tensors[`c${i}`] = constant(random);
    pool.push(`c${i}`);
  }
  const nodes: Node[] = [];
  for (let i = random.int(2, 14); i > 0; i--) {
    const opType = random.pick(random.int(0, 60) === 0 ? ODD_NAMES : NAMES);
    const count = Object.hasOwn(OPERATORS, opType) ? OPERATORS[opType]! : 1;
    const input = Array.from(
      { length: Math.max(0, count + (random.int(0, 60) === 0 ? random.pick([-1, 1]) : 0)) },
      () =>
        random.int(0, 14) === 0
          ? ''
          : random.int(0, 3) > 0
            ? pool.at(-random.int(1, Math.min(pool.length, 4)))!
            : random.pick(pool),
    );
    const output = [`v${i}`, ...(opType === 'Split' ? [`w${i}`] : [])];
    nodes.push(create(NodeSchema, { opType, name: `n${i}`, input, output, attribute: attributes(random) }));
    pool.push(...output);
  }
  const last = () => pool.at(-random.int(1, 5))!;
  const channel = (name: string, low: number) => {
    tensors[name] = Tensor.f32(
      [3],
      random.floats(3).map((value) => Math.abs(value) + low),
    );
    return name;
  };
  tensors.kernel = Tensor.f32([3, 3, 1, 1], random.floats(9));
  const node = (opType: string, input: string[], output: string) =>
    nodes.push(create(NodeSchema, { opType, name: output, input, output: [output] }));
  node('Conv', ['x', 'kernel'], 'a');
  node('BatchNormalization', ['a', channel('s', 0.5), channel('o', 0), channel('m', 0), channel('q', 1)], 'b');
  node('Relu', ['b'], 'r');
  for (const [i, opType] of [
    'Mul',
    'Add',
    random.pick(['Reshape', 'Expand', 'Pad', 'Tile', 'Add', 'Concat', 'Sum', 'Sub']),
  ].entries()) {
    if (random.int(0, 1) === 0) node(opType, [nodes.at(-1)!.output[0]!, last()], `y${i}`);
  }
  return model(nodes, tensors, { inputs: { x: [1, 3, 4, 4] }, outputs: [nodes.at(-1)!.output[0]!], opset: 20 });
}

function constant(random: Random): Tensor {
  const shape = random.pick([[], [1], [2], [3], [4], [0], [1, 3, 1, 1], [3, 1, 1], [2, 2], [1, 1]]);
  const count = shape.reduce((product, size) => product * size, 1);
  switch (random.int(0, 7)) {
    case 0:
      return new Tensor(
        'BOOL',
        shape,
        Uint8Array.from({ length: count }, () => random.int(0, 1)),
      );
    case 1:
      return new Tensor(
        'I32',
        shape,
        Int32Array.from({ length: count }, () => Number(BigInt.asIntN(32, random.pick(WHOLE)))),
      );
    case 2:
    case 3:
      return Tensor.f32(
        shape,
        Float32Array.from({ length: count }, () => random.pick(FLOATS)),
      );
    default:
      return new Tensor(
        'I64',
        shape,
        BigInt64Array.from({ length: count }, () => random.pick(WHOLE)),
      );
  }
}

function attributes(random: Random): Attribute[] {
  return Array.from({ length: random.pick([0, 0, 1, 1, 2]) }, () => {
    const name = random.pick(random.int(0, 20) === 0 ? VALUES : ATTRIBUTES);
    const i = random.pick([...WHOLE, 1n, 6n, 7n, 9n, 1n, 7n]);
    const isList = ['axes', 'perm', 'split', 'starts', 'ends', 'pads'].includes(name) !== (random.int(0, 30) === 0);
    if (name === 'value')
      return create(AttributeSchema, { name, type: Attribute_Type.TENSOR, t: protoOf('', constant(random)) });
    if (isList) {
      const ints = Array.from({ length: random.int(0, 4) }, () => random.pick(WHOLE));
      return create(AttributeSchema, { name, type: Attribute_Type.INTS, ints });
    }
    return create(AttributeSchema, {
      name,
      type: random.int(0, 30) === 0 ? Attribute_Type.FLOAT : Attribute_Type.INT,
      i,
    });
  });
}
