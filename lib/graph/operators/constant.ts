import { NAME } from './fields';
import type { NodeOf, Operator } from './operator';

/** A tensor of the state dict as a value. */
export interface ConstantNode extends NodeOf<'constant'> {
  readonly tensor: string;
}

export const constant: Operator<ConstantNode> = {
  inputs: 0,
  fields: { tensor: NAME },
  keys: ({ tensor }) => [tensor],
  shape: ({ tensor }, _, shapeOf) => shapeOf(tensor),
  rank: ({ tensor }, _, shapeOf) => shapeOf(tensor).length,
  magnitude: (node) => node,
  steps({ tensor }, engine) {
    const bias = engine.weight(tensor);
    return engine.tensor({ kind: 'constant', bias, ints: bias.shape });
  },
  run: ({ tensor }, _, { ops, weight }) => ops.constant(weight(tensor)),
  isGiven: true,
  onnx: ({ tensor }) => ({ opType: 'Identity', inputs: [{ key: tensor }] }),
};
