import {
  ceilOf,
  floorOf,
  ifShort,
  isSame,
  leastOf,
  lesser,
  minus,
  OpenSize,
  openSize,
  product,
  type Size,
  type Sizes,
  sum,
  times,
} from '../sizes/size';
import { broadcastShape, slicedSize } from '../tensor/shape-rules';
import { intOf, intsOf, isOfOnnx, stringOf } from './attributes';
import { Constants, staticShapes } from './constants';
import { Budget, MAX_RANK } from './evaluation/budget';
import { sizesOf } from './evaluation/open-lists';
import type { FixedConstants } from './fixed-constants';
import { readPads } from './pads';
import type { Graph, Node } from './schema/onnx_pb';
import { enlargedSizes, slidSizes } from './windows';
import type { Wiring } from './wiring';

/** What stands for a size that a graph leaves open: along an axis of an input, under the graph's name if it has one. */
export type OpenSizes = (axis: number, input: string, name: string) => Size | undefined;

/**
 * The values of a graph that are known before it runs, and the shapes of its values as far as its own words and the operators of convolutional
 * networks tell them: expressions of the open sizes of its inputs.
 */
export function inferredShapes(
  graph: Graph,
  wiring: Wiring,
  fixed: FixedConstants,
  openSizes: OpenSizes = namedSizes(),
): Constants {
  const shapes = new Map<string, Sizes>(staticShapes(graph));
  const constants = new Constants(graph, wiring, shapes, fixed);
  const budget = new Budget();
  const initializers = new Set(graph.initializer.map(({ name }) => name));
  for (const { name, type } of graph.input) {
    const dims = type?.tensorType?.shape?.dim;
    if (initializers.has(name) || dims === undefined || dims.length > MAX_RANK) continue;
    const sizes = dims.map(({ value }, axis) => {
      if (value.case === 'dimValue' && value.value > 0n) return Number(value.value);
      return openSizes(axis, name, value.case === 'dimParam' ? value.value : '');
    });
    if (sizes.every((size) => size !== undefined)) shapes.set(name, sizes);
  }
  for (const node of graph.node) {
    const [output] = node.output;
    if (output === undefined || shapes.has(output) || !isOfOnnx(node.domain)) continue;
    const inputs = node.input.map((value) => shapes.get(value) ?? constants.shapeOf(value));
    if (!budget.spend(inputs.reduce((sum, sizes) => sum + lengthOf(sizes ?? []), 1))) break;
    const sizesIn = (index: number) => {
      const value = constants.knownValue(node.input[index] ?? '');
      const sizes = value && sizesOf(value);
      return sizes?.every((size) => size instanceof OpenSize || Number.isInteger(size)) ? sizes : undefined;
    };
    const known = ifShort(() => shapesOf(node, inputs, sizesIn));
    for (const [i, shape] of known?.entries() ?? []) {
      const isShape = shape.every((size) => size instanceof OpenSize || (Number.isSafeInteger(size) && size > 0));
      if (shape.length <= MAX_RANK && isShape) shapes.set(node.output[i]!, shape);
    }
  }
  return constants;
}

/** Each open size by a name of its own; those that a model gives one name are one. */
function namedSizes(): OpenSizes {
  const names = new Map<string, Size>();
  return (axis, input, name) => {
    const key = name || `${axis} of ${input}`;
    const known = names.get(key) ?? openSize(`size_${names.size}`);
    names.set(key, known);
    return known;
  };
}

/** By the text of a shape: a file could ask for arithmetic on long expressions again and again. */
function lengthOf(shape: Sizes): number {
  return shape.reduce<number>((sum, size) => sum + (typeof size === 'number' ? 1 : size.text.length), 0);
}

/** @param sizes entries of an input that is known before the network runs */
type Rule = (
  node: Node,
  inputs: readonly (Sizes | undefined)[],
  sizes: (index: number) => Sizes | undefined,
) => Sizes | undefined;

const same: Rule = (_, [x]) => x;
const met: Rule = (_, inputs) =>
  inputs.reduce((shape, other) => (shape && other ? broadcastShape(shape, other) : undefined));

/** Functions of each value of their first input. */
export const FUNCTIONS_OF_ONE: readonly string[] = (
  'Abs Acos Acosh Asin Asinh Atan Atanh BatchNormalization Ceil Celu Clip Cos Cosh Dropout Elu Erf Exp Floor Gelu HardSigmoid HardSwish ' +
  'Identity LeakyRelu Log Mish Neg PRelu Reciprocal Relu Round Selu Sigmoid Sign Sin Sinh Softplus Softsign Sqrt Swish Tan Tanh ThresholdedRelu'
).split(' ');

