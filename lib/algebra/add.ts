import { checkArgument, checkOptions } from '../arguments/check';
import { membersOf, optional } from '../arguments/schemas';
import { RepfuseError } from '../errors';
import { PADDING, PAIR, type Padding, type Pair, TWO, toPadding4, toPair } from '../ops/geometry';
import {
  AFFINE_CONV,
  AFFINE_CONVS,
  type AffineConv,
  affineConv,
  type ConvGeometry,
  excess,
  paddingOf,
} from './affine-conv';
import { type Axes, type Chain, finestGroups } from './chain';

/** Kernel, padding and dilation: the grid of taps that a convolution reads around each output pixel. */
export type Grid = Pick<ConvGeometry, 'kernel' | 'padding' | 'dilation'>;

export interface AddOptions {
  /** `[height, width]`: branches need to agree on the output size for this input only. */
  readonly inputSize?: Axes | undefined;
}

const ADD_OPTIONS = membersOf<AddOptions>()({ inputSize: optional(TWO) });

/**
 * Transforms II and VI: parallel convolutions of one input are the convolution with the sum of their weights and biases.
 * Kernels of different size, padding or dilation meet on the smallest grid that holds the taps of all: tap i of a branch
 * (k, p, d) reads input pixel `y S - p + i d`, so it lands on tap `(P - p + i d) / D` of the grid (K, P, D). Branches of
 * unequal groups meet in the finest grouping that all fit, a dense kernel at worst.
 *
 * @throws ERR_REPFUSE_SHAPE for unequal channels or strides, or output sizes that differ (`pBefore + pAfter - d (k - 1)`).
 */
export function addBranches(branches: readonly AffineConv[], options: AddOptions = {}): AffineConv {
  const convs = checkArgument('convs', AFFINE_CONVS, branches);
  const { inputSize } = checkOptions('addBranches', ADD_OPTIONS, options);
  const [first] = convs;
  if (first === undefined) {
    throw new RepfuseError('ERR_REPFUSE_INVALID_ARGUMENT', 'Expected at least one branch to add but received none');
  }
  convs.forEach((conv, branch) => {
    if (conv.outChannels !== first.outChannels || conv.inChannels !== first.inChannels) {
      throw new RepfuseError(
        'ERR_REPFUSE_SHAPE',
        `Expected ${first.inChannels} -> ${first.outChannels} channels for branch ${branch} but received ${conv.inChannels} -> ${conv.outChannels}`,
        { branch },
      );
    }
  });
  const { outChannels, inChannels, stride } = first;
  const chains = convs.flatMap((conv) => conv.value.chains);
  const bias = new Float64Array(outChannels);
  for (const conv of convs) {
    for (let i = 0; i < outChannels; i++) bias[i]! += conv.value.bias[i]!;
  }
  const groups = convs.every((conv) => conv.groups === first.groups)
    ? first.groups
    : finestGroups(chains, outChannels, inChannels);
  return affineConv(
    { outChannels, inChannels, stride, groups, ...commonGrid(convs, inputSize) },
    { chains, bias, biasTerms: convs.flatMap((conv) => conv.value.biasTerms) },
  );
}

/**
 * The smallest grid that holds the taps of all convolutions and gives their output size.
 *
 * @throws ERR_REPFUSE_SHAPE for unequal strides or output sizes.
 */
export function commonGrid(convs: readonly AffineConv[], inputSize?: Axes): Grid {
  const [first] = convs as readonly [AffineConv, ...AffineConv[]];
  convs.forEach((conv, branch) => {
    checkOutputs(first, conv, branch, inputSize);
  });
  const vertical = axisGrid(convs, 0);
  const horizontal = axisGrid(convs, 1);
  return {
    kernel: [vertical.kernel, horizontal.kernel],
    dilation: [vertical.dilation, horizontal.dilation],
    padding: [vertical.before, horizontal.before, vertical.after, horizontal.after],
  };
}

function checkOutputs(first: AffineConv, conv: AffineConv, branch: number, inputSize: Axes | undefined): void {
  if (conv.stride[0] !== first.stride[0] || conv.stride[1] !== first.stride[1]) {
    throw new RepfuseError(
      'ERR_REPFUSE_SHAPE',
      `Expected stride ${JSON.stringify(first.stride)} for branch ${branch} but received ${JSON.stringify(conv.stride)}`,
      { branch, stride: conv.stride },
    );
  }
  const sizes = inputSize && [first.outputSize(inputSize), conv.outputSize(inputSize)];
  for (const axis of [0, 1]) {
    if (excess(conv, axis) === excess(first, axis)) continue;
    if (sizes === undefined) {
      const why = `Expected padding before + after - dilation (kernel - 1) = ${excess(first, axis)} (equal output sizes for every input) for branch ${branch} but received ${excess(conv, axis)}`;
      throw new RepfuseError('ERR_REPFUSE_SHAPE', `${why}; give inputSize if one input size is meant`, {
        branch,
        axis,
        why,
      });
    }
    if (sizes[0]![axis] !== sizes[1]![axis]) {
      throw new RepfuseError(
        'ERR_REPFUSE_SHAPE',
        `Expected output size ${sizes[0]![axis]} for branch ${branch} and input size ${inputSize![axis]} but received ${sizes[1]![axis]}`,
        { branch, axis },
      );
    }
  }
}

