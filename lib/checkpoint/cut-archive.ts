import { RepfuseError } from '../errors';
import { throwIfAborted } from '../native/call';
import { type RandomAccess, readBytes } from './files/random-access';
import { findStateDict } from './find-state-dict';
import type { PyValue } from './pickle/python-values';
import { unpickleFile } from './pickle/unpickle-file';
import { noting, storageBytes, TorchStorage, TorchTensor } from './torch/torch-pickle';
import type { OpenOptions } from './weights';
import { localEntries } from './zip/local-entries';

/**
 * What a zip archive that was cut lacks: its directory, at the end, and the tensor where it ends.
 *
 * @returns undefined where the file tells nothing
 */
export async function explainCut(source: RandomAccess, options: OpenOptions): Promise<RepfuseError | undefined> {
  try {
    return await findCut(source, options);
  } catch (error) {
    throwIfAborted(options.signal);
    return error instanceof RepfuseError && error.details.truncated === true ? error : undefined;
  }
}

async function findCut(source: RandomAccess, { keyPath, signal }: OpenOptions): Promise<RepfuseError | undefined> {
  if (await hasEnd(source)) return undefined;
  const storages = new Map<string, TorchStorage>();
  let root: PyValue = null;
  const look = async (name: string, start: number, told: number | undefined) => {
    if (!/(^|\/)data\.pkl$/.test(name)) return told ?? storageBytes(storages.get(storageKey(name)));
    const { value, end } = await unpickleFile(source, noting(storages), { position: start, signal });
    root = value;
    return end - start;
  };
  const seen = new Set<string>();
  for await (const { name, size, left } of localEntries(source, look)) {
    const key = storageKey(name);
    if (left < size)
      return cut(name, size, left, name.endsWith('.npy') ? name.slice(0, -4) : tensorOf(root, key, keyPath));
    seen.add(key || name);
  }
  for (const [key, storage] of storages) {
    const size = storageBytes(storage);
    if (!seen.has(key) && size !== undefined && size > 0)
      return cut(`data/${key}`, size, 0, tensorOf(root, key, keyPath));
  }
  if (seen.size === 0) return undefined;
  return new RepfuseError(
    'ERR_REPFUSE_FORMAT',
    `truncated: the file ends within the directory of its zip archive, after ${seen.size} whole entries`,
    { truncated: true },
  );
}

/** The end of an archive: a record of 22 bytes and at most 64 kB of comment. */
async function hasEnd(source: RandomAccess): Promise<boolean> {
  const length = Math.min(22 + 0xffff, source.size);
  return Buffer.from(await readBytes(source, source.size - length, length)).includes('PK\x05\x06');
}

function storageKey(name: string): string {
  return /(?:^|\/)data\/(.+)$/.exec(name)?.[1] ?? '';
}

function tensorOf(root: PyValue, key: string, keyPath: OpenOptions['keyPath']): string | undefined {
  const { tensors } = findStateDict(root, keyPath);
  for (const [name, tensor] of tensors) {
    if (tensor instanceof TorchTensor && tensor.storage instanceof TorchStorage && tensor.storage.key === key)
      return name;
  }
  return undefined;
}

function cut(entry: string, needed: number, left: number, tensor: string | undefined): RepfuseError {
  const what = tensor === undefined ? `entry ${JSON.stringify(entry)}` : `tensor ${JSON.stringify(tensor)} (${entry})`;
  return new RepfuseError(
    'ERR_REPFUSE_FORMAT',
    `truncated: the file ends within ${what}, which takes ${needed} bytes: ${left} are left`,
    { ...(tensor === undefined ? {} : { tensor }), entry, needed, left, truncated: true },
  );
}
