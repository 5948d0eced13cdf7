import { RepfuseError } from '../errors';
import type { BatchNorm } from '../ops';
import type { Tensor } from '../tensor/tensor';
import { AffineConv } from './affine-conv';
import type { Factor } from './chain';
import { channelVector, finiteVector } from './channel-vector';

/**
 * Transform I: a convolution followed by a BatchNorm in evaluation, `y = (x - mean) / sqrt(var + eps) * gamma + beta`, is the
 * convolution with `s W` and `s b + beta - s mean`, where `s = gamma / sqrt(var + eps)` (Ding et al., CVPR 2021, equation 3).
 *
 * @param options.name of the BatchNorm, for messages.
 * @throws ERR_REPFUSE_NOT_FUSABLE without running statistics, or where `var + eps <= 0`; ERR_REPFUSE_NOT_FINITE;
 *   ERR_REPFUSE_SHAPE unless every vector has one value per output channel.
 */
export function foldBatchNorm(conv: AffineConv, bn: BatchNorm, options: { readonly name?: string } = {}): AffineConv {
  const { name = 'the BatchNorm' } = options;
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
    throw new RepfuseError('ERR_REPFUSE_INVALID_ARGUMENT', `Expected a finite eps for ${name} but received ${eps}`, {
      name,
      eps,
    });
  }
  const mean = channelVector(runningMean, channels, `${name} running_mean`);
  const variance = channelVector(runningVar, channels, `${name} running_var`);
  const gamma = bn.weight ? channelVector(bn.weight, channels, `${name} weight`) : new Float64Array(channels).fill(1);
  const beta = bn.bias ? channelVector(bn.bias, channels, `${name} bias`) : new Float64Array(channels);
  const channel = variance.findIndex((v) => !(v + eps > 0));
  if (channel >= 0) {
    throw new RepfuseError(
      'ERR_REPFUSE_NOT_FUSABLE',
      `Expected running_var + eps > 0 for ${name} but received ${variance[channel]} + ${eps} in channel ${channel}`,
      { tensor: runningVar, name, channel, eps },
    );
  }
  const scale = finiteVector(
    gamma.map((g, i) => g / Math.sqrt(variance[i]! + eps)),
    `weight / sqrt(running_var + eps) of ${name}`,
    { tensor: runningVar },
  );
  const scaled = scaleChannels(conv, scale);
  const bias = scaled.value.bias.map((b, i) => b + (beta[i]! - mean[i]! * scale[i]!));
  return new AffineConv(scaled, { ...scaled.value, bias });
}

/**
 * Homogeneity: weight and bias times one factor per output channel, or one number for all. A layer scale, or the alpha of a branch.
 *
 * @throws ERR_REPFUSE_SHAPE, ERR_REPFUSE_NOT_FINITE.
 */
export function scale(
  conv: AffineConv,
  perChannel: Tensor | number,
  options: { readonly name?: string } = {},
): AffineConv {
  const { name = 'the scale' } = options;
  const values =
    typeof perChannel === 'number'
      ? finiteVector(new Float64Array(conv.outChannels).fill(perChannel), name, {})
      : channelVector(perChannel, conv.outChannels, name);
  return scaleChannels(conv, values);
}

function scaleChannels(conv: AffineConv, values: Float64Array): AffineConv {
  const { chains, bias, biasTerms } = conv.value;
  const scaleFirst = <T extends { readonly factors: readonly Factor[] }>(part: T): T => {
    const [first, ...others] = part.factors as [Factor, ...Factor[]];
    const scale = values.slice(first.outBegin, first.outBegin + first.kernel.outChannels);
    if (first.scale !== null) for (let i = 0; i < scale.length; i++) scale[i]! *= first.scale[i]!;
    return { ...part, factors: [{ ...first, scale }, ...others] };
  };
  return new AffineConv(conv, {
    chains: chains.map(scaleFirst),
    bias: bias.map((b, i) => b * values[i]!),
    biasTerms: biasTerms.map(scaleFirst),
  });
}
