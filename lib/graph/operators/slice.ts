import type { NativeStep } from '../../ops/tensor-op';
import { slicedSize } from '../../tensor/shape-rules';
import { anySizes, MAX_INTEGER, STEPS } from './fields';
import {
  expectRank,
  integerTensor,
  type NodeOf,
  type NodeSize,
  type Operator,
  ShapeMismatch,
  type StepBuilder,
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
  channels({ starts, ends, steps }, [channels]) {
    if (channels === undefined || starts.length < 2) return undefined;
    const [[, first], [, last]] = [sizesIn(starts), sizesIn(ends)];
    const count = slicedSize(first!, last!, steps[1]!, channels);
    return typeof count === 'number' ? count : undefined;
  },
  native: sliceStep,
  keepsImages: true,
  steps: (node, engine) => engine[takesBlocks(node, engine) ? 'images' : 'tensor'](sliceStep(node)),
  onnx: ({ inputs, starts, ends, steps }) => ({
    opType: 'Slice',
    inputs: [...inputs, ...[settled(starts), settled(ends), [...starts.keys()], steps].map(integerTensor)],
  }),
};

function sliceStep({ starts, ends, steps }: SliceNode): NativeStep {
  const last = settled(ends);
  return { kind: 'slice', ints: settled(starts).flatMap((start, i) => [start, last[i]!, steps[i]!]) };
}

/** Whether it takes what lies side by side in images whose blocks of channels are not mostly empty. */
function takesBlocks({ steps }: SliceNode, engine: StepBuilder): boolean {
  return (
    engine.isImages() && (engine.channels ?? 0) >= FEW_CHANNELS && steps.every((step, axis) => step === 1 || axis === 1)
  );
}

const FEW_CHANNELS = 8;
