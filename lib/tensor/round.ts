import { RepfuseError } from '../errors';
import { callNative, callNativeAsync } from '../native/call';
import { resolveThreads } from '../native/threads';
import { DTYPES } from './dtype';
import { toFloat32 } from './half';
import { Tensor } from './tensor';

/** The floating-point types that a tensor can be rounded to. */
export type FloatType = 'F32' | 'F16' | 'BF16';

/** Largest magnitude of a finite value. */
export const LARGEST: Readonly<Record<FloatType, number>> = {
  F32: (2 - 2 ** -23) * 2 ** 127,
  F16: 65504,
  BF16: (2 - 2 ** -7) * 2 ** 127,
};

export interface Rounded {
  readonly tensor: Tensor;
  /** Index of the first finite value that is beyond the type's range, where it became an infinity; -1 if there is none. */
  readonly overflow: number;
  /** How many values other than 0 became 0. */
  readonly flushed: number;
}

/**
 * The tensor with its values rounded once to another floating-point type, to nearest with ties to even (IEEE 754). Infinities and NaN stay
 * what they are. A tensor of that type is returned as it is.
 *
 * @throws ERR_REPFUSE_INVALID_ARGUMENT for integers; ERR_REPFUSE_NO_NATIVE
 */
export async function roundTo(
  tensor: Tensor,
  dtype: FloatType,
  { threads }: { readonly threads?: number | undefined } = {},
): Promise<Rounded> {
  if (tensor.dtype === dtype) return { tensor, overflow: -1, flushed: 0 };
  if (!DTYPES[tensor.dtype].floating) {
    throw new RepfuseError(
      'ERR_REPFUSE_INVALID_ARGUMENT',
      `Expected floating-point values but received ${tensor.dtype}`,
    );
  }
  if (dtype === 'F32') return roundToFloat32(tensor);
  const input = tensor.dtype === 'F64' ? tensor.data : toFloat32(tensor);
  const output = new Uint16Array(tensor.size);
  const stats = new Float64Array(2);
  const args = { input, output, bf16: dtype === 'BF16', stats, threads: resolveThreads(threads) };
  await callNativeAsync('narrow', args, { borrow: true });
  return { tensor: new Tensor(dtype, tensor.shape, output), overflow: stats[0]!, flushed: stats[1]! };
}

/** Float32 values rounded once to a half type, on this thread; beyond its range they are infinite. */
export function narrowed(tensor: Tensor, dtype: 'F16' | 'BF16'): Tensor {
  const output = new Uint16Array(tensor.size);
  const stats = new Float64Array(2);
  callNative('narrow', { input: tensor.data, output, bf16: dtype === 'BF16', stats, threads: 1 });
  return new Tensor(dtype, tensor.shape, output);
}

function roundToFloat32(tensor: Tensor): Rounded {
  const data = toFloat32(tensor);
  let overflow = -1;
  let flushed = 0;
  if (tensor.dtype === 'F64') {
    const wide = tensor.data as Float64Array;
    for (let i = data.length - 1; i >= 0; i--) {
      if (!Number.isFinite(data[i]!) && Number.isFinite(wide[i]!)) overflow = i;
      if (data[i] === 0 && wide[i] !== 0) flushed++;
    }
  }
  return { tensor: new Tensor('F32', tensor.shape, data), overflow, flushed };
}
