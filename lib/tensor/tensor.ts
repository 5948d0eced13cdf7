import { RepfuseError } from '../errors';
import { DTYPES, type DType, type TensorData } from './dtype';

/** Number of elements of a shape; 1 for the empty shape (a scalar). */
export function elementCount(shape: readonly number[]): number {
  return shape.reduce((product, dim) => product * dim, 1);
}

/** `[2, 3]` as text, for messages. */
export function formatShape(shape: readonly number[]): string {
  return `[${shape.join(', ')}]`;
}

/** Whether a shape holds one value for each of `channels`: `[C]`, or `[1, C, 1, 1]`, `[C, 1, 1]` and their like. */
export function isPerChannel(shape: readonly number[], channels: number): boolean {
  return shape.length > 0 && elementCount(shape) === channels && shape.filter((dim) => dim !== 1).length <= 1;
}

/** A Float16Array, which the language level of this package does not know yet. */
export interface Float16Elements {
  readonly [Symbol.toStringTag]: 'Float16Array';
  readonly buffer: ArrayBufferLike;
  readonly byteOffset: number;
  readonly length: number;
}

function isFloat16Array(data: TensorData | Float16Elements): data is Float16Elements {
  return data?.[Symbol.toStringTag] === 'Float16Array';
}

/** The same memory as bit patterns. */
function bitsOf({ buffer, byteOffset, length }: Float16Elements): Uint16Array {
  return new Uint16Array(buffer, byteOffset, length);
}

/**
 * A dense, row-major, contiguous tensor over a plain typed array. It owns nothing native and needs no disposal.
 * Weights are OIHW, activations NCHW, as in PyTorch.
 */
export class Tensor {
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly data: TensorData;

  /**
   * @param data not copied; F16 also takes a Float16Array, where Node has it
   * @throws ERR_REPFUSE_SHAPE if `data` does not hold exactly the elements of `shape`.
   */
  constructor(dtype: DType, shape: readonly number[], data: TensorData | Float16Elements) {
    const elements = dtype === 'F16' && isFloat16Array(data) ? bitsOf(data) : (data as TensorData);
    if (!shape.every((dim) => Number.isSafeInteger(dim) && dim >= 0)) {
      throw new RepfuseError(
        'ERR_REPFUSE_SHAPE',
        `Expected non-negative integers for shape but received ${formatShape(shape)}`,
      );
    }
    // By tag, not instanceof: the array may come from another realm (a vm context, jest).
    if (elements?.[Symbol.toStringTag] !== DTYPES[dtype].array.name) {
      throw new RepfuseError(
        'ERR_REPFUSE_INVALID_ARGUMENT',
        `Expected ${DTYPES[dtype].array.name} for ${dtype} data but received ${elements?.constructor?.name ?? typeof elements}`,
      );
    }
    if (elements.length !== elementCount(shape)) {
      throw new RepfuseError(
        'ERR_REPFUSE_SHAPE',
        `Expected ${elementCount(shape)} elements for shape ${formatShape(shape)} but received ${elements.length}`,
      );
    }
    this.dtype = dtype;
    this.shape = Object.freeze([...shape]);
    this.data = elements;
  }

  /** A float32 tensor over `data` (not copied), or over a new zeroed array. */
  static f32(
    shape: readonly number[],
    data: Float32Array | readonly number[] = new Float32Array(elementCount(shape)),
  ): Tensor {
    return new Tensor('F32', shape, data instanceof Float32Array ? data : Float32Array.from(data));
  }

  get size(): number {
    return elementCount(this.shape);
  }

  get bytes(): number {
    return this.size * DTYPES[this.dtype].bytes;
  }
}
