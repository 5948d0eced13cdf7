import { checkArgument, checkOptions } from '../arguments/check';
import { BOOLEAN, membersOf, oneOf, optional } from '../arguments/schemas';
import { RepfuseError } from '../errors';
import type { Padding4 } from '../ops/geometry';
import { greatestCommonDivisor } from './add';
import { AFFINE_CONV, type AffineConv, affineConv, axes, type ConvValue, paddingOf } from './affine-conv';
import { type Axes, type Chain, type Factor, finestGroups } from './chain';

export interface ComposeOptions {
  /**
   * What the padding of the second convolution holds: `'zero'` (default), or with `'bias'` what the first one yields for zero
   * input, as BNAndPad of Diverse Branch Block does.
   */
  readonly border?: 'zero' | 'bias' | undefined;
  /** Accept a result that differs where windows reach over the border. */
  readonly allowInexactBorder?: boolean | undefined;
}

const OPTIONS = membersOf<ComposeOptions>()({
  border: optional(oneOf(['zero', 'bias'])),
  allowInexactBorder: optional(BOOLEAN),
});

/**
 * Transform III: a convolution of the output of another is one convolution, its kernel the convolution of both kernels, its
 * bias that of the second plus the first's seen through the second (Ding et al., CVPR 2021, equation 5). Strides multiply,
 * and the taps of the second are spread by the stride of the first. Exact if the second reads no padding of the map between,
 * or finds there what the first would yield beyond its input: see `border`.
 *
 * @throws ERR_REPFUSE_INEXACT where it is not exact; ERR_REPFUSE_RANGE for a chain of hundreds; ERR_REPFUSE_SHAPE unless the second's inputs are the first's outputs.
 */
export function composeSequential(first: AffineConv, second: AffineConv, options: ComposeOptions = {}): AffineConv {
  checkArgument('first', AFFINE_CONV, first);
  checkArgument('second', AFFINE_CONV, second);
  const { border = 'zero', allowInexactBorder } = checkOptions('composeSequential', OPTIONS, options);
  if (second.inChannels !== first.outChannels) {
    throw new RepfuseError(
      'ERR_REPFUSE_SHAPE',
      `Expected ${first.outChannels} input channels for the second convolution but received ${second.inChannels}`,
    );
  }
  if (!allowInexactBorder) checkBorder(first, second.padding, border);
  const { outChannels } = second;
  const { inChannels } = first;
  const outer = spread(second.value, first.stride);
  const chains = outer.chains.flatMap((last) => first.value.chains.map((inner) => through(last, inner)));
  const seen = outer.chains.flatMap(({ factors }) => [
    ...(isZero(first.value.bias) ? [] : [{ factors, constant: first.value.bias, begin: 0 }]),
    ...first.value.biasTerms.map((term) => ({ ...term, factors: [...factors, ...term.factors] })),
  ]);
  const ways = [...chains, ...seen].reduce((sum, { factors }) => sum + factors.length, 0);
  if (ways > MAX_FACTORS) {
    throw new RepfuseError(
      'ERR_REPFUSE_RANGE',
      `Expected at most ${MAX_FACTORS} factors for one convolution but received a chain of ${ways}`,
    );
  }
  const dilation = axes((axis) => composedDilation(first, second, axis));
  const span = (conv: AffineConv, axis: number) => conv.dilation[axis]! * (conv.kernel[axis]! - 1);
  return affineConv(
    {
      outChannels,
      inChannels,
      kernel: axes((a) => (span(first, a) + first.stride[a]! * span(second, a)) / dilation[a]! + 1),
      stride: axes((axis) => first.stride[axis]! * second.stride[axis]!),
      padding: outerPadding(first, second.padding),
      dilation,
      groups: first.groups === second.groups ? first.groups : finestGroups(chains, outChannels, inChannels),
    },
    { chains, bias: outer.bias, biasTerms: [...outer.biasTerms, ...seen] },
  );
}

/**
 * The convolution whose output has a frame more, filled with what it yields for zero input.
 *
 * @throws ERR_REPFUSE_INEXACT if pixels of the frame would see the input.
 */
