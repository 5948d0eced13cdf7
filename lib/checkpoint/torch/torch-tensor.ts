import { RepfuseError } from '../../errors';
import { DTYPES, type DType } from '../../tensor/dtype';
import { elementCount, formatShape } from '../../tensor/tensor';
import type { Allocate } from '../files/random-access';
import { gather, isContiguous } from '../gather';
import { PyTuple, type PyValue } from '../pickle/python-values';
import { byteSize, MAX_RANK, type StoredTensor } from '../stored-tensor';
import { TorchStorage, type TorchTensor, torchDType } from './torch-pickle';

/** Where storages come from. */
export interface StorageReader {
  /** A storage that the file, cut short, does not have whole, with its bytes and those that are left. */
  readonly cut?: { readonly key: string; readonly needed: number; readonly left: number } | undefined;
  /** Size in bytes; undefined if the file has no such storage. */
  sizeOf(key: string): number | undefined;
  /** The bytes, always the same memory for the same key. */
  read(key: string): Promise<Uint8Array<ArrayBuffer>>;
  /** The bytes, read anew into memory from `into`. */
  readInto(key: string, into: Allocate | undefined): Promise<Uint8Array<ArrayBuffer>>;
  /** The same without waiting, where that is possible. */
  readNow?(key: string, into: Allocate | undefined): Uint8Array<ArrayBuffer> | undefined;
  /** Takes bytes from what the file may become in memory; false when that is used up. */
  reserve(bytes: number): boolean;
}

/**
 * What the described tensors are once they are dense. Everything is checked before memory is taken. A contiguous window stays a
 * view of the storage's memory, so tensors that share a storage share an ArrayBuffer; any other is gathered into memory of its own.
 *
 * @throws ERR_REPFUSE_FORMAT naming the tensor (`details.tensor`)
 */
export function storedTensors(
  described: ReadonlyMap<string, TorchTensor>,
  storages: StorageReader,
): Map<string, StoredTensor> {
  if (storages.cut !== undefined) throw cutShort(described, storages.cut);
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
      throw badTensor(
        name,
        'shape',
        `shape ${formatShape(shape)} repeats its elements, and is too large for this file`,
      );
    }
    const read = async () => new array(gather(await storages.read(key), width, offset, shape, stride, count), 0, count);
    return { dtype, shape, exclusive: true, read };
  }
  const exclusive = alone && offset === 0 && count * width === storages.sizeOf(key);
  if (!exclusive && !storages.reserve(count * width))
    throw badTensor(
      name,
      'shape',
      'the tensors of this file share their elements too often, and are too large for this file',
    );
  return {
    dtype,
    shape,
    exclusive,
    async read(allocate) {
      const bytes = exclusive ? await storages.readInto(key, allocate) : await storages.read(key);
      return new array(bytes.buffer, bytes.byteOffset + offset * width, count);
    },
    readNow(allocate) {
      const bytes = exclusive ? storages.readNow?.(key, allocate) : undefined;
      return bytes && new array(bytes.buffer, bytes.byteOffset, count);
    },
  };
}

/** What is wrong with a described tensor. */
export function badTensor(tensor: string, field: string, problem: string): RepfuseError {
  return new RepfuseError('ERR_REPFUSE_FORMAT', `Bad tensor ${JSON.stringify(tensor)}: ${problem}`, { tensor, field });
}

/** Names a tensor of the storage that is cut; it may be none of those that were asked for. */
function cutShort(
  described: ReadonlyMap<string, TorchTensor>,
  { key, needed, left }: NonNullable<StorageReader['cut']>,
): RepfuseError {
  const [name] = [...described].find(([, { storage }]) => storage instanceof TorchStorage && storage.key === key) ?? [];
  const what = name === undefined ? `storage ${key}` : `tensor ${JSON.stringify(name)} (storage ${key})`;
  return new RepfuseError(
    'ERR_REPFUSE_FORMAT',
    `truncated: the file ends within ${what}, which takes ${needed} bytes: ${left} are left`,
    { ...(name === undefined ? {} : { tensor: name }), entry: key, needed, left },
  );
}

interface Window {
  readonly dtype: DType;
  readonly key: string;
  /** Where the tensor begins in its storage, in elements, as are the strides. */
  readonly offset: number;
  readonly shape: readonly number[];
  readonly stride: readonly number[];
}

function check(name: string, described: TorchTensor, storages: StorageReader): Window {
  const integer = (field: string, value: PyValue): number => {
    if (typeof value === 'bigint')
      throw badTensor(name, field, `${field} ${value.toString().slice(0, 24)} is too large`);
    if (typeof value !== 'number' || !Number.isSafeInteger(value))
      throw badTensor(name, field, `${field} is no integer`);
    if (value < 0) throw badTensor(name, field, `${field} ${value} is negative`);
    return value;
  };
  const integers = (field: string, value: PyValue): number[] => {
    const items = value instanceof PyTuple ? value.items : Array.isArray(value) ? (value as PyValue[]) : undefined;
    if (items === undefined) throw badTensor(name, field, `${field} is no tuple of integers`);
    if (items.length > MAX_RANK)
      throw badTensor(name, field, `${field} has ${items.length} dimensions (limit ${MAX_RANK})`);
    return items.map((item) => integer(field, item));
  };

  const { storage } = described;
  if (!(storage instanceof TorchStorage)) throw badTensor(name, 'storage', 'it has no storage');
  const { dtype } = torchDType(described);
  if (dtype === undefined) throw badTensor(name, 'dtype', 'its type is not known');
  const { key } = storage;
  const offset = integer('offset', described.offset) + integer('offset', storage.begin);
  const shape = integers('shape', described.size);
  const stride = integers('stride', described.stride);
  if (shape.length !== stride.length) {
    throw badTensor(
      name,
      'stride',
      `shape ${formatShape(shape)} and stride ${formatShape(stride)} have different lengths`,
    );
  }
  const bytes = storages.sizeOf(key);
  if (bytes === undefined) throw badTensor(name, 'storage', `its storage data/${key} is missing from the file`);

  const { bytes: width } = DTYPES[dtype];
  if (byteSize(shape, width) === undefined) throw badTensor(name, 'shape', `shape ${formatShape(shape)} is too large`);
  const last = shape.reduce((index, dim, axis) => index + (dim - 1) * stride[axis]!, offset);
  if (!shape.includes(0) && (last + 1) * width > bytes) {
    throw badTensor(
      name,
      'stride',
      `shape ${formatShape(shape)}, stride ${formatShape(stride)} and offset ${offset} reach element ${last}, out of the ` +
        `bounds of storage data/${key}, which holds ${Math.floor(bytes / width)}: ${(last + 1) * width} bytes are needed, ${bytes} left`,
    );
  }
  return { dtype, key, offset, shape, stride };
}
