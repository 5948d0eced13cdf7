import { RepfuseError } from '../errors';
import { floatValues } from '../tensor/half';
import { formatShape, isPerChannel, type Tensor } from '../tensor/tensor';

/**
 * The values of a tensor of one value per channel (`[C]`, or `[1, C, 1, 1]` and its like), in its own array where its
 * type allows: to be read at once, not kept. (A copy of 6 KB costs more than all that is computed with it: fresh pages.)
 *
 * @throws ERR_REPFUSE_SHAPE unless it holds `channels` values; ERR_REPFUSE_NOT_FINITE with the channel at fault.
 */
export function channelVector(tensor: Tensor, channels: number, name: string): ArrayLike<number> {
  if (!isPerChannel(tensor.shape, channels)) {
    throw new RepfuseError(
      'ERR_REPFUSE_SHAPE',
      `Expected ${channels} values for ${name} but received shape ${formatShape(tensor.shape)}`,
      { tensor, name, channels },
    );
  }
  return finiteVector(floatValues(tensor), name, { tensor });
}

/** @throws ERR_REPFUSE_NOT_FINITE with the channel at fault, or the vector itself. */
export function finiteVector<T extends ArrayLike<number>>(
  values: T,
  name: string,
  details: Record<string, unknown>,
): T {
  let channel = 0;
  while (channel < values.length && Number.isFinite(values[channel])) channel++;
  if (channel === values.length) return values;
  throw new RepfuseError(
    'ERR_REPFUSE_NOT_FINITE',
    `Expected finite values for ${name} but received ${values[channel]} in channel ${channel}`,
    { ...details, name, channel },
  );
}
