import type { TensorData } from '../native/addon';
/** Data types that are computed with, named as in safetensors. F16 and BF16 travel as Uint16Array (bit patterns), BOOL as Uint8Array. */
export type ComputedDType = 'F64' | 'F32' | 'F16' | 'BF16' | 'I64' | 'I32' | 'I16' | 'I8' | 'U8' | 'BOOL';

/** Data types that are only carried along, byte for byte. C64 (complex64) travels as BigUint64Array, its bit patterns, F8 as Uint8Array. */
export type CarriedDType =
  | 'U16'
  | 'U32'
  | 'U64'
  | 'C64'
  | 'F8_E4M3'
  | 'F8_E5M2'
  | 'F8_E8M0'
  | 'F8_E4M3FNUZ'
  | 'F8_E5M2FNUZ';

export type DType = ComputedDType | CarriedDType;

export type { TensorData };

interface DTypeInfo {
  readonly bytes: number;
  readonly array: {
    readonly name: string;
    new (length: number): TensorData;
    new (buffer: ArrayBufferLike, byteOffset: number, length: number): TensorData;
  };
  /** Whether a value is a floating-point number that is computed with (can be a weight). */
  readonly floating: boolean;
}

export const DTYPES: Readonly<Record<DType, DTypeInfo>> = {
  F64: { bytes: 8, array: Float64Array, floating: true },
  F32: { bytes: 4, array: Float32Array, floating: true },
  F16: { bytes: 2, array: Uint16Array, floating: true },
  BF16: { bytes: 2, array: Uint16Array, floating: true },
  I64: { bytes: 8, array: BigInt64Array, floating: false },
  I32: { bytes: 4, array: Int32Array, floating: false },
  I16: { bytes: 2, array: Int16Array, floating: false },
  I8: { bytes: 1, array: Int8Array, floating: false },
  U8: { bytes: 1, array: Uint8Array, floating: false },
  BOOL: { bytes: 1, array: Uint8Array, floating: false },
  U16: { bytes: 2, array: Uint16Array, floating: false },
  U32: { bytes: 4, array: Uint32Array, floating: false },
  U64: { bytes: 8, array: BigUint64Array, floating: false },
  C64: { bytes: 8, array: BigUint64Array, floating: false },
  F8_E4M3: { bytes: 1, array: Uint8Array, floating: false },
  F8_E5M2: { bytes: 1, array: Uint8Array, floating: false },
  F8_E8M0: { bytes: 1, array: Uint8Array, floating: false },
  F8_E4M3FNUZ: { bytes: 1, array: Uint8Array, floating: false },
  F8_E5M2FNUZ: { bytes: 1, array: Uint8Array, floating: false },
};

/** So many bytes of memory as elements; `byteOffset` must suit the type. */
export function elementsOf(dtype: DType, buffer: ArrayBufferLike, byteOffset: number, bytes: number): TensorData {
  const { array, bytes: width } = DTYPES[dtype];
  return new array(buffer, byteOffset, bytes / width);
}

export function isDType(name: unknown): name is DType {
  return typeof name === 'string' && Object.hasOwn(DTYPES, name);
}
