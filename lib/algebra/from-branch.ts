import { checkArgument, checkOptions } from '../arguments/check';
import { BOOLEAN, membersOf, oneOf, optional } from '../arguments/schemas';
import { RepfuseError } from '../errors';
import { channelsBefore, geometryOf, scaleFactors, storedKernel, windowOf } from '../ops/branch';
import { BRANCH, BRANCHES, STAGES } from '../ops/branch-schema';
import { CHANNELS, type Padding4 } from '../ops/geometry';
import type { Branch, ConvStage, ScaleStage, Stage } from '../ops/stages';
import { formatShape, Tensor } from '../tensor/tensor';
import { addBranches } from './add';
import { AFFINE_CONV, type AffineConv, affineConv } from './affine-conv';
import { averagePool } from './average-pool';
import { fold, scale, shift } from './batch-norm';
import { fitsGroups } from './chain';
import { composeSequential, padInput, padOutput, yieldsZero } from './compose';
import { concatOutputs } from './concat';
import { conv, depthwise, identity } from './conv';

export interface FromBranchOptions {
  /** Layout of the result. Default: that of its convolutions, depthwise without any. */
  readonly groups?: number | undefined;
  /** Needed for a branch in which no tensor tells it (an identity, average pooling alone). */
  readonly channels?: number | undefined;
  /** Accept a result that differs where windows reach over the border. */
  readonly allowInexactBorder?: boolean | undefined;
}

export type AppendOptions = Pick<FromBranchOptions, 'allowInexactBorder'>;

const APPEND_OPTIONS = membersOf<AppendOptions>()({ allowInexactBorder: optional(BOOLEAN) });
const OPTIONS = membersOf<FromBranchOptions>()({
  groups: optional(CHANNELS),
  channels: optional(CHANNELS),
  allowInexactBorder: optional(BOOLEAN),
});

const NO_PADDING: Padding4 = [0, 0, 0, 0];

/**
 * The one convolution that a branch is: a chain of convolutions, BatchNorms, average pooling, scales and bias-filled borders.
 *
 * @throws ERR_REPFUSE_INEXACT, ERR_REPFUSE_NOT_FUSABLE, ERR_REPFUSE_NOT_FINITE, ERR_REPFUSE_SHAPE as the operations do, naming
 *   branch and stage; ERR_REPFUSE_INVALID_ARGUMENT if nothing tells the channels.
 */
export function fromBranch(given: Branch, options: FromBranchOptions = {}): AffineConv {
  return fromChecked(checkArgument('branch', BRANCH, given), checkOptions('fromBranch', OPTIONS, options));
}

function fromChecked(branch: Branch, options: FromBranchOptions): AffineConv {
  const { allowInexactBorder, channels = channelsBefore(branch.stages), groups } = options;
  if (channels === undefined) {
    throw new RepfuseError(
      'ERR_REPFUSE_INVALID_ARGUMENT',
      `Expected the option channels for branch ${branch.name}, of which no tensor tells them, but received none`,
      { branch: branch.name },
    );
  }
  const fused = append(undefined, channels, branch, allowInexactBorder);
  return regroup(fused, groups, branch.name);
}

/** Branches that work on one input, and what becomes of their outputs. */
export interface BranchSum {
  readonly branches: readonly Branch[];
  /** Default `sum`; `concat` joins them along channels; with `split` each reads the next of the input's channels. */
  readonly combine?: 'sum' | 'concat' | 'split';
  /** Stages that follow: an outer BatchNorm. */
  readonly after?: readonly Stage[];
}

const BRANCH_SUM = membersOf<BranchSum>()({
  branches: BRANCHES,
  combine: optional(oneOf(['sum', 'concat', 'split'])),
  after: optional(STAGES),
});

/**
 * The one convolution that parallel branches are, with the affine stages after them.
 *
 * @param options as for `fromBranch`, of every branch
 * @throws as `fromBranch`, `addBranches` and `concatOutputs`
 */
export function fromBranches(sum: BranchSum, options: FromBranchOptions = {}): AffineConv {
  return sumOf(checkArgument('sum', BRANCH_SUM, sum), checkOptions('fromBranches', OPTIONS, options));
}

/** `fromBranches` of stages that were put together here: nobody else's, so that there is nothing to check. */
export function sumOf({ branches, combine = 'sum', after = [] }: BranchSum, options: FromBranchOptions): AffineConv {
  const own = combine === 'split' ? { ...options, channels: undefined } : options;
  const parts = branches.map((branch) => fromChecked(branch, own));
  const input = combine === 'split' ? 'split' : 'shared';
  const joined = combine === 'sum' ? addBranches(parts) : concatOutputs(parts, { input });
  return after.length === 0
    ? joined
    : append(joined, joined.outChannels, { name: 'after the branches', stages: after }, options.allowInexactBorder);
}

