import { RepfuseError } from '../errors';
import { toFloat64 } from '../tensor/half';
import { formatShape, type Tensor } from '../tensor/tensor';

/**
 * A tensor of one value per channel (`[C]`, or `[C, 1, 1]` as layer scales are stored) as float64.
 *
 * @throws ERR_REPFUSE_SHAPE unless it holds `channels` values; ERR_REPFUSE_NOT_FINITE with the channel at fault.
 */
export function channelVector(tensor: Tensor, channels: number, name: string): Float64Array {
  if (tensor.size !== channels) {
    throw new RepfuseError(
      'ERR_REPFUSE_SHAPE',
      `Expected ${channels} values for ${name} but received shape ${formatShape(tensor.shape)}`,
      { tensor, name, channels },
    );
  }
  return finiteVector(toFloat64(tensor), name, { tensor });
}

/** @throws ERR_REPFUSE_NOT_FINITE with the channel at fault, or the vector itself. */
export function finiteVector(values: Float64Array, name: string, details: Record<string, unknown>): Float64Array {
  const channel = values.findIndex((value) => !Number.isFinite(value));
  if (channel < 0) return values;
  throw new RepfuseError(
    'ERR_REPFUSE_NOT_FINITE',
    `Expected finite values for ${name} but received ${values[channel]} in channel ${channel}`,
    { ...details, name, channel },
  );
}
