import { types } from 'node:util';
import { show } from '../arguments/show';
import { RepfuseError } from '../errors';
import { DTYPES, type DType, isDType, type TensorData } from './dtype';

/** @internal The method that Node asks for what `console.log` prints. */
export const INSPECT: unique symbol = Symbol.for('nodejs.util.inspect.custom');

/** Number of elements of a shape; 1 for the empty shape (a scalar). */
export function elementCount(shape: readonly number[]): number {
  return shape.reduce((product, dim) => product * dim, 1);
}

/** `[2, 3]` as text, for messages. */
export function formatShape(shape: readonly unknown[]): string {
  return `[${shape.join(', ')}]`;
}

/** Whether a shape holds one value for each of `channels`: `[C]`, or `[1, C, 1, 1]`, `[C, 1, 1]` and their like. */
export function isPerChannel(shape: readonly number[], channels: number): boolean {
  return shape.length > 0 && elementCount(shape) === channels && shape.filter((dim) => dim !== 1).length <= 1;
}

/** `[N, 3, 224, 224]` as text: images of a shape [C, H, W], in whatever number. */
export function batchOf(image: readonly (number | string)[]): string {
  return `[N, ${image.join(', ')}]`;
}

/** A Float16Array, which the language level of this package does not know yet. */
export interface Float16Elements {
  readonly [Symbol.toStringTag]: 'Float16Array';
  readonly buffer: ArrayBufferLike;
  readonly byteOffset: number;
  readonly length: number;
}

/** By tag, not instanceof: the array may come from another realm (a vm context, jest). */
function isArrayOf(name: string, data: unknown): boolean {
  return types.isTypedArray(data) && data[Symbol.toStringTag] === name;
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
   * @throws ERR_REPFUSE_SHAPE if `data` does not hold exactly the elements of `shape`; ERR_REPFUSE_INVALID_ARGUMENT
   */
  constructor(dtype: DType, shape: readonly number[], data: TensorData | Float16Elements) {
    if (!isDType(dtype)) throw invalid(`one of ${Object.keys(DTYPES).join(', ')} for dtype`, dtype);
    const dims = checkedShape(shape);
    const { name } = DTYPES[dtype].array;
    const isHalf = dtype === 'F16' && isArrayOf('Float16Array', data);
    if (!isHalf && !isArrayOf(name, data)) throw invalid(`${name} for ${dtype} data`, data);
    const elements = isHalf ? bitsOf(data as Float16Elements) : (data as TensorData);
    if (elements.length !== elementCount(dims)) {
      throw new RepfuseError(
        'ERR_REPFUSE_SHAPE',
        `Expected ${elementCount(dims)} elements for shape ${formatShape(dims)} but received ${elements.length}`,
      );
    }
    this.dtype = dtype;
    this.shape = Object.freeze(dims);
    this.data = elements;
  }

  /** A float32 tensor over `data` (not copied if it is a Float32Array), or over a new zeroed array. @throws as the constructor */
  static f32(shape: readonly number[], data?: Float32Array | readonly number[]): Float32Tensor {
    const zeroed = () => newFloat32Array(elementCount(checkedShape(shape)));
    const values = data === undefined ? zeroed() : types.isFloat32Array(data) ? data : toFloat32Array(data);
    return new Tensor('F32', shape, values) as Float32Tensor;
  }

  /** @internal What `console.log` prints. */
  [INSPECT](): string {
    return show(this);
  }

  get size(): number {
    return elementCount(this.shape);
  }

  get bytes(): number {
    return this.size * DTYPES[this.dtype].bytes;
  }
}

/** A tensor of float32, as operators and engines take and make them. */
export interface Float32Tensor extends Tensor {
  readonly dtype: 'F32';
  readonly data: Float32Array;
}

/** A zeroed array. @throws ERR_REPFUSE_SHAPE where there is no memory for it */
export function newFloat32Array(length: number): Float32Array<ArrayBuffer> {
  try {
    return new Float32Array(length);
  } catch (cause) {
    throw new RepfuseError(
      'ERR_REPFUSE_SHAPE',
      `Expected a size that fits into memory but received ${length} elements`,
      { elements: length },
      { cause },
    );
  }
}

function toFloat32Array(data: unknown): Float32Array {
  const numbers = copyOf(data);
  if (!numbers?.every((item) => typeof item === 'number'))
    throw invalid('a Float32Array or an array of numbers for data', data);
  return Float32Array.from(numbers as number[]);
}

/** A copy of a shape. @throws ERR_REPFUSE_INVALID_ARGUMENT, ERR_REPFUSE_SHAPE */
function checkedShape(shape: readonly number[]): readonly number[] {
  const dims = copyOf(shape);
  if (dims === undefined) throw invalid('an array of integers for shape', shape);
  if (dims.every((dim) => Number.isSafeInteger(dim) && (dim as number) >= 0)) return dims as number[];
  throw new RepfuseError('ERR_REPFUSE_SHAPE', `Expected non-negative integers for shape but received ${show(dims)}`);
}

/** The items of an array, each read once; undefined for what is none, or cannot be read. */
function copyOf(list: unknown): unknown[] | undefined {
  try {
    return Array.isArray(list) ? [...list] : undefined;
  } catch {
    return undefined;
  }
}

function invalid(expected: string, received: unknown): RepfuseError {
  return new RepfuseError('ERR_REPFUSE_INVALID_ARGUMENT', `Expected ${expected} but received ${show(received)}`);
}

/** Whether a value is a tensor whose elements are there: of whatever copy of this package, but whole. */
export function isTensor(value: unknown): value is Tensor {
  try {
    const { dtype, shape, data, size } = value as Partial<Tensor>;
    if (!isDType(dtype) || !Array.isArray(shape)) return false;
    let count = 1;
    for (const dim of shape) {
      if (!Number.isSafeInteger(dim) || dim < 0) return false;
      count *= dim;
    }
    return isArrayOf(DTYPES[dtype].array.name, data) && data!.length === count && size === count;
  } catch {
    return false; // what throws when it is looked at
  }
}
