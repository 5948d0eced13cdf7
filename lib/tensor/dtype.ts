/** Data types, named as in safetensors. F16 and BF16 travel as Uint16Array (their bit patterns), BOOL as Uint8Array. */
export type DType = 'F64' | 'F32' | 'F16' | 'BF16' | 'I64' | 'I32' | 'I16' | 'I8' | 'U8' | 'BOOL';

export type TensorData =
  | Float64Array
  | Float32Array
  | Uint16Array
  | BigInt64Array
  | Int32Array
  | Int16Array
  | Int8Array
  | Uint8Array;

interface DTypeInfo {
  readonly bytes: number;
  readonly array: {
    readonly name: string;
    new (length: number): TensorData;
    new (buffer: ArrayBufferLike, byteOffset: number, length: number): TensorData;
  };
  /** Whether a value is a floating-point number (can be a weight). */
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
};

export function isDType(name: string): name is DType {
  return Object.hasOwn(DTYPES, name);
}
