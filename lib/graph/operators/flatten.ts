import { product } from '../../sizes/size';
import { formatShape } from '../../tensor/tensor';
import { integer, optional } from './fields';
import { type NodeOf, type Operator, ShapeMismatch } from './operator';

/** [axes before `axis`, the rest]. Default axis 1. */
export interface FlattenNode extends NodeOf<'flatten'> {
  readonly axis?: number;
}

export const flatten: Operator<FlattenNode> = {
  inputs: 1,
  fields: { axis: optional(integer(0)) },
  shape({ axis = 1 }, [input]) {
    if (axis > input.length) throw new ShapeMismatch(`its input ${formatShape(input)} has no axis ${axis}`);
    return [product(input.slice(0, axis)), product(input.slice(axis))];
  },
  rank: () => 2,
  magnitude: (node) => node,
  native: ({ axis = 1 }) => ({ kind: 'flatten', ints: [axis] }),
  steps: ({ axis = 1 }, engine) =>
    axis === 1 && engine.isImages()
      ? engine.images({ kind: 'flatten' })
      : engine.tensor({ kind: 'flatten', ints: [axis] }),
  onnx: ({ inputs, axis = 1 }) => ({ opType: 'Flatten', inputs, attributes: { axis } }),
};
