import { anyIntegers } from './fields';
import { expectAxis, expectRank, type NodeOf, type Operator, ShapeMismatch } from './operator';

export interface TransposeNode extends NodeOf<'transpose'> {
  readonly perm: readonly number[];
}

export const transpose: Operator<TransposeNode> = {
  inputs: 1,
  fields: { perm: anyIntegers(0) },
  shape({ perm }, [input]) {
    expectRank(perm, input);
    if (new Set(perm).size !== perm.length) throw new ShapeMismatch(`[${perm.join(', ')}] is no permutation`);
    for (const axis of perm) expectAxis(axis, input);
    return perm.map((axis) => input[axis]!);
  },
  magnitude: (node) => node,
  native: ({ perm }) => ({ kind: 'transpose', ints: perm }),
  onnx: ({ inputs, perm }) => ({ opType: 'Transpose', inputs, attributes: { perm } }),
};
