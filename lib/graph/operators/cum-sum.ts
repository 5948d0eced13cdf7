import { BOOLEAN, integer } from './fields';
import { expectAxis, integerTensor, type NodeOf, type Operator } from './operator';

/** Running sums along an axis: `exclusive` ones leave out their own element, `reverse` ones run from the end. */
export interface CumSumNode extends NodeOf<'cum_sum'> {
  readonly axis: number;
  readonly exclusive: boolean;
  readonly reverse: boolean;
}

export const cumSum: Operator<CumSumNode> = {
  inputs: 1,
  fields: { axis: integer(0), exclusive: BOOLEAN, reverse: BOOLEAN },
  shape({ axis }, [input]) {
    expectAxis(axis, input);
    return input;
  },
  magnitude: (node) => node,
  native: ({ axis, exclusive, reverse }) => ({ kind: 'cumSum', ints: [axis, exclusive ? 1 : 0, reverse ? 1 : 0] }),
  onnx: ({ inputs, axis, exclusive, reverse }) => ({
    opType: 'CumSum',
    inputs: [...inputs, integerTensor([axis])],
    attributes: { exclusive, reverse },
  }),
};
