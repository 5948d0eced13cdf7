import { checkArgument, checkOptions } from '../arguments/check';
import { membersOf, nullish, optional, TEXT } from '../arguments/schemas';
import { RepfuseError } from '../errors';
import { CHANNELS, PADDING, PAIR, type Padding, type Pair, toPadding4, toPair } from '../ops/geometry';
import { DTYPES } from '../tensor/dtype';
import { TENSOR } from '../tensor/schemas';
import { formatShape, type Tensor } from '../tensor/tensor';
import { type AffineConv, affineConv } from './affine-conv';
import type { Axes, Factor, Kernel } from './chain';
import { channelVector } from './channel-vector';

export interface ConvOptions {
  readonly stride?: Pair | undefined;
  readonly padding?: Padding | undefined;
  readonly dilation?: Pair | undefined;
  readonly groups?: number | undefined;
  /** Name for messages, such as the key of the weight in its state dict. */
  readonly name?: string | undefined;
}

const BIAS = nullish(TENSOR);
const OPTIONS = membersOf<ConvOptions>()({
  stride: optional(PAIR),
  padding: optional(PADDING),
  dilation: optional(PAIR),
  groups: optional(CHANNELS),
  name: optional(TEXT),
});

/**
 * A convolution as it stands: weight OIHW `[O, I / groups, kh, kw]` of any floating type, bias `[O]` or none (zeros).
 *
 * @throws ERR_REPFUSE_SHAPE, ERR_REPFUSE_INVALID_ARGUMENT; ERR_REPFUSE_NOT_FINITE for a bias that is not finite (the weight
 *   is looked at when the result is materialized).
 */
export function conv(weight: Tensor, bias: Tensor | null | undefined, options: ConvOptions = {}): AffineConv {
  checkArgument('weight', TENSOR, weight);
  checkArgument('bias', BIAS, bias);
  const checked = checkOptions('conv', OPTIONS, options);
  const { groups = 1, name = `a weight of shape ${formatShape(weight.shape)}` } = checked;
  const [outChannels, inPerGroup, height, width] = weight.shape as [number, number, number, number];
  if (weight.shape.length !== 4 || weight.size === 0) {
    throw new RepfuseError(
      'ERR_REPFUSE_SHAPE',
      `Expected a shape [out, in / groups, height, width] for ${name} but received ${formatShape(weight.shape)}`,
      { tensor: weight, name },
    );
  }
  if (!DTYPES[weight.dtype].floating) {
    throw new RepfuseError(
      'ERR_REPFUSE_INVALID_ARGUMENT',
      `Expected a floating-point type for ${name} but received ${weight.dtype}`,
      { tensor: weight, name, dtype: weight.dtype },
    );
  }
  if (outChannels % groups !== 0) {
    throw new RepfuseError(
      'ERR_REPFUSE_SHAPE',
      `Expected groups that divide ${outChannels} output channels for ${name} but received ${groups}`,
      { tensor: weight, name, groups },
    );
  }
  const kernel: Kernel = { name, tensor: weight, value: 1, outChannels, inPerGroup, size: [height, width], groups };
  const values = bias ? new Float64Array(channelVector(bias, outChannels, `the bias of ${name}`)) : null;
  return fromKernel(kernel, values, groups, checked);
}

/**
 * The map that returns its input, as a 1x1 convolution: 1 at `[i, i mod (channels / groups)]`. `groups` is the layout of the
 * result on its own; added to other convolutions it takes theirs (RepVGG, Ding et al., CVPR 2021, section 3.3).
 *
 * @throws ERR_REPFUSE_SHAPE unless `groups` divides `channels`.
 */
export function identity(channels: number, groups = 1): AffineConv {
  checkArgument('channels', CHANNELS, channels);
  checkArgument('groups', CHANNELS, groups);
  return depthwise(`the identity of ${channels} channels`, channels, [1, 1], 1, groups, {});
}

/** A depthwise convolution whose every tap is `value`, in the layout of `groups`. */
export function depthwise(
  name: string,
  channels: number,
  size: Axes,
  value: number,
  groups: number,
  options: ConvOptions,
): AffineConv {
  if (channels % groups !== 0) {
    throw new RepfuseError(
      'ERR_REPFUSE_SHAPE',
      `Expected groups that divide the channels for ${name} but received ${channels} and ${groups}`,
      { name, channels, groups },
    );
  }
  const kernel: Kernel = { name, tensor: null, value, outChannels: channels, inPerGroup: 1, size, groups: channels };
  return fromKernel(kernel, null, groups, options);
}

function fromKernel(kernel: Kernel, bias: Float64Array | null, groups: number, options: ConvOptions): AffineConv {
  const stride = toPair(options.stride ?? 1);
  const padding = toPadding4(options.padding ?? 0);
  const dilation = toPair(options.dilation ?? 1);
  const factor: Factor = { kernel, scale: null, outBegin: 0, inBegin: 0, step: dilation };
  const inChannels = kernel.inPerGroup * kernel.groups;
  const { outChannels, size } = kernel;
  return affineConv(
    { outChannels, inChannels, kernel: size, stride, padding, dilation, groups },
    {
      chains: [{ factors: [factor], offset: [-padding[0], -padding[1]] }],
      bias: bias ?? noBias(outChannels),
      biasTerms: [],
    },
  );
}

/** One array for all convolutions without bias: descriptions are never written to. */
let zeros = new Float64Array(0);

function noBias(channels: number): Float64Array {
  if (zeros.length < channels) zeros = new Float64Array(channels);
  return zeros.subarray(0, channels);
}
