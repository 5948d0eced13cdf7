import type { DetectedBlock } from '../../families';
import { DTYPES } from '../../tensor/dtype';
import { type FloatType, roundTo } from '../../tensor/round';
import { formatShape, type Tensor } from '../../tensor/tensor';
import { fusedKeys } from './block-forms';
import type { VerifiedFile } from './verify-block';

/** A tensor that is not in both files as it should be. */
export interface TensorProblem {
  readonly key: string;
  readonly problem: string;
}

/**
 * Tensors that no block of the first file owns must be equal byte for byte, or rounded from each other; training tensors must be gone
 * from the second where it has the fused ones.
 *
 * @param leftOut tensors that the second file's format cannot hold
 */
export async function compareOtherTensors(
  blocks: readonly DetectedBlock[],
  first: VerifiedFile,
  second: VerifiedFile,
  leftOut: ReadonlySet<string> = new Set(),
): Promise<TensorProblem[]> {
  const fused = new Set(
    blocks.flatMap((block) => [first, second].flatMap(({ tensors }) => Object.values(fusedKeys(block, tensors)))),
  );
  const train = new Set(blocks.flatMap((block) => block.trainKeys).filter((key) => !fused.has(key)));
  const alsoTrain = new Set(
    blocks.flatMap(({ prefix }) => second.blocks.get(prefix)).flatMap((block) => block?.trainKeys ?? []),
  );
  const others = new Set(
    [...first.tensors.keys(), ...second.tensors.keys()].filter(
      (key) => !fused.has(key) && !train.has(key) && !alsoTrain.has(key) && !leftOut.has(key),
    ),
  );
  const problems: TensorProblem[] = [];
  for (const key of others) {
    const problem = await difference(first.tensors.get(key), second.tensors.get(key));
    if (problem !== undefined) problems.push({ key, problem });
  }
  const left = blocks
    .filter((block) => second.tensors.has(fusedKeys(block, second.tensors).weight))
    .flatMap((block) => block.trainKeys)
    .filter((key) => !fused.has(key) && second.tensors.has(key));
  return [...problems, ...left.map((key) => ({ key, problem: 'a training tensor is left in the second file' }))];
}

async function difference(a: Tensor | undefined, b: Tensor | undefined): Promise<string | undefined> {
  if (a === undefined) return 'only in the second file';
  if (b === undefined) return 'missing in the second file';
  const told = `${a.dtype} ${formatShape(a.shape)} in the first file, ${b.dtype} ${formatShape(b.shape)} in the second`;
  if (formatShape(a.shape) !== formatShape(b.shape)) return told;
  if (a.dtype === b.dtype) return bytes(a).equals(bytes(b)) ? undefined : 'its values differ';
  if (![a, b].every(({ dtype }) => DTYPES[dtype].floating)) return told;
  const wideFirst = DTYPES[a.dtype].bytes >= DTYPES[b.dtype].bytes;
  const [wide, narrow] = wideFirst ? [a, b] : [b, a];
  const rounded = await roundTo(wide, narrow.dtype as FloatType);
  return bytes(rounded.tensor).equals(bytes(narrow)) ? undefined : 'its values differ by more than rounding';
}

function bytes({ data }: Tensor): Buffer {
  return Buffer.from(data.buffer, data.byteOffset, data.byteLength);
}
