import { integer, membersOf, oneOf, optional, SIGNAL, THREADS } from '../arguments/schemas';
import { RepfuseError } from '../errors';
import { formatShape, Tensor } from '../tensor/tensor';
import { PADDING, PAIR, type Padding, type Pair, toPadding4, toPair, windowCount } from './geometry';
import {
  type AsyncOpOptions,
  eagerOp,
  expectF32,
  expectShape,
  type OpOptions,
  type PreparedOp,
  prepare,
  sizesOf,
} from './run';

export interface Conv2dOptions extends OpOptions {
  /** Default 1. */
  readonly stride?: Pair | undefined;
  /** Zeros around the input; negative values crop it. Default 0. */
  readonly padding?: Padding | undefined;
  /** What lies around the input: zeros, and nothing else yet. */
  readonly paddingMode?: 'zeros' | undefined;
  /** Default 1. */
  readonly dilation?: Pair | undefined;
  /** Default 1. */
  readonly groups?: number | undefined;
  /** Fused into the convolution. Default 'none'. */
  readonly activation?: 'none' | 'relu' | undefined;
}

const ENTRIES = {
  threads: optional(THREADS),
  stride: optional(PAIR),
  padding: optional(PADDING),
  paddingMode: optional(oneOf(['zeros'])),
  dilation: optional(PAIR),
  groups: optional(integer()),
  activation: optional(oneOf(['none', 'relu'])),
} as const;
export const CONV2D = eagerOp('conv2d', prepareConv2d, [
  membersOf<Conv2dOptions>()(ENTRIES),
  membersOf<Conv2dOptions & AsyncOpOptions>()({ ...ENTRIES, signal: optional(SIGNAL) }),
]);

/**
 * 2-D cross-correlation, as PyTorch's `conv2d`: y[n, o] = sum over (i, u, v) of weight[o, i, u, v] * x[n, i, ...] + bias[o].
 *
 * Float32 sums (im2col and a packed matrix product; depthwise filters directly), in an order that does not depend on the
 * thread count.
 *
 * @param input [N, I, H, W]
 * @param weight [O, I / groups, kh, kw]
 * @param bias [O], or nothing
 * @returns [N, O, floor((H + pads - dilation (kh - 1) - 1) / stride) + 1, ...]
 * @throws ERR_REPFUSE_SHAPE, ERR_REPFUSE_INVALID_ARGUMENT
 */
export const conv2d = CONV2D.run;
/** `conv2d` on the pool. */
export const conv2dAsync = CONV2D.runAsync;

function prepareConv2d(options: Conv2dOptions, input: Tensor, weight: Tensor, bias?: Tensor | null): PreparedOp {
  const [batch, inChannels, height, width] = sizesOf(input);
  const [outChannels, inPerGroup, kh, kw] = expectF32(weight, 'weight', 4).shape as [number, number, number, number];
  const { groups = 1, activation = 'none' } = options;
  const stride = toPair(options.stride ?? 1);
  const dilation = toPair(options.dilation ?? 1);
  const padding = toPadding4(options.padding ?? 0);
  if (outChannels % groups !== 0) {
    throw new RepfuseError(
      'ERR_REPFUSE_INVALID_ARGUMENT',
      `Expected a divisor of the ${outChannels} output channels for groups but received ${groups}`,
    );
  }
  if (inPerGroup * groups !== inChannels) {
    throw new RepfuseError(
      'ERR_REPFUSE_SHAPE',
      `Expected ${inPerGroup * groups} input channels for weight ${formatShape(weight.shape)} in ${groups} groups but received ${inChannels}`,
    );
  }
  if (bias != null) expectShape(bias, 'bias', [outChannels]);
  const outHeight = windowCount(height, kh, stride[0], padding[0], padding[2], dilation[0]);
  const outWidth = windowCount(width, kw, stride[1], padding[1], padding[3], dilation[1]);
  if (outHeight < 1 || outWidth < 1) {
    throw new RepfuseError(
      'ERR_REPFUSE_SHAPE',
      `Expected an input that the ${kh}x${kw} kernel fits into but received ${height}x${width} with padding ${formatShape(padding)}`,
    );
  }
  return prepare(
    'conv2d',
    {
      batch,
      inChannels,
      inSize: [height, width],
      outChannels,
      kernel: [kh, kw],
      stride,
      padding,
      dilation,
      groups,
      relu: activation === 'relu',
      input: input.data,
      weight: weight.data,
      bias: bias?.data ?? null,
    },
    Tensor.f32([batch, outChannels, outHeight, outWidth]),
    options,
  );
}
