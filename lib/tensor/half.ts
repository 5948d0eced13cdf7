import { RepfuseError } from '../errors';
import { Tensor } from './tensor';

/** Value of an IEEE 754 half-precision bit pattern; exact. */
export function decodeF16(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 0x1f) return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

/** Bits of a half type below its sign, and how many of them are the fraction's. */
const HALF_BITS = { F16: [15, 10], BF16: [15, 7] } as const;

/** The bit pattern of the nearest value of a half type, of two as near the even one; beyond its range it is infinite. */
export function encodeHalf(value: number, dtype: 'F16' | 'BF16'): number {
  const [below, fraction] = HALF_BITS[dtype];
  const sign = value < 0 || Object.is(value, -0) ? 2 ** below : 0;
  const infinite = 2 ** below - 2 ** fraction;
  if (Number.isNaN(value)) return sign + infinite + 2 ** (fraction - 1);
  const bias = 2 ** (below - fraction - 1) - 1;
  double[0] = Math.abs(value);
  const exponent = Math.max((doubleWords[1]! >>> 20) - 1023, 1 - bias);
  const units = double[0] * 2 ** (fraction - exponent); // of the last place; the leading bit of a fraction counts for one exponent more
  const low = Math.floor(units);
  const isUp = units - low > 0.5 || (units - low === 0.5 && low % 2 === 1);
  const bits = (isUp ? low + 1 : low) + (exponent + bias - 1) * 2 ** fraction;
  return sign + Math.min(bits, infinite);
}
const double = new Float64Array(1);
const doubleWords = new Uint32Array(double.buffer);

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

/** The tensor itself, or its values as float32. @throws ERR_REPFUSE_INVALID_ARGUMENT for integer tensors */
export function asFloat32(tensor: Tensor): Tensor {
  return tensor.dtype === 'F32' ? tensor : Tensor.f32(tensor.shape, toFloat32(tensor));
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