/** Operators whose first result has the shape of their first input. */
const SAME = [
  ...FUNCTIONS_OF_ONE,
  ...'Cast CumSum GroupNormalization Hardmax InstanceNormalization LayerNormalization LogSoftmax LpNormalization LRN'.split(
    ' ',
  ),
  ...'MeanVarianceNormalization Not RMSNormalization ScatterElements ScatterND SimplifiedLayerNormalization Softmax'.split(
    ' ',
  ),
];
/** Operators whose result has the shape that all of their inputs meet in. */
const MET = 'Add Div Equal Greater GreaterOrEqual Less LessOrEqual Max Mean Min Mod Mul Pow Sub Sum Where'.split(' ');
const REDUCTIONS = 'L1 L2 LogSum LogSumExp Max Mean Min Prod Sum SumSquare'.split(' ').map((name) => `Reduce${name}`);

const RULES: Readonly<Record<string, Rule>> = {
  ...Object.fromEntries(SAME.map((operator) => [operator, same])),
  ...Object.fromEntries(MET.map((operator) => [operator, met])),
  ...Object.fromEntries(REDUCTIONS.map((operator) => [operator, reduced])),
  Conv: (node, [x, weight]) => {
    const kernel = numbersOnly(weight)?.slice(2);
    const size = x && kernel && slidSizes(node, kernel, x.slice(2));
    return size && [x[0]!, weight![0]!, ...size];
  },
  ConvTranspose: (node, [x, weight]) => {
    const kernel = numbersOnly(weight);
    const size = x && kernel && enlargedSizes(node, kernel, x.slice(2));
    return size && [x[0]!, kernel[1]! * intOf(node, 'group', 1), ...size];
  },
  AveragePool: pooled,
  LpPool: pooled,
  MaxPool: pooled,
  GlobalAveragePool: ofOnePixel,
  GlobalLpPool: ofOnePixel,
  GlobalMaxPool: ofOnePixel,
  DepthToSpace: (node, [x]) => {
    const block = intOf(node, 'blocksize', 1);
    if (x?.length !== 4 || block < 1) return undefined;
    return [x[0]!, floorOf(x[1]!, block * block), times(x[2]!, block), times(x[3]!, block)];
  },
  SpaceToDepth: (node, [x]) => {
    const block = intOf(node, 'blocksize', 1);
    if (x?.length !== 4 || block < 1) return undefined;
    return [x[0]!, times(x[1]!, block * block), floorOf(x[2]!, block), floorOf(x[3]!, block)];
  },
  Resize: (node, [x], sizes) => {
    if (node.attribute.some(({ name }) => name === 'axes' || name === 'keep_aspect_ratio_policy')) return undefined;
    if (stringOf(node, 'coordinate_transformation_mode', '') === 'tf_crop_and_resize') return undefined;
    const target = node.input[3] ? sizes(3) : undefined;
    return x && (target?.length === x.length ? target : scaled(x, sizes(node.input.length < 3 ? 1 : 2)));
  },
  Upsample: (_, [x], sizes) => x && scaled(x, sizes(1)),
  Tile: (_, [x], sizes) => x && scaled(x, sizes(1)),
  Gather: (node, [x, indices]) => {
    const axis = x && fromStart(intOf(node, 'axis', 0), x.length);
    return x && indices && [...x.slice(0, axis), ...indices, ...x.slice(axis! + 1)];
  },
  Concat: (node, inputs) => {
    const [first] = inputs;
    if (first === undefined || inputs.includes(undefined)) return undefined;
    const axis = fromStart(intOf(node, 'axis', 0), first.length);
    const along = inputs.map((shape) => shape![axis]);
    if (along.includes(undefined)) return undefined;
    return first.map((size, i) => (i === axis ? sum(...(along as Sizes)) : size));
  },
  Transpose: (node, [x]) => {
    const perm = intsOf(node, 'perm') ?? x?.map((_, axis) => x.length - 1 - axis);
    return x && perm!.map((axis) => x[axis]!);
  },
  Flatten: (node, [x]) => {
    const axis = x && fromStart(intOf(node, 'axis', 1), x.length);
    return x && [product(x.slice(0, axis)), product(x.slice(axis))];
  },
  Pad: (node, [x], sizes) => {
    const numbers = (index: number) => numbersOnly(sizes(index));
    const pads = x && readPads(node, x.length, numbers);
    if (pads === undefined || typeof pads === 'string') return undefined;
    return x!.map((size, axis) => sum(size, pads.before[axis]!, pads.after[axis]!));
  },
  Slice: (node, [x], sizes) => {
    const starts = intsOf(node, 'starts') ?? sizes(1);
    const ends = intsOf(node, 'ends') ?? sizes(2);
    if (x === undefined || starts === undefined || ends === undefined) return undefined;
    const axes = intsOf(node, 'axes') ?? (node.input[3] ? numbersOnly(sizes(3)) : starts.map((_, axis) => axis));
    const steps = node.input[4] ? numbersOnly(sizes(4)) : starts.map(() => 1);
    if ([axes, steps, ends].some((list) => list?.length !== starts.length)) return undefined;
    const cut: (Size | undefined)[] = [...x];
    for (const [i, given] of axes!.entries()) {
      const axis = fromStart(given, x.length);
      const [size, step] = [x[axis], steps![i]!];
      if (size === undefined || step === 0) return undefined;
      cut[axis] = slicedSize(starts[i]!, ends[i]!, step, size);
    }
    return cut.includes(undefined) ? undefined : (cut as Sizes);
  },
  Expand: (_, [x], sizes) => {
    const target = sizes(1);
    return x && target && broadcastShape(x, target);
  },
  Reshape: (node, [x], sizes) => {
    const wanted = sizes(1);
    if (x === undefined || wanted === undefined || intOf(node, 'allowzero', 0) !== 0) return undefined;
    const shape = wanted.map((size, axis) => (size === 0 ? (x[axis] ?? 0) : size));
    const others = product(shape.filter((size) => size !== -1));
    if (!(leastOf(others) > 0)) return undefined;
    const rest = floorOf(product(x), others);
    return isSame(times(rest, others), product(x)) ? shape.map((size) => (size === -1 ? rest : size)) : undefined;
  },
  Gemm: (node, [a, b]) =>
    a && b && [a[intOf(node, 'transA', 0) === 0 ? 0 : 1]!, b[intOf(node, 'transB', 0) === 0 ? 1 : 0]!],
  MatMul: (_, [a, b]) => {
    if (a === undefined || b === undefined || a.length < 2 || b.length < 2) return undefined;
    const stacks = broadcastShape(a.slice(0, -2), b.slice(0, -2));
    return stacks && [...stacks, a.at(-2)!, b.at(-1)!];
  },
  Squeeze: (node, [x], sizes) => {
    const axes = intsOf(node, 'axes') ?? numbersOnly(sizes(1));
    return x && axes && x.filter((_, axis) => !axes.includes(axis) && !axes.includes(axis - x.length));
  },
  Unsqueeze: (node, [x], sizes) => {
    const axes = intsOf(node, 'axes') ?? numbersOnly(sizes(1));
    if (x === undefined || axes === undefined || x.length + axes.length > MAX_RANK) return undefined;
    const rank = x.length + axes.length;
    const rest = [...x];
    return Array.from({ length: rank }, (_, axis) =>
      axes.includes(axis) || axes.includes(axis - rank) ? 1 : (rest.shift() ?? 0),
    );
  },
};

