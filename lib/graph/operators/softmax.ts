import { BOOLEAN, integer, optional } from './fields';
import { expectAxis, type NodeOf, type Operator, Unwritable } from './operator';

/** Along `axis` (default 1); `joint`: over it and all after it. */
export interface SoftmaxNode extends NodeOf<'softmax'> {
  readonly axis?: number;
  readonly joint?: boolean;
}

export const softmax: Operator<SoftmaxNode> = {
  inputs: 1,
  fields: { axis: optional(integer(0)), joint: optional(BOOLEAN) },
  shape({ axis = 1 }, [input]) {
    expectAxis(axis, input);
    return input;
  },
  keepsChannels: () => true,
  native: ({ axis = 1, joint = false }) => ({ kind: 'softmaxAxis', ints: [axis, joint ? 1 : 0] }),
  steps: (node, engine) =>
    (node.axis ?? 1) === 1 && node.joint !== true && engine.isImages()
      ? engine.images({ kind: 'softmax' })
      : engine.tensor(softmax.native!(node, engine.weight)),
  onnx({ inputs, axis = 1, joint }) {
    if (joint === true) throw new Unwritable('a softmax over several axes');
    return { opType: 'Softmax', inputs, attributes: { axis } };
  },
};
