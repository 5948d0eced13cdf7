import { checkArgument, checkOptions } from '../arguments/check';
import { membersOf, optional, TEXT, value } from '../arguments/schemas';
import { show } from '../arguments/show';
import { RepfuseError } from '../errors';
import type { BatchNorm } from '../ops';
import { BATCH_NORM } from '../ops/batch-norm';
import { TENSOR } from '../tensor/schemas';
import { isTensor, type Tensor } from '../tensor/tensor';
import { AFFINE_CONV, type AffineConv, affineConv } from './affine-conv';
import type { Factor } from './chain';
import { channelVector, finiteVector } from './channel-vector';

export interface NamedOptions {
  /** What error messages call it. */
  readonly name?: string | undefined;
}

const NAMED = membersOf<NamedOptions>()({ name: optional(TEXT) });

/**
 * Transform I: a convolution followed by a BatchNorm in evaluation, `y = (x - mean) / sqrt(var + eps) * gamma + beta`, is the
 * convolution with `s W` and `s b + beta - s mean`, where `s = gamma / sqrt(var + eps)` (Ding et al., CVPR 2021, equation 3).
 *
 * @param options.name of the BatchNorm, for messages.
 * @throws ERR_REPFUSE_NOT_FUSABLE without running statistics, or where `var + eps <= 0`; ERR_REPFUSE_NOT_FINITE;
 *   ERR_REPFUSE_SHAPE unless every vector has one value per output channel.
 */
export function foldBatchNorm(conv: AffineConv, batchNorm: BatchNorm, options: NamedOptions = {}): AffineConv {
  const { name = 'the BatchNorm' } = checkOptions('foldBatchNorm', NAMED, options);
  return fold(checkArgument('conv', AFFINE_CONV, conv), checkArgument('bn', BATCH_NORM, batchNorm), name);
}

/** `foldBatchNorm` of what is checked. */
export function fold(conv: AffineConv, bn: BatchNorm, name: string): AffineConv {
  const channels = conv.outChannels;
  const { runningMean, runningVar, eps } = bn;
  // A caller without types may well pass a GroupNorm, or a BatchNorm that tracks nothing.
  if (!runningMean || !runningVar) {
    throw new RepfuseError(
      'ERR_REPFUSE_NOT_FUSABLE',
      `Expected running_mean and running_var for ${name} but received ${runningMean ? 'no running_var' : runningVar ? 'no running_mean' : 'neither'}: without running statistics it is not a fixed affine map`,
      { name },
    );
  }
  if (typeof eps !== 'number' || !Number.isFinite(eps)) {
    throw new RepfuseError(
      'ERR_REPFUSE_INVALID_ARGUMENT',
      `Expected a finite eps for ${name} but received ${show(eps)}`,
      {
        name,
        eps,
      },
    );
  }
  const mean = channelVector(runningMean, channels, `${name} running_mean`);
  const variance = channelVector(runningVar, channels, `${name} running_var`);
  const gamma = bn.weight ? channelVector(bn.weight, channels, `${name} weight`) : null;
  const beta = bn.bias ? channelVector(bn.bias, channels, `${name} bias`) : null;
  // Plain loops here and below: the methods of typed arrays take twenty times as long, and this runs for every BatchNorm of a file.
  const scale = new Float64Array(channels);
  for (let i = 0; i < channels; i++) {
    if (!(variance[i]! + eps > 0)) throw noVariance(runningVar, name, i, variance[i]!, eps);
    scale[i] = (gamma === null ? 1 : gamma[i]!) / Math.sqrt(variance[i]! + eps);
  }
  finiteVector(scale, `weight / sqrt(running_var + eps) of ${name}`, { tensor: runningVar });
  const shift = new Float64Array(channels);
  for (let i = 0; i < channels; i++) shift[i] = (beta === null ? 0 : beta[i]!) - mean[i]! * scale[i]!;
  return affine(conv, scale, shift);
}

function noVariance(tensor: Tensor, name: string, channel: number, variance: number, eps: number): RepfuseError {
  return new RepfuseError(
    'ERR_REPFUSE_NOT_FUSABLE',
    `Expected running_var + eps > 0 for ${name} but received ${variance} + ${eps} in channel ${channel}`,
    { tensor, name, channel, eps },
  );
}

const TENSOR_OR_NUMBER = value<Tensor | number>(
  'a Tensor or a number',
  (given) => typeof given === 'number' || isTensor(given),
);

/**
 * Homogeneity: weight and bias times one factor per output channel, or one number for all. A layer scale, or the alpha of a branch.
 *
 * @throws ERR_REPFUSE_SHAPE, ERR_REPFUSE_NOT_FINITE.
 */
export function scale(conv: AffineConv, perChannel: Tensor | number, options: NamedOptions = {}): AffineConv {
  const { name = 'the scale' } = checkOptions('scale', NAMED, options);
  const channels = checkArgument('conv', AFFINE_CONV, conv).outChannels;
  checkArgument('perChannel', TENSOR_OR_NUMBER, perChannel);
  const values =
    typeof perChannel === 'number'
      ? finiteVector(new Float64Array(channels).fill(perChannel), name, {})
      : new Float64Array(channelVector(perChannel, channels, name));
  return affine(conv, values, null);
}

/**
 * A constant per output channel, added.
 *
 * @throws ERR_REPFUSE_SHAPE, ERR_REPFUSE_NOT_FINITE.
 */
export function shift(conv: AffineConv, perChannel: Tensor, options: NamedOptions = {}): AffineConv {
  const { name = 'the bias' } = checkOptions('shift', NAMED, options);
  const { outChannels } = checkArgument('conv', AFFINE_CONV, conv);
  const values = new Float64Array(channelVector(checkArgument('perChannel', TENSOR, perChannel), outChannels, name));
  return affine(conv, new Float64Array(conv.outChannels).fill(1), values);
}

/** The output times `scale` plus `shift` (null: 0), per channel; both become part of the result. */
function affine(conv: AffineConv, scale: Float64Array, shift: Float64Array | null): AffineConv {
  const scaleFirst = <T extends { readonly factors: readonly Factor[] }>(part: T): T => {
    const [first, ...others] = part.factors as [Factor, ...Factor[]];
    return { ...part, factors: [{ ...first, scale: scaleOf(first, scale) }, ...others] };
  };
  const { chains, bias, biasTerms } = conv.value;
  const moved = shift ?? new Float64Array(scale.length);
  for (let i = 0; i < moved.length; i++) moved[i]! += bias[i]! * scale[i]!;
  return affineConv(conv, { chains: chains.map(scaleFirst), bias: moved, biasTerms: biasTerms.map(scaleFirst) });
}

/** The part of `scale` that falls on the factor's channels, times its own. */
function scaleOf({ scale: own, outBegin, kernel }: Factor, scale: Float64Array): Float64Array {
  if (own === null && kernel.outChannels === scale.length) return scale;
  const part = scale.slice(outBegin, outBegin + kernel.outChannels);
  if (own !== null) for (let i = 0; i < part.length; i++) part[i]! *= own[i]!;
  return part;
}
