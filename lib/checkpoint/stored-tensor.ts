import { DTYPES, type DType, type TensorData } from '../tensor/dtype';
import { elementCount, Tensor } from '../tensor/tensor';
import type { Allocate } from './files/random-access';

/** A tensor whose elements are still in the file. */
export interface StoredTensor {
  readonly dtype: DType;
  readonly shape: readonly number[];
  /** No other tensor of the file has its elements in the same memory. */
  readonly exclusive: boolean;
  /** Reads the elements: into memory from `allocate` if the tensor has it for itself, else into what it shares. */
  read(allocate?: Allocate): Promise<TensorData>;
  /** The same without waiting, where the file is in memory; undefined where it cannot be read so, as `read` may tell. */
  readNow?(allocate?: Allocate): TensorData | undefined;
}

/** Bytes of a stored tensor's elements. */
export function bytesOfStored({ dtype, shape }: Pick<StoredTensor, 'dtype' | 'shape'>): number {
  return elementCount(shape) * DTYPES[dtype].bytes;
}

/** More than any network has, and few enough that looking at all of them does not hold a service up. */
export const MAX_TENSORS = 100_000;
/** Longer than any name of a tensor. */
export const MAX_NAME = 4096;

/** numpy's limit, and torch's. */
export const MAX_RANK = 64;

/** Bytes of a tensor; undefined where they, or those of a part of its shape, are too many for an exact number. */
export function byteSize(shape: readonly number[], width: number): number | undefined {
  // Products of integers are exact below 2^53 and stay above it once there.
  const extent = shape.reduce((product, dim) => product * Math.max(dim, 1), width);
  if (extent > Number.MAX_SAFE_INTEGER) return undefined;
  return shape.includes(0) ? 0 : extent;
}

/** A Tensor that can be looked at (type, shape, size) before its elements are read; `data` throws until `hold` gives them. */
export function deferredTensor(name: string, { dtype, shape }: StoredTensor): Tensor {
  const tensor = Object.create(Tensor.prototype);
  Object.defineProperties(tensor, {
    dtype: { value: dtype, enumerable: true },
    shape: { value: Object.freeze([...shape]), enumerable: true },
  });
  letGo(name, tensor);
  return tensor;
}

/** Gives a deferred tensor its elements. */
export function hold(tensor: Tensor, data: TensorData): void {
  Object.defineProperty(tensor, 'data', { value: data, enumerable: true, configurable: true });
}

/** Takes them back. */
export function letGo(name: string, tensor: Tensor): void {
  const get = () => {
    throw new Error(`the elements of ${name} are not loaded`);
  };
  Object.defineProperty(tensor, 'data', { get, enumerable: true, configurable: true });
}
