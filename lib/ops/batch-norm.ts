import { checkArgument, checkOptions } from '../arguments/check';
import { listOf, membersOf, missable, nullish, number, optional, unchecked, value } from '../arguments/schemas';
import { show } from '../arguments/show';
import { RepfuseError } from '../errors';
import { toFloat64 } from '../tensor/half';
import { TENSOR } from '../tensor/schemas';
import { type Float32Tensor, formatShape, isPerChannel, Tensor } from '../tensor/tensor';
import { eagerOp, NO_OTHER_OPTIONS, OP_OPTIONS, type OpOptions, type PreparedOp, prepare, run, sizesOf } from './run';

/** Running statistics and affine parameters of a BatchNorm in evaluation: missing weight is 1, missing bias 0. All [C], or [1, C, 1, 1] and its like. */
export interface BatchNorm {
  readonly runningMean: Tensor;
  readonly runningVar: Tensor;
  readonly weight?: Tensor | null;
  readonly bias?: Tensor | null;
  /** Added to the variance, inside the root, once. Not stored in state dicts. */
  readonly eps: number;
}

/** Members that are missing are told by what needs them. */
export const BATCH_NORM_MEMBERS = {
  runningMean: missable(TENSOR),
  runningVar: missable(TENSOR),
  weight: nullish(TENSOR),
  bias: nullish(TENSOR),
  eps: unchecked<number>(),
} as const;
export const BATCH_NORM = membersOf<BatchNorm>()(BATCH_NORM_MEMBERS);

export const BATCH_NORM_OP = eagerOp('batchNorm', prepareBatchNorm, NO_OTHER_OPTIONS);

/** y = x * scale + shift in float64, per channel. */
export interface ChannelAffine {
  readonly scale: Float64Array;
  readonly shift: Float64Array;
  readonly mean: Float64Array;
}

/**
 * scale = weight / sqrt(runningVar + eps), mean and bias of a BatchNorm, in float64: y = (x - mean) * scale + shift.
 *
 * @throws ERR_REPFUSE_NOT_FUSABLE without running statistics, with var + eps <= 0 or a bad eps; ERR_REPFUSE_NOT_FINITE;
 *   ERR_REPFUSE_SHAPE. `details.tensor` names the member at fault, `details.channel` the channel.
 */
export function batchNormAffine(bn: BatchNorm): ChannelAffine {
  if (bn.runningMean == null || bn.runningVar == null) {
    const tensor = bn.runningMean == null ? 'running_mean' : 'running_var';
    throw new RepfuseError(
      'ERR_REPFUSE_NOT_FUSABLE',
      `Expected ${tensor} but it is missing: without running statistics a BatchNorm uses those of the batch, which is no affine map`,
      { tensor },
    );
  }
  if (!(Number.isFinite(bn.eps) && bn.eps >= 0)) {
    throw new RepfuseError(
      'ERR_REPFUSE_NOT_FUSABLE',
      `Expected a finite eps of at least 0 but received ${show(bn.eps)}`,
      {
        tensor: 'eps',
      },
    );
  }
  const channels = bn.runningVar.size;
  const mean = channelValues(bn.runningMean, 'running_mean', channels);
  const variance = channelValues(bn.runningVar, 'running_var', channels);
  const gamma = bn.weight == null ? null : channelValues(bn.weight, 'weight', channels);
  const shift = bn.bias == null ? new Float64Array(channels) : channelValues(bn.bias, 'bias', channels);
  const scale = new Float64Array(channels);
  for (let c = 0; c < channels; c++) {
    const total = variance[c]! + bn.eps;
    if (!(total > 0)) {
      throw new RepfuseError(
        'ERR_REPFUSE_NOT_FUSABLE',
        `Expected running_var + eps > 0 but channel ${c} has ${variance[c]} + ${bn.eps}`,
        { tensor: 'running_var', channel: c },
      );
    }
    scale[c] = (gamma === null ? 1 : gamma[c]!) / Math.sqrt(total);
  }
  return { scale, shift, mean };
}

