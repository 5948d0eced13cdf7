import { RepfuseError } from '../../errors';
import { spendingLimit } from '../expansion';
import { type RandomAccess, readBytes } from '../files/random-access';
import type { PickleHost } from '../pickle/pickle-machine';
import { PyTuple, type PyValue } from '../pickle/python-values';
import { unpickleFile } from '../pickle/unpickle-file';
import type { PickledFile } from '../pickled-weights';
import { noting, storageWidth, TORCH_HOST, type TorchStorage } from './torch-pickle';
import type { StorageReader } from './torch-tensor';

const MAGIC = '0x1950a86a20f9469cfc6c';
const PROTOCOL = 1001;
/** What is read of a pickle whose length nobody knows, at most. */
const MAX_PICKLE = 1 << 28;

interface Record {
  readonly offset: number;
  readonly bytes: number;
}

/**
 * Opens a file as `torch.save` wrote it before 1.6 (and since with `_use_new_zipfile_serialization=False`): pickles of a magic
 * number, the protocol, the machine and the object, then of the storages' keys, and then each storage: its length, its bytes.
 *
 * @throws ERR_REPFUSE_FORMAT for a damaged file, ERR_REPFUSE_UNSUPPORTED_FORMAT for a big-endian one, ERR_REPFUSE_PICKLE
 */
export async function openTorchLegacy(source: RandomAccess, signal?: AbortSignal | undefined): Promise<PickledFile> {
  const stream = new PickleStream(source, signal);
  const magic = await stream.next(TORCH_HOST);
  const protocol = await stream.next(TORCH_HOST);
  if (typeof magic !== 'bigint' || `0x${magic.toString(16)}` !== MAGIC || protocol !== PROTOCOL)
    throw bad('it does not begin with the magic number and protocol 1001', { field: 'magic' });
  const machine = await stream.next(TORCH_HOST);
  if (machine instanceof Map && machine.get('little_endian') === false) {
    throw new RepfuseError(
      'ERR_REPFUSE_UNSUPPORTED_FORMAT',
      'Expected a torch checkpoint but received one of a big-endian machine: only little endian is read',
      { received: 'big endian' },
    );
  }
  const described = new Map<string, TorchStorage>();
  const root = await stream.next(noting(described));
  const keys = await stream.next(TORCH_HOST);
  const { records, cut } = await findRecords(source, stream.position, keys, described);
  return { root, pickle: source, storages: storageReader(source, records, cut) };
}

/** Pickles that follow each other in a file. */
class PickleStream {
  position = 0;

  constructor(
    private readonly source: RandomAccess,
    private readonly signal: AbortSignal | undefined,
  ) {}

  async next(host: PickleHost): Promise<PyValue> {
    const { position, signal } = this;
    const { value, end } = await unpickleFile(this.source, host, { position, limit: MAX_PICKLE, signal });
    this.position = end;
    return value;
  }
}

/** Where the storages lie, and the first that is cut; every length is checked against what the pickle says and what the file holds. */
async function findRecords(
  source: RandomAccess,
  start: number,
  keys: PyValue,
  described: ReadonlyMap<string, TorchStorage>,
): Promise<{ readonly records: Map<string, Record>; readonly cut: StorageReader['cut'] }> {
  const names = keys instanceof PyTuple ? keys.items : Array.isArray(keys) ? (keys as PyValue[]) : undefined;
  if (names === undefined) throw bad('the list of storages is none', { field: 'storages' });
  const records = new Map<string, Record>();
  let at = start;
  for (const key of names) {
    const storage = typeof key === 'string' ? described.get(key) : undefined;
    if (storage === undefined) throw bad('the list of storages names one that no tensor has', { field: 'storages' });
    const details = { entry: storage.key, offset: at };
    const width = storageWidth(storage.className);
    if (width === undefined)
      throw bad(`storage ${storage.key} is of class ${storage.className}, of unknown size`, details);
    if (at + 8 > source.size) return { records, cut: cutOf(storage, width, 0) };
    const prefix = new Uint8Array(8);
    await source.read(at, prefix);
    const count = new DataView(prefix.buffer).getBigInt64(0, true);
    const bytes = Number(count) * width;
    if (String(storage.count) !== count.toString())
      throw bad(`storage ${storage.key} has ${count} elements, other than its tensors say`, details);
    const left = source.size - at - 8;
    if (bytes > left) return { records, cut: cutOf(storage, width, left) };
    records.set(storage.key, { offset: at + 8, bytes });
    at += 8 + bytes;
  }
  return { records, cut: undefined };
}

function cutOf({ key, count }: TorchStorage, width: number, left: number): StorageReader['cut'] {
  return { key, needed: Number(count) * width, left };
}

function storageReader(
  source: RandomAccess,
  records: ReadonlyMap<string, Record>,
  cut: StorageReader['cut'],
): StorageReader {
  const loaded = new Map<string, Promise<Uint8Array<ArrayBuffer>>>();
  const read: StorageReader['readInto'] = (key, allocate) => {
    const { offset, bytes } = records.get(key)!;
    return readBytes(source, offset, bytes, { allocate });
  };
  return {
    cut,
    sizeOf: (key) => records.get(key)?.bytes,
    read(key) {
      const bytes = loaded.get(key) ?? read(key, undefined);
      loaded.set(key, bytes);
      return bytes;
    },
    readInto: read,
    reserve: spendingLimit(source.size),
  };
}

function bad(problem: string, details: Readonly<globalThis.Record<string, unknown>>): RepfuseError {
  return new RepfuseError('ERR_REPFUSE_FORMAT', `Bad legacy torch file: ${problem}`, details);
}