export function padOutput(conv: AffineConv, padding: Padding4): AffineConv {
  checkBorder(conv, padding, 'bias');
  const outer = outerPadding(conv, padding);
  return padInput(conv, outer.map((p, side) => p - conv.padding[side]!) as unknown as Padding4);
}

/** The same convolution with more padding of its input. */
export function padInput(conv: AffineConv, padding: Padding4): AffineConv {
  const chains = conv.value.chains.map((chain) => ({
    ...chain,
    offset: axes((axis) => chain.offset[axis]! - padding[axis]!),
  }));
  const total = conv.padding.map((own, side) => own + padding[side]!) as unknown as Padding4;
  return affineConv({ ...conv, padding: total }, { ...conv.value, chains });
}

/** Padding of the input that moves the first window where a padding of the output begins. */
function outerPadding(conv: AffineConv, padding: Padding4): Padding4 {
  return conv.padding.map((own, side) => own + conv.stride[side % 2]! * padding[side]!) as unknown as Padding4;
}

/** What a convolution is to the input of another of that stride before it: its taps lie `stride` times as far apart. */
function spread({ chains, bias, biasTerms }: ConvValue, stride: Axes): ConvValue {
  const known = new Map<Factor, Factor>();
  const spreadFactor = (factor: Factor) => {
    const wide = known.get(factor) ?? { ...factor, step: axes((axis) => factor.step[axis]! * stride[axis]!) };
    known.set(factor, wide);
    return wide;
  };
  return {
    chains: chains.map(({ factors, offset }) => ({
      factors: factors.map(spreadFactor),
      offset: axes((axis) => offset[axis]! * stride[axis]!),
    })),
    bias,
    biasTerms: biasTerms.map((term) => ({ ...term, factors: term.factors.map(spreadFactor) })),
  };
}

/** Factors of all ways through a description, which grow with the square of its length: some 360 convolutions one after the other. */
const MAX_FACTORS = 1 << 16;

function through(outer: Chain, inner: Chain): Chain {
  return {
    factors: [...outer.factors, ...inner.factors],
    offset: axes((axis) => outer.offset[axis]! + inner.offset[axis]!),
  };
}

function composedDilation(first: AffineConv, second: AffineConv, axis: number): number {
  const spread = second.kernel[axis]! > 1 ? second.dilation[axis]! * first.stride[axis]! : 0;
  const own = first.kernel[axis]! > 1 ? first.dilation[axis]! : 0;
  return greatestCommonDivisor(spread, own) || 1;
}

/** Whether zero input certainly yields zero. */
export function yieldsZero(conv: AffineConv): boolean {
  const { value } = conv; // no public member: the declaration must not name it
  return isZero(value.bias) && value.biasTerms.every((term) => isZero(term.constant));
}

function isZero(values: Float64Array): boolean {
  return values.every((value) => value === 0);
}

/**
 * Beyond its border the map between must hold what the fused convolution computes there: the first convolution's value for
 * windows that lie wholly outside its input.
 */
function checkBorder(first: AffineConv, padding: Padding4, border: 'zero' | 'bias'): void {
  const padded = padding.some((p) => p > 0);
  if (padded && border === 'zero' && !yieldsZero(first)) {
    const why =
      "Expected a border filled with the first convolution's bias, no padding, or no bias for a convolution of a convolution but received zero padding: pixels at the border would differ";
    throw new RepfuseError('ERR_REPFUSE_INEXACT', `${why} (border: 'bias', or allowInexactBorder)`, { padding, why });
  }
  for (const axis of [0, 1]) {
    const [before, after] = paddingOf(first, axis);
    const span = first.dilation[axis]! * (first.kernel[axis]! - 1);
    const reachesIn = [before + first.stride[axis]! <= span, after < span];
    const side = [0, 1].find((end) => padding[axis + 2 * end]! > 0 && reachesIn[end]);
    if (side !== undefined) {
      const why = `Expected no padding for a convolution that follows a kernel of ${first.kernel[axis]} with padding ${JSON.stringify(first.padding)} but received ${JSON.stringify(padding)}: beyond the border of the map between, the fused convolution would see the input`;
      throw new RepfuseError('ERR_REPFUSE_INEXACT', `${why} (allowInexactBorder accepts that)`, {
        padding,
        axis,
        why,
      });
    }
  }
}
