import { slicedSize } from '../../tensor/shape-rules';
import { anySizes, MAX_INTEGER, STEPS } from './fields';
import {
  expectRank,
  integerTensor,
  type NodeOf,
  type NodeSize,
  type Operator,
  ShapeMismatch,
  settled,
  sizesIn,
} from './operator';

/** For each axis; negative places count from the end, those beyond it are the end. */
export interface SliceNode extends NodeOf<'slice'> {
  readonly starts: readonly NodeSize[];
  readonly ends: readonly NodeSize[];
  readonly steps: readonly number[];
}

export const slice: Operator<SliceNode> = {
  inputs: 1,
  fields: { starts: anySizes(-MAX_INTEGER), ends: anySizes(-MAX_INTEGER), steps: STEPS },
  sizes: ['starts', 'ends'],
  shape({ starts, ends, steps }, [input]) {
    for (const list of [starts, ends, steps]) expectRank(list, input);
    const [first, last] = [sizesIn(starts), sizesIn(ends)];
    return input.map((size, axis) => {
      const count = slicedSize(first[axis]!, last[axis]!, steps[axis]!, size);
      if (count === undefined)
        throw new ShapeMismatch(
          `from which end ${starts[axis]} and ${ends[axis]} count depends on sizes that are open`,
        );
      return count;
    });
  },
  native: ({ starts, ends, steps }) => ({
    kind: 'slice',
    ints: settled(starts).flatMap((start, i) => [start, settled(ends)[i]!, steps[i]!]),
  }),
  onnx: ({ inputs, starts, ends, steps }) => ({
    opType: 'Slice',
    inputs: [...inputs, ...[settled(starts), settled(ends), [...starts.keys()], steps].map(integerTensor)],
  }),
};
