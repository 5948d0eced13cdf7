import { Tensor } from '../../tensor/tensor';
import { BOOLEAN, INTEGER } from './fields';
import { type NodeOf, type Operator, ShapeMismatch } from './operator';

/** The triangle of each matrix above or below a diagonal, which is part of it; the rest is 0. */
export interface TriluNode extends NodeOf<'trilu'> {
  readonly upper: boolean;
  /** How far the diagonal lies to the right of the main one. */
  readonly diagonal: number;
}

export const trilu: Operator<TriluNode> = {
  inputs: 1,
  fields: { upper: BOOLEAN, diagonal: INTEGER },
  shape(_, [input]) {
    if (input.length < 2) throw new ShapeMismatch(`its input has ${input.length} axes and is no matrix`);
    return input;
  },
  magnitude: (node) => node,
  native: ({ upper, diagonal }) => ({ kind: 'trilu', ints: [upper ? 1 : 0, diagonal] }),
  onnx: ({ inputs, upper, diagonal }) => ({
    opType: 'Trilu',
    inputs: [...inputs, new Tensor('I64', [], BigInt64Array.of(BigInt(diagonal)))],
    attributes: { upper },
  }),
};
