import { broadcastShape, sliceRange } from '../tensor/shape-rules';
import { elementCount, formatShape } from '../tensor/tensor';
import type { FlattenNode, ResizeNode, SoftmaxNode, TensorNode } from './graph';

type Shape = readonly number[];

/** Most axes of a tensor. */
const MAX_RANK = 8;

/**
 * Shape of a node's result. The inputs' are known to be right; `constant` is that of the node's own tensor.
 *
 * @throws the problem, in words, for the node's error
 */
export function tensorShape(
  node: TensorNode | FlattenNode | SoftmaxNode,
  inputs: readonly Shape[],
  constant: Shape | undefined,
): Shape {
  const shape = shapeOf(node, inputs, constant);
  if (shape.length > MAX_RANK) throw new ShapeMismatch(`its result would have more than ${MAX_RANK} axes`);
  if (shape.some((size) => !(size >= 1)))
    throw new ShapeMismatch(`nothing remains of its input ${formatShape(inputs[0]!)}`);
  return shape;
}

/** What does not fit, in words. */
export class ShapeMismatch extends Error {}

function shapeOf(
  node: TensorNode | FlattenNode | SoftmaxNode,
  inputs: readonly Shape[],
  constant: Shape | undefined,
): Shape {
  const input = inputs[0]!;
  switch (node.op) {
    case 'clip':
    case 'hard_sigmoid':
    case 'leaky_relu':
    case 'tanh':
      return input;
    case 'softmax':
      expectAxis(node.axis ?? 1, input);
      return input;
    case 'flatten': {
      const axis = node.axis ?? 1;
      if (axis > input.length) throw new ShapeMismatch(`its input ${formatShape(input)} has no axis ${axis}`);
      return [elementCount(input.slice(0, axis)), elementCount(input.slice(axis))];
    }
    case 'binary': {
      const operands = constant === undefined ? inputs : [input, constant];
      const met = broadcastShape(operands[0]!, operands[1]!);
      if (met === undefined) throw new ShapeMismatch(`shapes ${operands.map(formatShape).join(' and ')} do not meet`);
      return met;
    }
    case 'concat': {
      expectAxis(node.axis, input);
      const rest = (shape: Shape) => formatShape(shape.map((size, axis) => (axis === node.axis ? 0 : size)));
      const other = inputs.find((shape) => rest(shape) !== rest(input));
      if (other !== undefined)
        throw new ShapeMismatch(`shapes ${formatShape(input)} and ${formatShape(other)} do not fit`);
      const joined = inputs.reduce((sum, shape) => sum + shape[node.axis]!, 0);
      return input.map((size, axis) => (axis === node.axis ? joined : size));
    }
    case 'transpose': {
      const { perm } = node;
      expectRank(perm, input);
      if (new Set(perm).size !== perm.length) throw new ShapeMismatch(`[${perm.join(', ')}] is no permutation`);
      for (const axis of perm) expectAxis(axis, input);
      return perm.map((axis) => input[axis]!);
    }
    case 'slice':
      for (const list of [node.starts, node.ends, node.steps]) expectRank(list, input);
      return input.map((size, axis) => sliceRange(node.starts[axis]!, node.ends[axis]!, node.steps[axis]!, size).count);
    case 'pad':
      for (const list of [node.before, node.after]) expectRank(list, input);
      return input.map((size, axis) => {
        const [before, after] = [node.before[axis]!, node.after[axis]!];
        if (node.mode === 'reflect' && Math.max(before, after) > size - 1)
          throw new ShapeMismatch(
            `reflection by ${Math.max(before, after)} goes beyond its input ${formatShape(input)}`,
          );
        return size + before + after;
      });
    case 'reshape':
      return reshaped(node.shape, input);
    case 'squeeze':
      for (const axis of node.axes) {
        expectAxis(axis, input);
        if (input[axis] !== 1) throw new ShapeMismatch(`axis ${axis} of its input ${formatShape(input)} is not 1`);
      }
      return input.filter((_, axis) => !node.axes.includes(axis));
    case 'unsqueeze': {
      const rank = input.length + node.axes.length;
      const rest = [...input];
      if (new Set(node.axes).size !== node.axes.length || node.axes.some((axis) => axis >= rank))
        throw new ShapeMismatch(`axes [${node.axes.join(', ')}] are not those of a result of ${rank}`);
      return Array.from({ length: rank }, (_, axis) => (node.axes.includes(axis) ? 1 : rest.shift()!));
    }
    case 'reduce_mean':
      for (const axis of node.axes) expectAxis(axis, input);
      return node.keepdims
        ? input.map((size, axis) => (node.axes.includes(axis) ? 1 : size))
        : input.filter((_, axis) => !node.axes.includes(axis));
    case 'matmul':
      return productShape(input, inputs[1]!);
    case 'resize':
      return resizedShape(node, input, inputs[1]);
    case 'depth_to_space': {
      const [n, channels, height, width] = imageShape(input);
      const [down, across] = node.block;
      if (channels % (down * across) !== 0)
        throw new ShapeMismatch(`${channels} channels are no whole number of blocks of ${down}x${across}`);
      return [n, channels / (down * across), height * down, width * across];
    }
  }
}

