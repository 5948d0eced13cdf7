import { RepfuseError } from '../errors';
import type { Tensor } from './tensor';

/** Value of an IEEE 754 half-precision bit pattern; exact. */
export function decodeF16(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 0x1f) return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

const word = new Uint32Array(1);
const single = new Float32Array(word.buffer);

/** Value of a bfloat16 bit pattern (the upper half of a float32); exact. */
export function decodeBF16(bits: number): number {
  word[0] = bits << 16;
  return single[0]!;
}

/**
 * The values as float32: the tensor's own array if it is float32 already, otherwise a new one. F16 and BF16 widen exactly;
 * F64 rounds.
 *
 * @throws ERR_REPFUSE_INVALID_ARGUMENT for integer tensors
 */
export function toFloat32(tensor: Tensor): Float32Array {
  return tensor.dtype === 'F32' ? (tensor.data as Float32Array) : new Float32Array(floatValues(tensor));
}

/** The values as float64, exactly, always in a new array. @throws ERR_REPFUSE_INVALID_ARGUMENT for integer tensors */
export function toFloat64(tensor: Tensor): Float64Array {
  return new Float64Array(floatValues(tensor)); // not Float64Array.from, which iterates
}

/** The values, widened exactly: the tensor's own array where its type allows. @throws ERR_REPFUSE_INVALID_ARGUMENT for integer tensors */
export function floatValues(tensor: Tensor): ArrayLike<number> {
  switch (tensor.dtype) {
    case 'F32':
    case 'F64':
      return tensor.data as Float32Array | Float64Array;
    case 'F16':
      return Float32Array.from(tensor.data as Uint16Array, decodeF16);
    case 'BF16':
      return Float32Array.from(tensor.data as Uint16Array, decodeBF16);
    default:
      throw new RepfuseError(
        'ERR_REPFUSE_INVALID_ARGUMENT',
        `Expected a floating-point tensor but received ${tensor.dtype}`,
      );
  }
}