function channelValues(tensor: Tensor, name: string, channels: number): Float64Array {
  if (!isPerChannel(tensor.shape, channels)) {
    throw new RepfuseError(
      'ERR_REPFUSE_SHAPE',
      `Expected [${channels}] for ${name} but received ${formatShape(tensor.shape)}`,
      { tensor: name },
    );
  }
  const values = toFloat64(tensor);
  // A plain loop: the methods of typed arrays take twenty times as long, and this runs for every BatchNorm of a file.
  for (let channel = 0; channel < channels; channel++) {
    if (Number.isFinite(values[channel])) continue;
    throw new RepfuseError(
      'ERR_REPFUSE_NOT_FINITE',
      `Expected finite values for ${name} but channel ${channel} has ${values[channel]}`,
      {
        tensor: name,
        channel,
      },
    );
  }
  return values;
}

/**
 * BatchNorm in evaluation, with running statistics only: y = (x - mean) / sqrt(var + eps) * weight + bias, in float64,
 * rounded once. [N, C, H, W] -> the same.
 *
 * @throws as `batchNormAffine`
 */
export const batchNorm = BATCH_NORM_OP.run;
/** `batchNorm` on the pool. */
export const batchNormAsync = BATCH_NORM_OP.runAsync;

/** How raw pixels become a network's input, per channel: (x * scale - mean) / std; mean defaults to 0, std to 1. */
export interface PixelNormalization {
  readonly scale: number;
  readonly mean?: readonly number[];
  readonly std?: readonly number[];
}

const NONZERO = value<number>('a finite number other than 0', (given) => Number.isFinite(given) && given !== 0);
const PIXEL_NORMALIZATION = membersOf<PixelNormalization>()({
  scale: NONZERO,
  mean: optional(listOf(number())),
  std: optional(listOf(NONZERO)),
});

/** (x * scale - mean) / std in float64, rounded once. [N, C, H, W] -> the same. @throws ERR_REPFUSE_SHAPE */
export function normalizePixels(
  input: Tensor,
  normalization: PixelNormalization,
  options: OpOptions = {},
): Float32Tensor {
  const { scale, mean, std } = checkArgument('normalization', PIXEL_NORMALIZATION, normalization);
  const checked = checkOptions('normalizePixels', OP_OPTIONS, options);
  const [batch, channels, height, width] = sizesOf(input);
  for (const [name, values] of Object.entries({ mean, std })) {
    if (values !== undefined && values.length !== channels) {
      throw new RepfuseError(
        'ERR_REPFUSE_SHAPE',
        `Expected ${channels} values for ${name} but received ${values.length}`,
      );
    }
  }
  const perChannel = (f: (channel: number) => number) => Float64Array.from({ length: channels }, (_, c) => f(c));
  const args = {
    mean: perChannel((c) => (mean?.[c] ?? 0) / scale),
    scale: perChannel((c) => scale / (std?.[c] ?? 1)),
    shift: new Float64Array(channels),
  };
  const sizes = { batch, channels, size: height * width };
  return run(prepare('normalize', { ...sizes, input: input.data, ...args }, Tensor.f32(input.shape), checked));
}

function prepareBatchNorm(options: OpOptions, input: Tensor, bn: BatchNorm): PreparedOp {
  const [batch, channels, height, width] = sizesOf(input);
  const { scale, shift, mean } = batchNormAffine(checkArgument('bn', BATCH_NORM, bn));
  if (scale.length !== channels) {
    throw new RepfuseError(
      'ERR_REPFUSE_SHAPE',
      `Expected ${scale.length} input channels for the BatchNorm but received ${channels}`,
    );
  }
  return prepare(
    'normalize',
    { batch, channels, size: height * width, input: input.data, mean, scale, shift },
    Tensor.f32(input.shape),
    options,
  );
}
