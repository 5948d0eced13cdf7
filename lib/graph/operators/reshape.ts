import { elementCount, formatShape } from '../../tensor/tensor';
import { anyIntegers } from './fields';
import { integerTensor, type NodeOf, type Operator, ShapeMismatch } from './operator';

/** 0: as the input's axis of that place; -1: what remains. */
export interface ReshapeNode extends NodeOf<'reshape'> {
  readonly shape: readonly number[];
}

export const reshape: Operator<ReshapeNode> = {
  inputs: 1,
  fields: { shape: anyIntegers(-1) },
  shape({ shape: wanted }, [input]) {
    const shape = wanted.map((size, axis) => (size === 0 ? (input[axis] ?? 0) : size));
    const rest = shape.indexOf(-1);
    if (rest >= 0) shape[rest] = elementCount(input) / elementCount(shape.filter((_, axis) => axis !== rest));
    const least = elementCount(input) === 0 ? 0 : 1; // empty is only what has a size that the data tell
    const fits = shape.every((size) => Number.isSafeInteger(size) && size >= least);
    if (!fits || elementCount(shape) !== elementCount(input))
      throw new ShapeMismatch(`its input ${formatShape(input)} cannot become ${formatShape(wanted)}`);
    return shape;
  },
  rank: ({ shape }) => shape.length,
  magnitude: (node) => node,
  native: ({ shape }) => ({ kind: 'reshape', ints: shape }),
  onnx: ({ inputs, shape }) => ({ opType: 'Reshape', inputs: [...inputs, integerTensor(shape)] }),
};
