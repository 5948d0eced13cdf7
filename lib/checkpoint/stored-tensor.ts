import type { DType, TensorData } from '../tensor/dtype';
import { Tensor } from '../tensor/tensor';
import type { Allocate } from './files/random-access';

/** A tensor whose elements are still in the file. */
export interface StoredTensor {
  readonly dtype: DType;
  readonly shape: readonly number[];
  /** No other tensor of the file has its elements in the same memory. */
  readonly exclusive: boolean;
  /** Reads the elements: into memory from `allocate` if the tensor has it for itself, else into what it shares. */
  read(allocate?: Allocate): Promise<TensorData>;
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
