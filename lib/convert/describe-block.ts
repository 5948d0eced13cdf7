import type { StateDict } from '../checkpoint/state-dict';
import { RepfuseError } from '../errors';
import type { DetectedBlock } from '../families';
import type { Stage } from '../ops';
import { batchNormAffine } from '../ops/batch-norm';
import { toFloat64 } from '../tensor/half';
import type { BlockReport, BlockStatus } from './report';

type BatchNormStage = Extract<Stage, { kind: 'batch_norm' }>;

const STATISTICS = /(^|\.)(running_mean|running_var|num_batches_tracked)$/;

/** Learnable parameters among tensors: everything but BatchNorm statistics. */
export function countParameters(tensors: Iterable<readonly [string, { readonly size: number }]>): number {
  let sum = 0;
  for (const [key, { size }] of tensors) if (!STATISTICS.test(key)) sum += size;
  return sum;
}

/** The facts of a block that need no fusing. */
export function describeBlock(
  block: DetectedBlock,
  tensors: StateDict,
  status: BlockStatus,
  reason?: string,
): BlockReport {
  const { outChannels, inPerGroup, kernel, eps } = block;
  const batchNorms = batchNormsOf(block);
  const smallest = smallestVariance(batchNorms);
  return {
    prefix: block.prefix,
    family: block.family,
    form: block.form,
    status,
    ...(reason === undefined ? {} : { reason }),
    branches: block.branchNames,
    batchNorms: block.trainKeys.filter((key) => key.endsWith('.running_var')).length,
    kernel: [outChannels, inPerGroup, ...kernel],
    groups: block.groups,
    parameters: {
      before: countParameters(block.trainKeys.map((key) => [key, tensors.get(key)!] as const)),
      after: outChannels * inPerGroup * kernel[0] * kernel[1] + outChannels,
    },
    eps,
    epsEffect: smallest === null ? null : Math.sqrt((smallest + 1e-3) / (smallest + 1e-5)) - 1,
    ...(smallest !== null && smallest < 100 * eps.value
      ? {
          warning: `smallest running_var ${smallest.toPrecision(3)} is below 100 eps: the fused weights depend on eps being right`,
        }
      : {}),
  };
}

function batchNormsOf({ branches }: DetectedBlock): BatchNormStage[] {
  return branches.flatMap(({ stages }) =>
    stages.filter((stage): stage is BatchNormStage => stage.kind === 'batch_norm'),
  );
}

function smallestVariance(batchNorms: readonly BatchNormStage[]): number | null {
  const minima = batchNorms.map(({ runningVar }) =>
    toFloat64(runningVar).reduce((a, b) => Math.min(a, b), Number.POSITIVE_INFINITY),
  );
  return minima.length === 0 ? null : Math.max(0, Math.min(...minima));
}

/**
 * Why a block's values cannot be fused, or undefined: BatchNorm statistics that are no affine map. Weights are checked by the
 * fuse pass itself, before it writes.
 */
export function valueProblem(
  block: DetectedBlock,
  tensors: StateDict,
): { readonly reason: string; readonly tensors: readonly string[] } | undefined {
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
      return { reason: `${name}: ${error.message}`, tensors: [name] };
    }
  }
  return undefined;
}

/** The first tensor of a block that holds NaN or infinity. */
export function nonFiniteTensor(block: DetectedBlock, tensors: StateDict): string | undefined {
  return block.trainKeys.find((key) => {
    const { dtype } = tensors.get(key)!;
    return ['F64', 'F32', 'F16', 'BF16'].includes(dtype) && !toFloat64(tensors.get(key)!).every(Number.isFinite);
  });
}
