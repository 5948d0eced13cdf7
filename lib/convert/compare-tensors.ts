import type { StateDict } from '../checkpoint/state-dict';
import type { DetectedBlock } from '../families';
import { formatShape, type Tensor } from '../tensor/tensor';

/** A tensor that is not in both files as it should be. */
export interface TensorProblem {
  readonly key: string;
  readonly problem: string;
}

/** Tensors that no block of the first file owns must be equal byte for byte; training tensors must be gone from the second. */
export function compareOtherTensors(
  blocks: readonly DetectedBlock[],
  train: StateDict,
  deploy: StateDict,
): TensorProblem[] {
  const deployKeys = new Set(blocks.flatMap(({ deployKeys: { weight, bias } }) => [weight, bias]));
  const trainKeys = new Set(blocks.flatMap((block) => block.trainKeys).filter((key) => !deployKeys.has(key)));
  const others = new Set([...train.keys(), ...deploy.keys()].filter((k) => !deployKeys.has(k) && !trainKeys.has(k)));
  return [
    ...[...others].flatMap((key) => {
      const problem = difference(train.get(key), deploy.get(key));
      return problem === undefined ? [] : [{ key, problem }];
    }),
    ...[...trainKeys]
      .filter((key) => deploy.has(key))
      .map((key) => ({ key, problem: 'a training tensor is left in the second file' })),
  ];
}

function difference(a: Tensor | undefined, b: Tensor | undefined): string | undefined {
  if (a === undefined) return 'only in the second file';
  if (b === undefined) return 'missing in the second file';
  if (a.dtype !== b.dtype || formatShape(a.shape) !== formatShape(b.shape)) {
    return `${a.dtype} ${formatShape(a.shape)} in the first file, ${b.dtype} ${formatShape(b.shape)} in the second`;
  }
  const bytes = ({ data }: Tensor) => Buffer.from(data.buffer, data.byteOffset, data.byteLength);
  return bytes(a).equals(bytes(b)) ? undefined : 'its values differ';
}
