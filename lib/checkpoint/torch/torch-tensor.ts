import { RepfuseError } from '../../errors';
import { DTYPES, type DType } from '../../tensor/dtype';
import { elementCount, formatShape } from '../../tensor/tensor';
import { type Allocate, allocate } from '../files/random-access';
import { PyTuple, type PyValue } from '../pickle/python-values';
import type { StoredTensor } from '../stored-tensor';
import { TorchStorage, type TorchTensor, torchDType } from './torch-pickle';

const MAX_RANK = 64;

/** Where storages come from. */
export interface StorageReader {
  /** Size in bytes; undefined if the file has no such storage. */
  sizeOf(key: string): number | undefined;
  /** The bytes, always the same memory for the same key. */
  read(key: string): Promise<Uint8Array<ArrayBuffer>>;
  /** The bytes, read anew into memory from `into`. */
  readInto(key: string, into: Allocate | undefined): Promise<Uint8Array<ArrayBuffer>>;
  /** Takes bytes from what the file may become in memory; false when that is used up. */
  reserve(bytes: number): boolean;
}

/**
 * What the described tensors are once they are dense. Everything is checked before memory is taken. A contiguous window stays a
 * view of the storage's memory, so tensors that share a storage share an ArrayBuffer; any other is gathered into memory of its own.
 *
 * @throws ERR_REPFUSE_FORMAT, ERR_REPFUSE_UNSUPPORTED_FORMAT naming the tensor (`details.tensor`)
 */
export function storedTensors(
  described: ReadonlyMap<string, TorchTensor>,
  storages: StorageReader,
): Map<string, StoredTensor> {
  const windows = new Map([...described].map(([name, tensor]) => [name, check(name, tensor, storages)] as const));
  const users = new Map<string, number>();
  for (const { key } of windows.values()) users.set(key, (users.get(key) ?? 0) + 1);
  return new Map(
    [...windows].map(([name, window]) => [name, store(name, window, users.get(window.key) === 1, storages)] as const),
  );
}

function store(name: string, window: Window, alone: boolean, storages: StorageReader): StoredTensor {
  const { dtype, key, offset, shape, stride } = window;
  const { array, bytes: width } = DTYPES[dtype];
  const count = elementCount(shape);
  if (count === 0) return { dtype, shape, exclusive: true, read: async () => new array(0) };
  if (!isContiguous(shape, stride)) {
    if (!storages.reserve(count * width)) {
      throw bad(name, 'shape', `shape ${formatShape(shape)} repeats its elements, and is too large for this file`);
    }
    const read = async () => new array(gather(await storages.read(key), width, offset, shape, stride, count), 0, count);
    return { dtype, shape, exclusive: true, read };
  }
  const exclusive = alone && offset === 0 && count * width === storages.sizeOf(key);
  return {
    dtype,
    shape,
    exclusive,
    async read(allocate) {
      const bytes = exclusive ? await storages.readInto(key, allocate) : await storages.read(key);
      return new array(bytes.buffer, bytes.byteOffset + offset * width, count);
    },
  };
}

function bad(tensor: string, field: string, problem: string): RepfuseError {
  return new RepfuseError('ERR_REPFUSE_FORMAT', `Bad tensor ${JSON.stringify(tensor)}: ${problem}`, { tensor, field });
}

interface Window {
  readonly dtype: DType;
  readonly key: string;
  /** In elements, as are the strides. */
  readonly offset: number;
  readonly shape: readonly number[];
  readonly stride: readonly number[];
}

