import { sliceRange } from '../../tensor/shape-rules';
import { anyIntegers, MAX_INTEGER, STEPS } from './fields';
import { expectRank, integerTensor, type NodeOf, type Operator } from './operator';

/** For each axis; negative places count from the end, those beyond it are the end. */
export interface SliceNode extends NodeOf<'slice'> {
  readonly starts: readonly number[];
  readonly ends: readonly number[];
  readonly steps: readonly number[];
}

export const slice: Operator<SliceNode> = {
  inputs: 1,
  fields: { starts: anyIntegers(-MAX_INTEGER), ends: anyIntegers(-MAX_INTEGER), steps: STEPS },
  shape({ starts, ends, steps }, [input]) {
    for (const list of [starts, ends, steps]) expectRank(list, input);
    return input.map((size, axis) => sliceRange(starts[axis]!, ends[axis]!, steps[axis]!, size).count);
  },
  native: ({ starts, ends, steps }) => ({
    kind: 'slice',
    ints: starts.flatMap((start, i) => [start, ends[i]!, steps[i]!]),
  }),
  onnx: ({ inputs, starts, ends, steps }) => ({
    opType: 'Slice',
    inputs: [...inputs, ...[starts, ends, [...starts.keys()], steps].map(integerTensor)],
  }),
};
