import { allAgree } from '../../sizes/conditions';
import { formatShape } from '../../tensor/tensor';
import { type NodeOf, type Operator, ShapeMismatch } from './operator';

/** Of two inputs of one shape. */
export interface AddNode extends NodeOf<'add'> {}

export const add: Operator<AddNode> = {
  inputs: 2,
  fields: {},
  shape(_, inputs) {
    const [first, second = []] = inputs;
    if (!allAgree(first, second))
      throw new ShapeMismatch(`the shapes of its inputs, ${formatShape(first)} and ${formatShape(second)}, differ`);
    return first;
  },
  keepsChannels: () => true,
  affine: ({ inputs }) => ({ kind: 'sum', inputs }),
  magnitude: (node) => node,
  isSum: true,
  native: () => ({ kind: 'binary', function: 'add' }),
  run: (_, [a, b], { ops, options }) => ops.add(a, b!, options),
  onnx: ({ inputs }) => ({ opType: 'Add', inputs }),
};