/** Shapes of a Split's results. */
function partsOf(node: Node, [x]: Parameters<Rule>[1], sizes: Parameters<Rule>[2]): readonly Sizes[] | undefined {
  const axis = x && fromStart(intOf(node, 'axis', 0), x.length);
  const size = x?.[axis!];
  if (size === undefined) return undefined;
  const count = node.output.length;
  const part = ceilOf(size, count);
  const equal = node.output.map((_, i) => lesser(part, minus(size, times(i, part))));
  const split = intsOf(node, 'split') ?? (node.input[1] ? sizes(1) : equal);
  if (split?.length !== count) return undefined;
  return split.map((own) => x!.map((whole, i) => (i === axis ? own : whole)));
}

function shapesOf(node: Node, inputs: Parameters<Rule>[1], sizes: Parameters<Rule>[2]): readonly Sizes[] | undefined {
  if (node.opType === 'Split') return partsOf(node, inputs, sizes);
  const rule = Object.hasOwn(RULES, node.opType) && inputs.length > 0 ? RULES[node.opType]! : undefined;
  const shape = rule?.(node, inputs, sizes);
  return shape && [shape];
}

function pooled(node: Node, [x]: readonly (Sizes | undefined)[]): Sizes | undefined {
  const size = x && slidSizes(node, intsOf(node, 'kernel_shape') ?? [], x.slice(2));
  return size && [...x!.slice(0, 2), ...size];
}

function ofOnePixel(_: Node, [x]: readonly (Sizes | undefined)[]): Sizes | undefined {
  return x && [...x.slice(0, 2), ...x.slice(2).map(() => 1)];
}

/** By whole factors. */
function scaled(x: Sizes, factors: Sizes | undefined): Sizes | undefined {
  return factors?.length === x.length ? x.map((size, axis) => times(size, factors[axis]!)) : undefined;
}

function reduced(node: Node, [x]: readonly (Sizes | undefined)[], sizes: Parameters<Rule>[2]): Sizes | undefined {
  if (x === undefined || intOf(node, 'noop_with_empty_axes', 0) !== 0) return undefined;
  const given = node.input[1] ? numbersOnly(sizes(1)) : (intsOf(node, 'axes') ?? x.map((_, axis) => axis));
  const axes = given?.map((axis) => fromStart(axis, x.length));
  if (axes === undefined || axes.length === 0) return undefined;
  if (intOf(node, 'keepdims', 1) === 0) return x.filter((_, axis) => !axes.includes(axis));
  return x.map((size, axis) => (axes.includes(axis) ? 1 : size));
}

function fromStart(axis: number, rank: number): number {
  return axis < 0 ? axis + rank : axis;
}

/** A shape none of whose sizes is open; undefined of another. */
export function numbersOnly(sizes: Sizes | undefined): readonly number[] | undefined {
  return sizes?.every((size) => typeof size === 'number') ? (sizes as readonly number[]) : undefined;
}
