import type { StateDict } from '../../checkpoint/state-dict';
import { RepfuseError } from '../../errors';
import type { DetectedBlock } from '../../families';
import { throwIfAborted } from '../../native/call';
import type { DType } from '../../tensor/dtype';
import { type BlockForm, fusedForm, fusedKeys, mismatchOf, trainingForm } from './block-forms';
import { compareForms, termsOf } from './compare-forms';
import type { Difference } from './difference';

export interface BlockVerification {
  readonly prefix: string;
  readonly family: string;
  readonly equal: boolean;
  /** max |first form - second form|. */
  readonly maxAbsolute: number;
  /** The same relative to the peak: the largest value that a branch or the sum of the branches takes. */
  readonly relative: number;
  /** What `relative` may be: the option `tolerance`, or what rounding makes of a block of this size. */
  readonly bound: number;
  /** [image, channel, row, column] of the largest difference. */
  readonly at: readonly number[];
  /** The node of an ONNX model that it was compared with. */
  readonly beside?: string;
  /** Why no comparison was possible; the errors are then Infinity. */
  readonly problem?: string;
}

/** One of two files: its tensors, and its blocks by prefix. */
export interface VerifiedFile {
  readonly tensors: StateDict;
  readonly blocks: ReadonlyMap<string, DetectedBlock>;
}

export interface VerifyBlockOptions {
  readonly tolerance?: number | undefined;
  readonly seed?: number | undefined;
  readonly threads?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

const UNKNOWN: Difference = { maxAbsolute: Number.POSITIVE_INFINITY, relative: Number.POSITIVE_INFINITY, at: [] };

/**
 * Compares a block of the first file, in the form that it has there, with its fused convolution in the second, or with its branches
 * where the second file has no other form.
 *
 * @throws what does not come of the files: ERR_REPFUSE_NO_NATIVE, the signal's reason
 */
export async function verifyBlock(
  block: DetectedBlock,
  first: VerifiedFile,
  second: VerifiedFile,
  { tolerance, seed = 1, threads, signal }: VerifyBlockOptions,
): Promise<BlockVerification> {
  const { prefix, family } = block;
  const refused = (problem: string) => ({ prefix, family, equal: false, bound: tolerance ?? 0, ...UNKNOWN, problem });
  if (block.problem !== undefined) return refused(block.problem.reason);
  const expected =
    block.form === 'deploy' ? fusedForm(block, fusedKeys(block, first.tensors), first.tensors) : trainingForm(block);
  const other = second.blocks.get(prefix);
  const keys = fusedKeys(block, second.tensors);
  const inTraining = !second.tensors.has(keys.weight) && other?.form === 'train' && other.problem === undefined;
  const mismatch = inTraining ? misshapen(block, other) : mismatchOf(block, keys, second.tensors);
  if (mismatch !== undefined) return refused(mismatch);
  const got: BlockForm = inTraining ? trainingForm(other) : fusedForm(block, keys, second.tensors);
  const bound = tolerance ?? boundOf(block, inTraining ? 'F32' : second.tensors.get(keys.weight)!.dtype);
  try {
    const difference = await compareForms(block, expected, got, seed, { threads, signal });
    return { prefix, family, equal: difference.relative <= bound, bound, ...difference };
  } catch (error) {
    throwIfAborted(signal);
    return refused(problemOf(error));
  }
}

function misshapen(a: DetectedBlock, b: DetectedBlock): string | undefined {
  const shape = ({ outChannels, inPerGroup, kernel }: DetectedBlock) => [outChannels, inPerGroup, ...kernel].join('x');
  return shape(a) === shape(b) ? undefined : `it is ${shape(a)} in the first file, ${shape(b)} in the second`;
}

/** Units of the last place that rounding takes away, and eight times that: as much as other orders of summing have been seen to. */
const MARGIN = 8;
const UNIT: Readonly<Partial<Record<DType, number>>> = { F16: 2 ** -11, BF16: 2 ** -8 };
/** The chains of a small block round as often as this many terms do. */
const MIN_TERMS = 36;

/**
 * What rounding makes of two equal forms: sums of n terms in float32 err by about sqrt(n) units of the peak, and each weight of a half
 * type by one of its own.
 */
function boundOf(block: DetectedBlock, dtype: DType): number {
  return MARGIN * 2 ** -24 * Math.sqrt(Math.max(termsOf(block), MIN_TERMS)) + 4 * (UNIT[dtype] ?? 0);
}

/** The message of an error that tells of the files; others are thrown on. */
export function problemOf(error: unknown): string {
  const told = ['ERR_REPFUSE_NOT_FUSABLE', 'ERR_REPFUSE_NOT_FINITE', 'ERR_REPFUSE_SHAPE', 'ERR_REPFUSE_GRAPH'];
  if (error instanceof RepfuseError && told.includes(error.code)) return error.message;
  throw error;
}
