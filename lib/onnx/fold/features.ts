import { ifShort, isSame, product, type Size, type Sizes, times } from '../../sizes/size';
import { intsOf } from '../attributes';
import type { Node } from '../schema/onnx_pb';

/** Where the features of a matrix lie in a value: neighbouring axes that hold all of them, in their order, row-major. */
export interface Features {
  readonly count: number;
  readonly rank: number;
  /** First of their axes. */
  readonly begin: number;
  /** Sizes of their axes: their product is `count`. */
  readonly sizes: readonly number[];
  /** Elements behind each feature; undefined where the shape is not known. */
  readonly inner: Size | undefined;
}

/** Shapes of values by their name. */
type Shapes = ReadonlyMap<string, Sizes>;

/** The features of a value that has so many, with so many elements behind each; undefined where its shape does not keep them together. */
export function featuresOf(
  value: string,
  count: number,
  inner: Size | undefined,
  shapes: Shapes,
): Features | undefined {
  const shape = shapes.get(value);
  if (shape === undefined || inner === undefined) return undefined;
  const end = ifShort(() => endOf(shape, inner));
  if (end === undefined) return undefined;
  let begin = end;
  for (let size = 1; size !== count; ) {
    const next = shape[begin - 1];
    if (typeof next !== 'number' || size > count) return undefined;
    size *= next;
    begin--;
  }
  while (begin > 0 && shape[begin - 1] === 1) begin--;
  return { count, inner, rank: shape.length, begin, sizes: shape.slice(begin, end) as readonly number[] };
}

/** The first axis of those that hold so many elements together and are the last. */
function endOf(shape: Sizes, inner: Size): number | undefined {
  let end = shape.length;
  for (let behind: Size = 1; !isSame(behind, inner); behind = times(behind, shape[--end]!)) {
    if (end === 0 || (typeof behind === 'number' && typeof inner === 'number' && behind > inner)) return undefined;
  }
  return end;
}

/** Operators that only write another shape over the same elements. */
const RESHAPES = new Set(['Reshape', 'Flatten', 'Squeeze', 'Unsqueeze']);

/** The features of a node's other side, for one that moves elements and keeps features together; else undefined. */
export function movedFeatures(
  node: Node,
  direction: 'forward' | 'back',
  features: Features,
  shapes: Shapes,
): Features | undefined {
  const value = direction === 'forward' ? node.output[0]! : node.input[0]!;
  const { count, inner, rank, begin, sizes } = features;
  if (RESHAPES.has(node.opType)) return featuresOf(value, count, inner, shapes);
  if (node.opType !== 'Transpose') return undefined;
  const perm = intsOf(node, 'perm') ?? Array.from({ length: rank }, (_, axis) => rank - 1 - axis);
  // Where each axis of this side goes to on the other.
  const target = direction === 'forward' ? perm.map((_, axis) => perm.indexOf(axis)) : perm;
  const axes = sizes.flatMap((size, i) => (size === 1 ? [] : [target[begin + i]!]));
  if (perm.length !== rank || axes.length === 0) return undefined;
  if (axes.some((axis, i) => i > 0 && axis !== axes[i - 1]! + 1)) return undefined;
  const shape = shapes.get(value);
  const behind = shape && ifShort(() => product(shape.slice(axes.at(-1)! + 1)));
  return featuresOf(value, count, behind, shapes);
}

/**
 * For each feature the index of its element in a constant that is broadcast to the value; undefined where the constant differs within a feature, or
 * makes the value larger.
 */
export function broadcastIndices(shape: readonly number[], features: Features): Uint32Array | undefined {
  const { rank, begin, sizes } = features;
  if (shape.length > rank) return undefined;
  const aligned = [...Array<number>(rank - shape.length).fill(1), ...shape];
  const isOne = (size: number, axis: number) => size === 1 || (axis >= begin && size === sizes[axis - begin]);
  if (!aligned.every(isOne)) return undefined;
  return indicesOf(features, aligned.slice(begin, begin + sizes.length));
}

/** For each feature its index along an axis of the value; undefined where the axis is none of the features'. */
export function axisIndices(axis: number, features: Features): Uint32Array | undefined {
  const { begin, sizes } = features;
  if (axis < begin || axis >= begin + sizes.length) return undefined;
  return indicesOf(
    features,
    sizes.map((size, i) => (i === axis - begin ? size : 1)),
  );
}

/** Of each feature in a row-major array over their axes, some of which it has only one element for. */
function indicesOf({ count, sizes }: Features, own: readonly number[]): Uint32Array {
  const indices = new Uint32Array(count);
  let [step, stride] = [1, 1]; // of an axis: features and elements from one to the next
  for (let axis = sizes.length - 1; axis >= 0; axis--) {
    const size = sizes[axis]!;
    if (own[axis] !== 1)
      for (let feature = 0; feature < count; feature++)
        indices[feature]! += (Math.floor(feature / step) % size) * stride;
    step *= size;
    stride *= own[axis]!;
  }
  return indices;
}