function reshaped(wanted: Shape, input: Shape): Shape {
  const shape = wanted.map((size, axis) => (size === 0 ? (input[axis] ?? 0) : size));
  const rest = shape.indexOf(-1);
  if (rest >= 0) shape[rest] = elementCount(input) / elementCount(shape.filter((_, axis) => axis !== rest));
  if (!shape.every((size) => Number.isSafeInteger(size) && size > 0) || elementCount(shape) !== elementCount(input))
    throw new ShapeMismatch(`its input ${formatShape(input)} cannot become ${formatShape(wanted)}`);
  return shape;
}

/** 1-D operands are a row and a column, and lose that axis in the result. */
function productShape(a: Shape, b: Shape): Shape {
  const mismatch = () => new ShapeMismatch(`${formatShape(a)} and ${formatShape(b)} have no matrix product`);
  if (a.length === 0 || b.length === 0) throw mismatch();
  const left = a.length === 1 ? [1, a[0]!] : a;
  const right = b.length === 1 ? [b[0]!, 1] : b;
  const batch = broadcastShape(left.slice(0, -2), right.slice(0, -2));
  if (left.at(-1) !== right.at(-2) || batch === undefined) throw mismatch();
  return [...batch, ...(a.length === 1 ? [] : [left.at(-2)!]), ...(b.length === 1 ? [] : [right.at(-1)!])];
}

function resizedShape(node: ResizeNode, input: Shape, like: Shape | undefined): Shape {
  const { coordinates, aspect, crop, scales } = node;
  const [n, channels, ...from] = imageShape(input);
  const sizes = like === undefined ? node.sizes : imageShape(like).slice(2);
  const ratios = from.map((size, i) => sizes[i]! / size).filter((ratio) => ratio > 0);
  const to = from.map((size, i) => {
    if (sizes[i] === 0) {
      const share = coordinates === 'tf_crop_and_resize' ? crop[i + 2]! - crop[i]! : 1;
      return Math.floor(size * share * scales[i]!);
    }
    if (aspect === 'stretch') return sizes[i]!;
    const ratio = aspect === 'not_larger' ? Math.min(...ratios) : Math.max(...ratios);
    return Math.floor(ratio * size + 0.5);
  });
  return [n, channels, ...to];
}

function imageShape(shape: Shape): readonly [number, number, number, number] {
  if (shape.length !== 4) throw new ShapeMismatch(`expected [N, C, H, W] but its input is ${formatShape(shape)}`);
  return shape as unknown as readonly [number, number, number, number];
}

function expectAxis(axis: number, shape: Shape): void {
  if (axis >= Math.max(shape.length, 1)) throw new ShapeMismatch(`its input ${formatShape(shape)} has no axis ${axis}`);
}

function expectRank(list: readonly number[], shape: Shape): void {
  if (list.length !== shape.length)
    throw new ShapeMismatch(
      `expected something for each axis of its input ${formatShape(shape)} but it has ${list.length}`,
    );
}