/**
 * A convolution with affine stages after it.
 *
 * @throws as `fromBranch`
 */
export function appendStages(conv: AffineConv, branch: Branch, options: AppendOptions = {}): AffineConv {
  const { outChannels } = checkArgument('conv', AFFINE_CONV, conv);
  const { allowInexactBorder } = checkOptions('appendStages', APPEND_OPTIONS, options);
  return append(conv, outChannels, checkArgument('branch', BRANCH, branch), allowInexactBorder);
}

/** Stages put after a convolution; after nothing, which is the identity, where it is undefined. */
function append(
  first: AffineConv | undefined,
  channels: number,
  { name: branchName, stages }: Branch,
  allowInexactBorder: boolean | undefined,
): AffineConv {
  let fused = first;
  let before: AffineConv | undefined; // all before the last stage that is no frame
  let frame = NO_PADDING; // of pad_border, not yet applied
  stages.forEach((stage, index) => {
    const name = `${branchName} stage ${index} (${stage.kind})`;
    if (stage.kind === 'pad_border') {
      if (allowInexactBorder !== true) expectOwnFrame(before, stage.padding, name);
      frame = plus(frame, stage.padding);
      return;
    }
    before = fused;
    switch (stage.kind) {
      case 'batch_norm':
        fused = fold(fused ?? identity(channels, channels), stage, name);
        break;
      case 'scale':
        fused = scaleBy(fused ?? identity(channels, channels), stage, name);
        break;
      case 'bias':
        fused = shift(fused ?? identity(channels, channels), stage.bias, { name });
        break;
      case 'conv2d':
      case 'avg_pool2d': {
        const next =
          stage.kind === 'conv2d'
            ? convOf(stage, name)
            : averagePool({ ...windowOf(stage), channels: fused?.outChannels ?? channels, allowInexactBorder });
        // Zeros of its own around the frame make it another border than the frame's.
        const border = next.padding.some((p) => p > 0) ? 'zero' : 'bias';
        const padded = padInput(next, frame);
        fused = fused === undefined ? padded : composeSequential(fused, padded, { border, allowInexactBorder });
        frame = NO_PADDING;
      }
    }
  });
  return padOutput(fused ?? identity(channels, channels), frame);
}

/** A frame holds what the stage before it makes of zero; the fused convolution has there what all stages make of it. */
function expectOwnFrame(before: AffineConv | undefined, padding: Padding4, name: string): void {
  if (before === undefined || yieldsZero(before) || padding.every((side) => side === 0)) return;
  throw new RepfuseError(
    'ERR_REPFUSE_INEXACT',
    `Expected nothing that shifts zero before the stage whose value fills the frame of ${name} but received a bias: pixels of the frame would differ (allowInexactBorder)`,
    { name, padding },
  );
}

function plus(a: Padding4, b: Padding4): Padding4 {
  return a.map((side, i) => side + b[i]!) as unknown as Padding4;
}

/** The factors as they act: one for all channels spread, signs turned. */
function scaleBy(fused: AffineConv, stage: ScaleStage, name: string): AffineConv {
  const { outChannels } = fused;
  return scale(fused, new Tensor('F64', [outChannels], scaleFactors(stage, outChannels)), { name });
}

function convOf(stage: ConvStage, name: string): AffineConv {
  const stored = conv(storedKernel(stage), stage.bias, { ...geometryOf(stage), name: `${name} weight` });
  if (!stage.plusIdentity) return stored;
  if (stored.inChannels !== stored.outChannels || stored.kernel[0] !== 1 || stored.kernel[1] !== 1) {
    throw new RepfuseError(
      'ERR_REPFUSE_SHAPE',
      `Expected a 1x1 kernel with as many inputs as outputs for ${name}, which is a difference to the identity, but received ${formatShape(stage.weight.shape)} in ${stage.groups} groups`,
      { tensor: stage.weight, name },
    );
  }
  const one = depthwise(`the identity of ${name}`, stored.inChannels, [1, 1], 1, stored.groups, stage);
  return addBranches([stored, one]);
}

function regroup(fused: AffineConv, groups: number | undefined, name: string): AffineConv {
  if (groups === undefined || groups === fused.groups) return fused;
  const { outChannels, inChannels, value } = fused;
  if (!fitsGroups(value.chains, outChannels, inChannels, groups)) {
    throw new RepfuseError(
      'ERR_REPFUSE_SHAPE',
      `Expected groups into which the ${inChannels} -> ${outChannels} channels of ${name} fit but received ${groups}`,
      { name, groups },
    );
  }
  return affineConv({ ...fused, groups }, value);
}
