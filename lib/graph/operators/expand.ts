import { broadcastShape } from '../../tensor/shape-rules';
import { formatShape } from '../../tensor/tensor';
import { anySizes } from './fields';
import { integerTensor, type NodeOf, type NodeSize, type Operator, ShapeMismatch, settled, sizesIn } from './operator';

/** To the shape that `shape` and the input's own meet in, as numpy's do: an axis of 1 becomes as long as the other. */
export interface ExpandNode extends NodeOf<'expand'> {
  readonly shape: readonly NodeSize[];
}

export const expand: Operator<ExpandNode> = {
  inputs: 1,
  fields: { shape: anySizes(1) },
  sizes: ['shape'],
  shape({ shape: wanted }, [input]) {
    const met = broadcastShape(input, sizesIn(wanted));
    if (met === undefined)
      throw new ShapeMismatch(`its input ${formatShape(input)} cannot become ${formatShape(wanted)}`);
    return met;
  },
  rank: ({ shape }, [input = 0]) => Math.max(shape.length, input),
  magnitude: (node) => node,
  native: ({ shape }) => ({ kind: 'expand', ints: settled(shape) }),
  onnx: ({ inputs, shape }) => ({ opType: 'Expand', inputs: [...inputs, integerTensor(settled(shape))] }),
};
