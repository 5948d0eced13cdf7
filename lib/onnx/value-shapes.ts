import { broadcastShape, sliceRange } from '../tensor/shape-rules';
import { elementCount } from '../tensor/tensor';
import { intOf, intsOf, isOfOnnx } from './attributes';
import { staticShapes } from './constants';
import { MAX_RANK } from './evaluation/budget';
import { listOf } from './evaluation/elements';
import type { FixedConstants } from './fixed-constants';
import { readPads } from './pads';
import type { Graph, Node } from './schema/onnx_pb';
import { probeSizes, ShapeProbe, type Sizes } from './shape-probe';
import { slidSizes } from './windows';
import type { Wiring } from './wiring';

/**
 * A graph with two sample inputs, with the shapes of its values as far as its own words and the operators of convolutional networks tell them.
 */
export function inferredShapes(graph: Graph, wiring: Wiring, fixed: FixedConstants): ShapeProbe {
  const told = staticShapes(graph);
  const shapes = [new Map(told), new Map(told)] as const;
  const probe = new ShapeProbe(graph, wiring, shapes, fixed);
  const initializers = new Set(graph.initializer.map(({ name }) => name));
  shapes.forEach((known, sample) => {
    for (const { name, type } of graph.input) {
      const dims = type?.tensorType?.shape?.dim;
      if (initializers.has(name) || dims === undefined || dims.length > MAX_RANK) continue;
      const sizes = probeSizes(
        dims.map(({ value }) => (value.case === 'dimValue' && value.value > 0n ? Number(value.value) : undefined)),
        sample as 0 | 1,
      );
      if (sizes.every((size) => size > 0)) known.set(name, sizes);
    }
    const constants = probe.constants[sample]!;
    for (const node of graph.node) {
      const [output] = node.output;
      if (output === undefined || known.has(output)) continue;
      const inputs = node.input.map((value) => known.get(value) ?? constants.shapeOf(value));
      const numbers = (index: number) => {
        const value = constants.get(node.input[index] ?? '');
        return value && listOf(value);
      };
      const found = isOfOnnx(node.domain) && node.opType === 'Split' ? partsOf(node, inputs[0], numbers) : undefined;
      for (const [i, shape] of (found ?? [shapeOf(node, inputs, numbers)]).entries()) {
        if (
          shape !== undefined &&
          shape.length <= MAX_RANK &&
          shape.every((size) => Number.isSafeInteger(size) && size > 0)
        )
          known.set(node.output[i]!, shape);
      }
    }
  });
  return probe;
}

type Rule = (
  node: Node,
  inputs: readonly (Sizes | undefined)[],
  numbers: (index: number) => readonly number[] | undefined,
) => Sizes | undefined;

const same: Rule = (_, [x]) => x;
const met: Rule = (_, inputs) =>
  inputs.reduce((shape, other) => (shape && other ? broadcastShape(shape, other) : undefined));

/** Functions of each value of their first input. */
export const FUNCTIONS_OF_ONE: readonly string[] = (
  'Abs Acos Acosh Asin Asinh Atan Atanh BatchNormalization Ceil Celu Clip Cos Cosh Dropout Elu Erf Exp Floor Gelu HardSigmoid HardSwish ' +
  'Identity LeakyRelu Log Mish Neg PRelu Reciprocal Relu Round Selu Sigmoid Sign Sin Sinh Softplus Softsign Sqrt Swish Tan Tanh ThresholdedRelu'
).split(' ');

/** Operators whose result has the shape of their first input. */
const SAME = [...FUNCTIONS_OF_ONE, 'Cast', 'ScatterND', 'Softmax'];

