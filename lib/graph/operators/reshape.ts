import { agree } from '../../sizes/conditions';
import { floorOf, product } from '../../sizes/size';
import { formatShape } from '../../tensor/tensor';
import { anySizes } from './fields';
import { integerTensor, type NodeOf, type NodeSize, type Operator, ShapeMismatch, settled, sizesIn } from './operator';

/** 0: as the input's axis of that place; -1: what remains. */
export interface ReshapeNode extends NodeOf<'reshape'> {
  readonly shape: readonly NodeSize[];
}

export const reshape: Operator<ReshapeNode> = {
  inputs: 1,
  fields: { shape: anySizes(-1) },
  sizes: ['shape'],
  shape({ shape: wanted }, [input]) {
    const shape = sizesIn(wanted).map((size, axis) => (size === 0 ? (input[axis] ?? 0) : size));
    const rest = shape.indexOf(-1);
    const all = product(input);
    const least = all === 0 ? 0 : 1; // empty is only what has a size that the data tell
    if (rest >= 0) {
      const others = product(shape.filter((_, axis) => axis !== rest));
      shape[rest] = others === 0 ? 0 : floorOf(all, others);
    }
    const fits = shape.every((size) => typeof size !== 'number' || (Number.isSafeInteger(size) && size >= least));
    if (!fits || !agree(product(shape), all))
      throw new ShapeMismatch(`its input ${formatShape(input)} cannot become ${formatShape(wanted)}`);
    return shape;
  },
  rank: ({ shape }) => shape.length,
  magnitude: (node) => node,
  native: ({ shape }) => ({ kind: 'reshape', ints: settled(shape) }),
  onnx: ({ inputs, shape }) => ({ opType: 'Reshape', inputs: [...inputs, integerTensor(settled(shape))] }),
};
