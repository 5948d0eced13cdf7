import type { StateDict } from '../checkpoint/state-dict';
import { RepfuseError } from '../errors';
import type { DetectedBlock } from '../families';
import type { Stage } from '../ops';
import { batchNormAffine } from '../ops/batch-norm';
import { DTYPES } from '../tensor/dtype';
import { floatValues, toFloat32 } from '../tensor/half';
import { Tensor } from '../tensor/tensor';
import type { BlockReport, BlockStatus } from './report';

type BatchNormStage = Extract<Stage, { kind: 'batch_norm' }>;

const STATISTICS = new Set(['running_mean', 'running_var', 'num_batches_tracked', '_mean', '_variance']);

/** Learnable parameters among tensors: everything but BatchNorm statistics. */
export function countParameters(tensors: Iterable<readonly [string, { readonly size: number }]>): number {
  let sum = 0;
  for (const [key, { size }] of tensors) if (!STATISTICS.has(lastName(key))) sum += size;
  return sum;
}

/** BatchNorms among keys, by their variances. */
export function countBatchNorms(keys: readonly string[]): number {
  return keys.filter((key) => ['running_var', '_variance'].includes(lastName(key))).length;
}

function lastName(key: string): string {
  return key.slice(key.lastIndexOf('.') + 1);
}

/** The facts of a block that need no fusing. */
export function reportBlock(
  block: DetectedBlock,
  tensors: StateDict,
  status: BlockStatus,
  reason?: string,
): BlockReport {
  const { outChannels, inPerGroup, kernel, eps } = block;
  const batchNorms = batchNormsOf(block);
  const smallest = smallestVariance(batchNorms);
  const warning = warningOf(batchNorms, smallest, eps.value);
  return {
    prefix: block.prefix,
    family: block.shortFamily,
    ...(block.family === block.shortFamily ? {} : { mayBe: block.family.split(' or ') }),
    form: block.form,
    status,
    ...(reason === undefined ? {} : { reason }),
    branches: [...block.branchNames],
    batchNorms: countBatchNorms(block.trainKeys),
    kernel: [outChannels, inPerGroup, ...kernel],
    groups: block.groups,
    parameters: {
      before: countParameters(block.trainKeys.map((key) => [key, tensors.get(key)!] as const)),
      after: outChannels * inPerGroup * kernel[0] * kernel[1] + outChannels,
    },
    eps: { ...eps },
    epsEffect: smallest === null ? null : Math.sqrt((smallest + 1e-3) / (smallest + 1e-5)) - 1,
    ...(warning === undefined ? {} : { warning }),
  };
}

/** What should make the reader of a report stop and think. */
function warningOf(batchNorms: readonly BatchNormStage[], smallest: number | null, eps: number): string | undefined {
  if (smallest === null) return undefined;
  if (smallest < 100 * eps) {
    return `smallest running_var ${smallest.toPrecision(3)} is below 100 eps: the fused weights depend on eps being right`;
  }
  const fresh = (tensor: Tensor, value: number) => Array.prototype.every.call(floatValues(tensor), (x) => x === value);
  if (batchNorms.every(({ runningMean, runningVar }) => fresh(runningMean, 0) && fresh(runningVar, 1))) {
    return 'every running_mean is 0 and every running_var 1: was this saved before any training?';
  }
  return undefined;
}

function batchNormsOf({ branches, after }: DetectedBlock): BatchNormStage[] {
  const stages = [...branches.flatMap((branch) => branch.stages), ...after];
  return stages.filter((stage): stage is BatchNormStage => stage.kind === 'batch_norm');
}

function smallestVariance(batchNorms: readonly BatchNormStage[]): number | null {
  if (batchNorms.length === 0) return null;
  let smallest = Number.POSITIVE_INFINITY;
  for (const { runningVar } of batchNorms) {
    const values = floatValues(runningVar);
    // A plain loop: this runs for every BatchNorm of a file, before any code is warm.
    for (let i = 0; i < values.length; i++) if (!(values[i]! >= smallest)) smallest = values[i]!;
  }
  return Math.max(0, smallest);
}

/** Why a block's BatchNorms are no affine maps, naming the tensor, or undefined. */
function statisticsProblem(block: DetectedBlock, tensors: StateDict): string | undefined {
  for (const batchNorm of batchNormsOf(block)) {
    try {
      batchNormAffine(batchNorm);
    } catch (error) {
      if (!(error instanceof RepfuseError)) throw error;
      const member = {
        running_mean: batchNorm.runningMean,
        running_var: batchNorm.runningVar,
        weight: batchNorm.weight,
        bias: batchNorm.bias,
      }[error.details.tensor as 'weight'];
      const name = block.trainKeys.find((key) => tensors.get(key) === member) ?? block.prefix;
      return `${name}: ${error.message}`;
    }
  }
  return undefined;
}

/** What keeps a block's values from being fused, all of them loaded, naming the tensor; or undefined. */
export function valueProblem(block: DetectedBlock, tensors: StateDict): string | undefined {
  return statisticsProblem(block, tensors) ?? nonFiniteProblem(block, tensors);
}

/** The first NaN or infinity. */
function nonFiniteProblem({ trainKeys }: DetectedBlock, tensors: StateDict): string | undefined {
  for (const key of trainKeys) {
    const tensor = tensors.get(key)!;
    const index = DTYPES[tensor.dtype].floating ? firstNonFinite(tensor) : -1;
    if (index >= 0) {
      const value = toFloat32(new Tensor(tensor.dtype, [1], tensor.data.slice(index, index + 1)))[0]!;
      return `${key}: expected finite values but element ${index} is ${Number.isNaN(value) ? 'NaN' : 'infinite (Inf)'}`;
    }
  }
  return undefined;
}

/** Index of the first NaN or infinity, or -1. A plain loop over the tensor's own array: weights are large. */
function firstNonFinite({ dtype, data }: Tensor): number {
  // Half types are bit patterns: all exponent bits set.
  const exponent = dtype === 'F16' ? 0x7c00 : dtype === 'BF16' ? 0x7f80 : undefined;
  const values = data as Float32Array;
  for (let i = 0; i < values.length; i++) {
    const value = values[i]!;
    if (exponent === undefined ? !Number.isFinite(value) : (value & exponent) === exponent) return i;
  }
  return -1;
}