const RULES: Readonly<Record<string, Rule>> = {
  ...Object.fromEntries(SAME.map((operator) => [operator, same])),
  ...Object.fromEntries(['Add', 'Sub', 'Mul', 'Div', 'Sum', 'Max', 'Min'].map((operator) => [operator, met])),
  Conv: (node, [x, weight]) => {
    const size = x && weight && (slidSizes(node, weight.slice(2), x.slice(2)) as Sizes | undefined);
    return size && [x![0]!, weight![0]!, ...size];
  },
  MaxPool: pooled,
  AveragePool: pooled,
  GlobalAveragePool: (_, [x]) => x && [...x.slice(0, 2), ...x.slice(2).map(() => 1)],
  Concat: (node, inputs) => {
    const [first] = inputs;
    if (first === undefined || inputs.includes(undefined)) return undefined;
    const axis = fromStart(intOf(node, 'axis', 0), first.length);
    return first.map((size, i) => (i === axis ? inputs.reduce((sum, shape) => sum + shape![axis]!, 0) : size));
  },
  Transpose: (node, [x]) => {
    const perm = intsOf(node, 'perm') ?? x?.map((_, axis) => x.length - 1 - axis);
    return x && perm!.map((axis) => x[axis]!);
  },
  Flatten: (node, [x]) => {
    const axis = x && fromStart(intOf(node, 'axis', 1), x.length);
    return x && [elementCount(x.slice(0, axis)), elementCount(x.slice(axis))];
  },
  Pad: (node, [x], numbers) => {
    const pads = x && readPads(node, x.length, numbers);
    if (pads === undefined || typeof pads === 'string') return undefined;
    return x!.map((size, axis) => size + pads.before[axis]! + pads.after[axis]!);
  },
  Slice: (node, [x], numbers) => {
    const starts = intsOf(node, 'starts') ?? numbers(1);
    const ends = intsOf(node, 'ends') ?? numbers(2);
    if (x === undefined || starts === undefined || ends === undefined) return undefined;
    const axes = intsOf(node, 'axes') ?? numbers(3) ?? starts.map((_, axis) => axis);
    const cut = [...x];
    for (const [i, given] of axes.entries()) {
      const axis = fromStart(given, x.length);
      cut[axis] = sliceRange(starts[i]!, ends[i]!, numbers(4)?.[i] ?? 1, x[axis]!).count;
    }
    return cut;
  },
  Expand: (_, [x], numbers) => {
    const target = numbers(1);
    return x && target && broadcastShape(x, target);
  },
  Reshape: (node, [x], numbers) => {
    const wanted = numbers(1);
    if (x === undefined || wanted === undefined || intOf(node, 'allowzero', 0) !== 0) return undefined;
    const shape = wanted.map((size, axis) => (size === 0 ? x[axis]! : size));
    const rest = elementCount(x) / elementCount(shape.filter((size) => size !== -1));
    return shape.map((size) => (size === -1 ? rest : size));
  },
  Gemm: (node, [a, b]) =>
    a && b && [a[intOf(node, 'transA', 0) === 0 ? 0 : 1]!, b[intOf(node, 'transB', 0) === 0 ? 1 : 0]!],
  MatMul: (_, [a, b]) => {
    if (a === undefined || b === undefined || a.length < 2 || b.length < 2) return undefined;
    const stacks = broadcastShape(a.slice(0, -2), b.slice(0, -2));
    return stacks && [...stacks, a.at(-2)!, b.at(-1)!];
  },
  Squeeze: (node, [x], numbers) => {
    const axes = intsOf(node, 'axes') ?? numbers(1);
    return x && axes && x.filter((_, axis) => !axes.includes(axis) && !axes.includes(axis - x.length));
  },
  Unsqueeze: (node, [x], numbers) => {
    const axes = intsOf(node, 'axes') ?? numbers(1);
    if (x === undefined || axes === undefined || x.length + axes.length > MAX_RANK) return undefined;
    const rank = x.length + axes.length;
    const rest = [...x];
    return Array.from({ length: rank }, (_, axis) =>
      axes.includes(axis) || axes.includes(axis - rank) ? 1 : (rest.shift() ?? 0),
    );
  },
};

/** Shapes of a Split's results. */
function partsOf(node: Node, x: Sizes | undefined, numbers: Parameters<Rule>[2]): readonly Sizes[] | undefined {
  const axis = x && fromStart(intOf(node, 'axis', 0), x.length);
  const size = x?.[axis!];
  if (size === undefined) return undefined;
  const count = node.output.length;
  const part = Math.ceil(size / count);
  const equal = node.output.map((_, i) => Math.min(part, size - i * part));
  const sizes = intsOf(node, 'split') ?? (node.input[1] ? numbers(1) : equal);
  if (sizes?.length !== count) return undefined;
  return sizes.map((own) => x!.map((whole, i) => (i === axis ? own : whole)));
}

function shapeOf(node: Node, inputs: Parameters<Rule>[1], numbers: Parameters<Rule>[2]): Sizes | undefined {
  if (!isOfOnnx(node.domain)) return undefined;
  return Object.hasOwn(RULES, node.opType) && inputs.length > 0
    ? RULES[node.opType]!(node, inputs, numbers)
    : undefined;
}

function pooled(node: Node, [x]: readonly (Sizes | undefined)[]): Sizes | undefined {
  const size = x && (slidSizes(node, intsOf(node, 'kernel_shape') ?? [], x.slice(2)) as Sizes | undefined);
  return size && [...x!.slice(0, 2), ...size];
}

function fromStart(axis: number, rank: number): number {
  return axis < 0 ? axis + rank : axis;
}