function check(name: string, described: TorchTensor, storages: StorageReader): Window {
  const integer = (field: string, value: PyValue): number => {
    if (typeof value === 'bigint') throw bad(name, field, `${field} ${value.toString().slice(0, 24)} is too large`);
    if (typeof value !== 'number' || !Number.isSafeInteger(value)) throw bad(name, field, `${field} is no integer`);
    if (value < 0) throw bad(name, field, `${field} ${value} is negative`);
    return value;
  };
  const integers = (field: string, value: PyValue): number[] => {
    const items = value instanceof PyTuple ? value.items : Array.isArray(value) ? (value as PyValue[]) : undefined;
    if (items === undefined) throw bad(name, field, `${field} is no tuple of integers`);
    if (items.length > MAX_RANK) throw bad(name, field, `${field} has ${items.length} dimensions (limit ${MAX_RANK})`);
    return items.map((item) => integer(field, item));
  };

  const { dtype, name: dtypeName } = torchDType(described);
  if (dtype === undefined) {
    throw new RepfuseError(
      'ERR_REPFUSE_UNSUPPORTED_FORMAT',
      `Tensor ${JSON.stringify(name)} is of dtype ${dtypeName}, which is not supported`,
      { tensor: name, field: 'dtype', received: dtypeName },
    );
  }
  const { storage } = described;
  if (!(storage instanceof TorchStorage)) throw bad(name, 'storage', 'it has no storage');
  const { key } = storage;
  const offset = integer('offset', described.offset) + integer('offset', storage.begin);
  const shape = integers('shape', described.size);
  const stride = integers('stride', described.stride);
  if (shape.length !== stride.length) {
    throw bad(name, 'stride', `shape ${formatShape(shape)} and stride ${formatShape(stride)} have different lengths`);
  }
  const bytes = storages.sizeOf(key);
  if (bytes === undefined) throw bad(name, 'storage', `its storage data/${key} is missing from the file`);

  // Products of integers are exact below 2^53 and stay above it once there, so that comparing them is safe.
  const { bytes: width } = DTYPES[dtype];
  const extent = shape.reduce((product, dim) => product * Math.max(dim, 1), width);
  if (extent > Number.MAX_SAFE_INTEGER) throw bad(name, 'shape', `shape ${formatShape(shape)} is too large`);
  const last = shape.reduce((index, dim, axis) => index + (dim - 1) * stride[axis]!, offset);
  if (!shape.includes(0) && (last + 1) * width > bytes) {
    throw bad(
      name,
      'stride',
      `shape ${formatShape(shape)}, stride ${formatShape(stride)} and offset ${offset} reach element ${last}, out of the ` +
        `bounds of storage data/${key}, which holds ${Math.floor(bytes / width)}`,
    );
  }
  return { dtype, key, offset, shape, stride };
}

/** Row-major without gaps; the stride of an axis of one element does not matter. */
function isContiguous(shape: readonly number[], stride: readonly number[]): boolean {
  let expected = 1;
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    if (shape[axis] !== 1 && stride[axis] !== expected) return false;
    expected *= shape[axis]!;
  }
  return true;
}

/** Copies elements by their bit patterns (a NaN keeps its payload), last axis innermost. */
function gather(
  storage: Uint8Array<ArrayBuffer>,
  width: number,
  offset: number,
  shape: readonly number[],
  stride: readonly number[],
  count: number,
): ArrayBuffer {
  const { buffer } = allocate(count * width);
  const array = { 1: Uint8Array, 2: Uint16Array, 4: Uint32Array, 8: BigUint64Array }[width]!;
  const source = new array(storage.buffer, storage.byteOffset, Math.floor(storage.byteLength / width));
  const target = new array(buffer);
  const rank = shape.length;
  const columns = shape[rank - 1]!;
  const step = stride[rank - 1]!;
  const index = new Array<number>(rank).fill(0);
  let from = offset;
  for (let to = 0; to < count; ) {
    for (let column = 0; column < columns; column++) target[to++] = source[from + column * step]!;
    for (let axis = rank - 2; axis >= 0; axis--) {
      from += stride[axis]!;
      if (++index[axis]! < shape[axis]!) break;
      from -= shape[axis]! * stride[axis]!;
      index[axis] = 0;
    }
  }
  return buffer;
}
