import type { Materialized } from '../algebra';
import { sumOf } from '../algebra/from-branch';
import { materializeSoon } from '../algebra/materialize';
import type { OpenCheckpoint } from '../checkpoint/open-checkpoint';
import { RepfuseError } from '../errors';
import type { DetectedBlock } from '../families';
import { DTYPES, type DType } from '../tensor/dtype';
import { toFloat32 } from '../tensor/half';
import { Tensor } from '../tensor/tensor';
import { valueProblem } from './block-report';
import type { FoundBlock } from './inspect';
import type { BlockReport, Range } from './report';
import { peakOf } from './verify/difference';

/** A deploy tensor that was in the file beside complete training tensors agrees within this, relative to the peak. */
const STALE_TOLERANCE: Readonly<Partial<Record<DType, number>>> = { F16: 2 ** -10, BF16: 2 ** -7 };
const STALE_TOLERANCE_FULL = 1e-5;

export interface FuseOptions {
  /** `'odd'` where the fused float32 values will be rounded to a half type. */
  readonly rounding?: 'nearest' | 'odd' | undefined;
  readonly threads?: number | undefined;
  /** Measure the range of the weights before and after. */
  readonly ranges?: boolean | undefined;
}

export interface FusedBlock {
  /** The report completed; `unsupported` where the block's values cannot be fused, and `fused` is then missing. */
  readonly report: BlockReport;
  readonly fused?: { readonly weight: Tensor; readonly bias: Tensor };
}

/**
 * Reads a block's tensors and fuses them: in the buffer of the largest branch where the file has it for itself, on the thread pool.
 * What was read is released but for that buffer, which `releaseBlock` takes back.
 *
 * @throws ERR_REPFUSE_NO_NATIVE, ERR_REPFUSE_NATIVE, the errors of reading, the signal's reason
 */
export async function fuseBlock(
  { block, report }: FoundBlock,
  opened: OpenCheckpoint,
  options: FuseOptions,
): Promise<FusedBlock> {
  await opened.load(block.trainKeys);
  const anchor = opened.tensors.get(block.anchorKey)!;
  const before = options.ranges ? rangeOf(anchor) : undefined;
  let fused: Materialized;
  try {
    fused = await materializeBlock(block, opened, 'during', options);
  } catch (error) {
    const reason = fuseProblem(error) && (await explain(block, opened, options));
    releaseBlock(block, opened);
    return { report: { ...report, status: 'unsupported', reason } };
  }
  const weight = new Tensor('F32', block.weightShape, fused.weight.data);
  opened.release(block.trainKeys.filter((key) => opened.tensors.get(key)!.data.buffer !== weight.data.buffer));
  const weightRange = before === undefined ? {} : { weightRange: { before, after: rangeOf(weight) } };
  return {
    report: { ...report, ...(await comparePlaceholder(block, opened, fused)), ...weightRange },
    fused: { ...fused, weight },
  };
}

/** Takes back the memory of a block's tensors; its fused weight is then gone too. */
export function releaseBlock(block: DetectedBlock, opened: OpenCheckpoint): void {
  opened.release(block.trainKeys);
}

async function materializeBlock(
  block: DetectedBlock,
  opened: OpenCheckpoint,
  check: 'before' | 'during',
  { rounding, threads }: FuseOptions,
): Promise<Materialized> {
  const { inPerGroup, groups } = block;
  const sum = sumOf(block, groups === null ? {} : { channels: inPerGroup * groups });
  // Memory that another tensor shares must not be overwritten.
  const own = block.trainKeys.every((key) => opened.isExclusive(key));
  return await materializeSoon(sum, { rounding, threads, ...(own ? { into: 'largest-branch', check } : {}) });
}

/** What is wrong with a block that could not be fused: its tensors, perhaps overwritten by now, are read again and looked at. */
async function explain(block: DetectedBlock, opened: OpenCheckpoint, options: FuseOptions): Promise<string> {
  await opened.reload(block.trainKeys);
  const problem = valueProblem(block, opened.tensors);
  if (problem !== undefined) return problem;
  return await materializeBlock(block, opened, 'before', options).then(
    () => 'its values could not be fused',
    fuseProblem,
  );
}

/** The message of an error that a block's own values cause; others are thrown on. */
function fuseProblem(error: unknown): string {
  const own = ['ERR_REPFUSE_NOT_FINITE', 'ERR_REPFUSE_NOT_FUSABLE', 'ERR_REPFUSE_INEXACT', 'ERR_REPFUSE_SHAPE'];
  if (error instanceof RepfuseError && own.includes(error.code)) return error.message;
  throw error;
}

/** What is to be said of a deploy tensor that the file had beside the training tensors. */
async function comparePlaceholder(
  { deployKeys, trainKeys }: DetectedBlock,
  opened: OpenCheckpoint,
  fused: { readonly weight: Tensor; readonly bias: Tensor },
): Promise<Pick<BlockReport, 'status' | 'reason'>> {
  const present = (['weight', 'bias'] as const).filter(
    (part) => !trainKeys.includes(deployKeys[part]) && opened.tensors.has(deployKeys[part]),
  );
  if (present.length === 0) return { status: 'converted' };
  const keys = present.map((part) => deployKeys[part]);
  await opened.load(keys);
  const stale = present.filter((part) => differs(fused[part], opened.tensors.get(deployKeys[part])!));
  opened.release(keys);
  if (stale.length === 0)
    return { status: 'converted', reason: 'the deploy tensor in the file agrees with the training tensors' };
  const named = stale.map((part) => deployKeys[part]).join(', ');
  return {
    status: 'stale-placeholder',
    reason: `${named} in the file was stale: fused anew from the training tensors`,
  };
}

function differs(fused: Tensor, present: Tensor): boolean {
  if (fused.size !== present.size || !DTYPES[present.dtype].floating) return true;
  const [a, b] = [fused.data as Float32Array, toFloat32(present)];
  let worst = 0;
  for (let i = 0; i < a.length; i++) worst = Math.max(worst, Math.abs(a[i]! - b[i]!));
  return !(worst <= (STALE_TOLERANCE[present.dtype] ?? STALE_TOLERANCE_FULL) * peakOf(fused));
}

function rangeOf(tensor: Tensor): Range {
  const values = toFloat32(tensor);
  const channels = tensor.shape[0] ?? 1;
  const row = values.length / channels;
  const mins: number[] = [];
  const maxs: number[] = [];
  for (let c = 0; c < channels; c++) {
    let min = Number.POSITIVE_INFINITY;
    let max = Number.NEGATIVE_INFINITY;
    // An indexed loop: iterating over a typed array takes five times as long.
    for (let i = c * row; i < (c + 1) * row; i++) {
      const value = values[i]!;
      if (value < min) min = value;
      if (value > max) max = value;
    }
    mins.push(min);
    maxs.push(max);
  }
  const most = (list: readonly number[], pick: (a: number, b: number) => number) => list.reduce((a, b) => pick(a, b));
  return { min: most(mins, Math.min), max: most(maxs, Math.max), channels: { min: mins, max: maxs } };
}