interface AxisGrid {
  readonly kernel: number;
  readonly dilation: number;
  readonly before: number;
  readonly after: number;
}

/** Positions are input pixels relative to `y * stride`; a branch reads `-before, -before + d, ...`. */
function axisGrid(convs: readonly AffineConv[], axis: number): AxisGrid {
  const firsts = convs.map((conv) => -paddingOf(conv, axis)[0]);
  const lasts = convs.map((conv, i) => firsts[i]! + conv.dilation[axis]! * (conv.kernel[axis]! - 1));
  const low = firsts.reduce((least, first) => Math.min(least, first));
  const high = lasts.reduce((most, last) => Math.max(most, last));
  const distances = convs.map((conv) => (conv.kernel[axis]! > 1 ? conv.dilation[axis]! : 0));
  const dilation = [...distances, ...firsts.map((first) => first - low)].reduce(greatestCommonDivisor);
  const smallest = convs.reduce((least, conv) => Math.min(least, excess(conv, axis)), Number.POSITIVE_INFINITY);
  return {
    kernel: dilation === 0 ? 1 : (high - low) / dilation + 1,
    dilation: dilation === 0 ? convs[0]!.dilation[axis]! : dilation,
    before: -low,
    after: smallest + high,
  };
}

export function greatestCommonDivisor(a: number, b: number): number {
  return b === 0 ? a : greatestCommonDivisor(b, a % b);
}

/** Where a convolution is to have its taps, in the words of PyTorch's options. */
export interface TargetGrid {
  readonly kernel: Pair;
  readonly padding: Padding;
  readonly dilation?: Pair | undefined;
}

const TARGET_GRID = membersOf<TargetGrid>()({ kernel: PAIR, padding: PADDING, dilation: optional(PAIR) });

/**
 * Transform VI: the same convolution on another grid of taps, absent taps being zero. Dilation defaults to the convolution's own.
 *
 * @throws ERR_REPFUSE_INEXACT if a tap would fall between or beyond those of the grid, or the output size would change.
 */
export function alignTo(given: AffineConv, grid: TargetGrid): AffineConv {
  const conv = checkArgument('conv', AFFINE_CONV, given);
  const { kernel, padding, dilation = conv.dilation } = checkArgument('grid', TARGET_GRID, grid);
  const target = { kernel: toPair(kernel), padding: toPadding4(padding), dilation: toPair(dilation) };
  const aligned = affineConv({ ...conv, ...target }, conv.value);
  for (const axis of [0, 1]) {
    if (excess(aligned, axis) !== excess(conv, axis)) {
      throw new RepfuseError(
        'ERR_REPFUSE_INEXACT',
        `Expected padding before + after - dilation (kernel - 1) = ${excess(conv, axis)} (the same output size) for the grid but received ${excess(aligned, axis)}`,
        { axis },
      );
    }
    for (const chain of conv.value.chains) {
      if (!landsOn(aligned, chain, axis)) {
        throw new RepfuseError(
          'ERR_REPFUSE_INEXACT',
          `Expected taps on the grid (kernel ${target.kernel[axis]}, padding ${paddingOf(target, axis)[0]}, dilation ${target.dilation[axis]}) for ${chain.factors[0]!.kernel.name} but received one at input pixel ${chain.offset[axis]} relative to the output's; a larger kernel and padding may hold it`,
          { axis },
        );
      }
    }
  }
  return aligned;
}

/** Whether every tap of the chain is one of the grid, along one axis. */
function landsOn(grid: Grid, { factors, offset }: Chain, axis: number): boolean {
  const { kernel, dilation } = grid;
  const spread = factors.filter((factor) => factor.kernel.size[axis]! > 1).map((factor) => factor.step[axis]!);
  const low = offset[axis]! + paddingOf(grid, axis)[0];
  const high = low + factors.reduce((sum, factor) => sum + (factor.kernel.size[axis]! - 1) * factor.step[axis]!, 0);
  return (
    [low, ...spread].every((distance) => distance % dilation[axis]! === 0) &&
    low >= 0 &&
    high <= dilation[axis]! * (kernel[axis]! - 1)
  );
}
