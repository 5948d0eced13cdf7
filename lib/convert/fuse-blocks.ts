import { addBranches, fromBranch, materializeAsync } from '../algebra';
import type { StateDict } from '../checkpoint/state-dict';
import { RepfuseError } from '../errors';
import type { DetectedBlock } from '../families';
import { throwIfAborted } from '../native/call';
import { DTYPES } from '../tensor/dtype';
import { toFloat32 } from '../tensor/half';
import type { Tensor } from '../tensor/tensor';
import { peakOf } from './difference';
import type { BlockReport, Range } from './report';

/** A deploy tensor that was in the file beside complete training tensors agrees within this, relative to the peak. */
const STALE_TOLERANCE = 1e-5;

interface FoundBlock {
  readonly block: DetectedBlock;
  readonly report: BlockReport;
}

interface Fused {
  readonly weight: Tensor;
  readonly bias: Tensor;
}

export interface FuseProgress {
  readonly phase: 'fuse';
  /** Blocks. */
  readonly done: number;
  readonly total: number;
  readonly block: string;
}

export interface FuseOptions {
  readonly threads?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: FuseProgress) => void) | undefined;
}

/**
 * Fuses every block that is to be converted, each in the buffer of its largest branch; the deploy tensors join the state dict.
 * One block at a time, on the thread pool: the event loop stays free, and memory for one block's bias is all that is taken.
 *
 * @returns the reports, those of fused blocks completed; a block whose fused values overflow becomes `unsupported`
 * @throws ERR_REPFUSE_ABORTED, ERR_REPFUSE_NO_NATIVE, ERR_REPFUSE_NATIVE
 */
export async function fuseBlocks(
  found: readonly FoundBlock[],
  tensors: StateDict,
  { threads, signal, onProgress }: FuseOptions,
): Promise<BlockReport[]> {
  const owners = bufferOwners(tensors);
  const reports: BlockReport[] = [];
  const total = found.filter(({ report }) => report.status === 'converted').length;
  let done = 0;
  for (const { block, report } of found) {
    if (report.status !== 'converted') {
      reports.push(report);
      continue;
    }
    throwIfAborted(signal);
    onProgress?.({ phase: 'fuse', done, total, block: block.prefix });
    const before = rangeOf(tensors.get(block.anchorKey)!);
    try {
      const fused = await fuse(block, tensors, owners, threads);
      reports.push({
        ...report,
        ...comparePlaceholder(block, tensors, fused),
        weightRange: { before, after: rangeOf(fused.weight) },
      });
      tensors.set(block.deployKeys.weight, fused.weight);
      tensors.set(block.deployKeys.bias, fused.bias);
    } catch (error) {
      reports.push({ ...report, status: 'unsupported', reason: fuseProblem(error) });
    }
    done++;
    onProgress?.({ phase: 'fuse', done, total, block: block.prefix });
  }
  return reports;
}

async function fuse(
  block: DetectedBlock,
  tensors: StateDict,
  owners: ReadonlyMap<ArrayBufferLike, number>,
  threads: number | undefined,
): Promise<Fused> {
  // A buffer that another tensor shares must not be overwritten.
  const shared = block.trainKeys.some((key) => owners.get(tensors.get(key)!.data.buffer)! > 1);
  const sum = addBranches(block.branches.map((branch) => fromBranch(branch)));
  return await materializeAsync(sum, shared ? { threads } : { into: 'largest-branch', threads });
}

function bufferOwners(tensors: StateDict): Map<ArrayBufferLike, number> {
  const owners = new Map<ArrayBufferLike, number>();
  for (const { data } of tensors.values()) owners.set(data.buffer, (owners.get(data.buffer) ?? 0) + 1);
  return owners;
}

/** The message of an error that a block's own values cause; others are thrown on. */
function fuseProblem(error: unknown): string {
  const own = ['ERR_REPFUSE_NOT_FINITE', 'ERR_REPFUSE_NOT_FUSABLE', 'ERR_REPFUSE_INEXACT', 'ERR_REPFUSE_SHAPE'];
  if (error instanceof RepfuseError && own.includes(error.code)) return error.message;
  throw error;
}

/** What is to be said of a deploy tensor that the file had beside the training tensors. */
function comparePlaceholder(
  { deployKeys, trainKeys }: DetectedBlock,
  tensors: StateDict,
  fused: Fused,
): Pick<BlockReport, 'status' | 'reason'> {
  const present = (['weight', 'bias'] as const).filter(
    (part) => !trainKeys.includes(deployKeys[part]) && tensors.has(deployKeys[part]),
  );
  if (present.length === 0) return { status: 'converted' };
  const stale = present.filter((part) => differs(fused[part], tensors.get(deployKeys[part])!));
  if (stale.length > 0) {
    const keys = stale.map((part) => deployKeys[part]).join(', ');
    return {
      status: 'stale-placeholder',
      reason: `${keys} in the file was stale: fused anew from the training tensors`,
    };
  }
  return { status: 'converted', reason: 'the deploy tensor in the file agrees with the training tensors' };
}

function differs(fused: Tensor, present: Tensor): boolean {
  if (fused.size !== present.size || !DTYPES[present.dtype].floating) return true;
  const [a, b] = [fused.data as Float32Array, toFloat32(present)];
  let worst = 0;
  for (let i = 0; i < a.length; i++) worst = Math.max(worst, Math.abs(a[i]! - b[i]!));
  return !(worst <= STALE_TOLERANCE * peakOf(fused));
}

function rangeOf(tensor: Tensor): Range {
  const values = toFloat32(tensor);
  let min = Number.POSITIVE_INFINITY;
  let max = Number.NEGATIVE_INFINITY;
  // An indexed loop: iterating over a typed array takes five times as long.
  for (let i = 0; i < values.length; i++) {
    const value = values[i]!;
    if (value < min) min = value;
    if (value > max) max = value;
  }
  return { min, max };
}
