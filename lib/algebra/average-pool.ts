import { checkOptions } from '../arguments/check';
import { BOOLEAN, membersOf, nullish, optional, value } from '../arguments/schemas';
import { RepfuseError } from '../errors';
import { CHANNELS, PADDING, PAIR, type Padding, type Pair, TWO, toPadding4, toPair } from '../ops/geometry';
import type { AffineConv } from './affine-conv';
import { paddingOf } from './affine-conv';
import type { Axes } from './chain';
import { depthwise } from './conv';

export interface AveragePoolOptions {
  readonly channels: number;
  readonly kernel: Pair;
  /** Default: the kernel, as in PyTorch. */
  readonly stride?: Pair | undefined;
  readonly padding?: Padding | undefined;
  /** Default true, as in PyTorch (ONNX's default is false). */
  readonly countIncludePad?: boolean | undefined;
  readonly ceilMode?: boolean | undefined;
  readonly divisorOverride?: number | null | undefined;
  /** Layout of the result on its own; added to or composed with other convolutions it takes theirs. Default: depthwise. */
  readonly groups?: number | undefined;
  /** Input `[height, width]`, for which `ceilMode` may turn out to make no difference. */
  readonly inputSize?: Axes | undefined;
  /** Accept that windows over the padding come out different. */
  readonly allowInexactBorder?: boolean | undefined;
}

const OPTIONS = membersOf<AveragePoolOptions>()({
  channels: CHANNELS,
  kernel: PAIR,
  stride: optional(PAIR),
  padding: optional(PADDING),
  countIncludePad: optional(BOOLEAN),
  ceilMode: optional(BOOLEAN),
  divisorOverride: nullish(
    value<number>('a finite number other than 0', (given) => Number.isFinite(given) && given !== 0),
  ),
  groups: optional(CHANNELS),
  inputSize: optional(TWO),
  allowInexactBorder: optional(BOOLEAN),
});

/**
 * Transform V: average pooling is the depthwise convolution whose taps are `1 / (kh kw)` (Ding et al., CVPR 2021, equation 7).
 *
 * @throws ERR_REPFUSE_INEXACT where it is not: padding that does not count (unless `divisorOverride` makes every window divide
 *   alike, or `allowInexactBorder`), or a partial window of `ceilMode`; ERR_REPFUSE_SHAPE, ERR_REPFUSE_INVALID_ARGUMENT.
 */
export function averagePool(options: AveragePoolOptions): AffineConv {
  const checked = checkOptions('averagePool', OPTIONS, options);
  const { channels, countIncludePad = true, ceilMode = false, divisorOverride, inputSize } = checked;
  const kernel = toPair(checked.kernel);
  const stride = toPair(checked.stride ?? kernel);
  const padding = toPadding4(checked.padding ?? 0);
  const padded = padding.some((p) => p > 0);
  if (!countIncludePad && padded && !divisorOverride && !checked.allowInexactBorder) {
    throw new RepfuseError(
      'ERR_REPFUSE_INEXACT',
      `Expected padding that counts, or none, for average pooling but received countIncludePad false with padding ${JSON.stringify(padding)}: windows at the border divide by less (allowInexactBorder accepts that)`,
      { padding },
    );
  }
  for (const axis of [0, 1]) {
    if (!ceilMode || stride[axis] === 1) continue;
    const [before, after] = paddingOf({ padding }, axis);
    const span = inputSize && inputSize[axis]! + before + after - kernel[axis]!;
    if (span === undefined || span % stride[axis]! !== 0) {
      throw new RepfuseError(
        'ERR_REPFUSE_INEXACT',
        `Expected windows that all lie inside the padded input for average pooling but received ceilMode with stride ${stride[axis]} ${inputSize ? `and input size ${inputSize[axis]}` : 'and no inputSize'}: the last window may be a partial one`,
        { stride, inputSize },
      );
    }
  }
  const divisor = divisorOverride ?? kernel[0] * kernel[1];
  const name = `average pooling ${kernel[0]}x${kernel[1]}`;
  return depthwise(name, channels, kernel, 1 / divisor, checked.groups ?? channels, { stride, padding });
}
