import { BOOLEAN, integer, membersOf, optional, SIGNAL, THREADS } from '../arguments/schemas';
import { RepfuseError } from '../errors';
import { ceilOf, floorOf, lesser, type Size, type SizeLike, sum } from '../sizes/size';
import { Tensor } from '../tensor/tensor';
import { PADDING, PAIR, type Padding, type Pair, toPadding4, toPair } from './geometry';
import {
  type AsyncOpOptions,
  eagerOp,
  NO_OTHER_OPTIONS,
  type OpOptions,
  type PreparedOp,
  prepare,
  sizesOf,
} from './run';

export interface MaxPool2dOptions extends OpOptions {
  readonly kernel: Pair;
  /** Default: the kernel. */
  readonly stride?: Pair | undefined;
  /** Default 0. */
  readonly padding?: Padding | undefined;
  /** Distance of the window's pixels. Default 1. */
  readonly dilation?: Pair | undefined;
  /** Round the output size up: a last window may hang over the edge, if it begins inside the input or its left padding. */
  readonly ceilMode?: boolean | undefined;
}

export interface AvgPool2dOptions extends MaxPool2dOptions {
  /** Whether padding counts in the mean. Default true, as in PyTorch (ONNX: false). */
  readonly countIncludePad?: boolean | undefined;
  /** Divides by this instead of the window's size. */
  readonly divisorOverride?: number | undefined;
}

const WINDOW = {
  threads: optional(THREADS),
  kernel: PAIR,
  stride: optional(PAIR),
  padding: optional(PADDING),
  dilation: optional(PAIR),
  ceilMode: optional(BOOLEAN),
} as const;
const MEAN = { ...WINDOW, countIncludePad: optional(BOOLEAN), divisorOverride: optional(integer()) } as const;
const MAX_POOL = eagerOp('maxPool2d', prepareMaxPool, [
  membersOf<MaxPool2dOptions>()(WINDOW),
  membersOf<MaxPool2dOptions & AsyncOpOptions>()({ ...WINDOW, signal: optional(SIGNAL) }),
]);
export const AVG_POOL = eagerOp('avgPool2d', prepareAvgPool, [
  membersOf<AvgPool2dOptions>()(MEAN),
  membersOf<AvgPool2dOptions & AsyncOpOptions>()({ ...MEAN, signal: optional(SIGNAL) }),
]);
const GLOBAL_AVG_POOL = eagerOp('globalAvgPool', prepareGlobalPool, NO_OTHER_OPTIONS);

/**
 * Largest value of each window; padding counts as minus infinity. [N, C, H, W] -> [N, C, H', W'].
 *
 * @throws ERR_REPFUSE_SHAPE, ERR_REPFUSE_INVALID_ARGUMENT
 */
export const maxPool2d = MAX_POOL.run;
/** `maxPool2d` on the pool of threads. */
export const maxPool2dAsync = MAX_POOL.runAsync;

/**
 * Mean of each window, summed in float64. What hangs over the padded edge (`ceilMode`) never counts. [N, C, H, W] -> [N, C, H', W'].
 *
 * @throws ERR_REPFUSE_SHAPE, ERR_REPFUSE_INVALID_ARGUMENT
 */
export const avgPool2d = AVG_POOL.run;
/** `avgPool2d` on the pool of threads. */
export const avgPool2dAsync = AVG_POOL.runAsync;

/** Mean of each map, summed in float64. [N, C, H, W] -> [N, C, 1, 1]. @throws ERR_REPFUSE_SHAPE */
export const globalAvgPool = GLOBAL_AVG_POOL.run;
/** `globalAvgPool` on the pool of threads. */
export const globalAvgPoolAsync = GLOBAL_AVG_POOL.runAsync;

function prepareMaxPool(options: MaxPool2dOptions, input: Tensor): PreparedOp {
  return prepareWindowPool('maxPool2d', input, options, {});
}

function prepareAvgPool(options: AvgPool2dOptions, input: Tensor): PreparedOp {
  const { countIncludePad = true, divisorOverride = 0 } = options;
  return prepareWindowPool('avgPool2d', input, options, { countIncludePad, divisor: divisorOverride });
}

function prepareWindowPool(
  operator: 'maxPool2d' | 'avgPool2d',
  input: Tensor,
  options: MaxPool2dOptions,
  extra: Record<string, unknown>,
): PreparedOp {
  const [batch, channels, height, width] = sizesOf(input);
  const kernel = toPair(options.kernel);
  const stride = toPair(options.stride ?? kernel);
  const padding = toPadding4(options.padding ?? 0);
  const dilation = toPair(options.dilation ?? 1);
  const ceilMode = options.ceilMode ?? false;
  const reach = kernel.map((size, axis) => (size - 1) * dilation[axis]! + 1) as [number, number];
  const outSize = [
    pooledSize(height, reach[0], stride[0], padding[0], padding[2], ceilMode),
    pooledSize(width, reach[1], stride[1], padding[1], padding[3], ceilMode),
  ] as const;
  return prepare(
    operator,
    {
      planes: batch * channels,
      inSize: [height, width],
      kernel,
      stride,
      padding,
      dilation,
      outSize,
      input: input.data,
      ...extra,
    },
    Tensor.f32([batch, channels, ...outSize]),
    options,
  );
}

/** Output size of a pooling along one axis. @throws ERR_REPFUSE_SHAPE, ERR_REPFUSE_INVALID_ARGUMENT (a window of nothing but padding) */
export function pooledSize<S extends Size>(
  size: S,
  kernel: number,
  stride: number,
  before: number,
  after: number,
  ceilMode: boolean,
): SizeLike<S> {
  if (before < 0 || after < 0 || before >= kernel || after >= kernel) {
    throw new RepfuseError(
      'ERR_REPFUSE_INVALID_ARGUMENT',
      `Expected padding from 0 to less than the window of ${kernel} but received ${Math.min(before, after) < 0 ? Math.min(before, after) : Math.max(before, after)}`,
    );
  }
  const free = sum(size, before + after - kernel);
  // The last window may not begin in the padding at the end.
  const steps = ceilMode ? lesser(ceilOf(free, stride), floorOf(sum(size, before - 1), stride)) : floorOf(free, stride);
  const count = sum(steps, 1);
  if (typeof count === 'number' && count < 1) {
    throw new RepfuseError('ERR_REPFUSE_SHAPE', `Expected an input of at least ${kernel} pixels but received ${size}`);
  }
  return count as SizeLike<S>;
}

function prepareGlobalPool(options: OpOptions, input: Tensor): PreparedOp {
  const [batch, channels, height, width] = sizesOf(input);
  return prepare(
    'globalAvgPool',
    { planes: batch * channels, size: height * width, input: input.data },
    Tensor.f32([batch, channels, 1, 1]),
    options,
  );
}
