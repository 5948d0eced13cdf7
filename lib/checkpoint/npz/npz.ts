import { RepfuseError } from '../../errors';
import { inMemory } from '../files/random-access';
import { arrange } from '../numpy/arrange';
import type { StoredTensor } from '../stored-tensor';
import type { ZipArchive } from '../zip/zip';
import { readNpyHeader } from './npy';

const SUFFIX = '.npy';
/** Bytes of an entry that hold its header; longer ones are refused by the header's own limit. */
const HEAD = (1 << 16) + 64;

/** Whether an archive is what `numpy.savez` writes: arrays and nothing else. */
export function isNpz({ names }: ZipArchive): boolean {
  return names.length > 0 && names.every((name) => name.endsWith(SUFFIX));
}

/**
 * The arrays of an `.npz` archive, stored or deflated, by name; those of types that are not known with what they are.
 *
 * @throws as `readNpyHeader`, with the array's name (`details.tensor`)
 */
export async function npzTensors(
  zip: ZipArchive,
): Promise<{ readonly tensors: Map<string, StoredTensor>; readonly unread: Map<string, string> }> {
  const tensors = new Map<string, StoredTensor>();
  const unread = new Map<string, string>();
  for (const entry of zip.names) {
    const name = entry.slice(0, -SUFFIX.length);
    const array = await openArray(zip, entry, name);
    if (typeof array === 'string') unread.set(name, array);
    else tensors.set(name, array);
  }
  return { tensors, unread };
}

/** An array, or what it is where its type is not known. */
async function openArray(zip: ZipArchive, entry: string, name: string): Promise<StoredTensor | string> {
  const size = zip.sizeOf(entry)!;
  const head = await zip.readHead(entry, Math.min(HEAD, size));
  try {
    const { dtype, descr, dataStart, ...layout } = await readNpyHeader({ size, read: inMemory(head).read });
    if (dtype === undefined) return `a numpy array of type ${descr.slice(0, 40)}`;
    const read: StoredTensor['read'] = async (allocate) =>
      arrange((await zip.read(entry, allocate)).subarray(dataStart), { ...layout, dtype });
    return { dtype, shape: layout.shape, exclusive: true, read };
  } catch (error) {
    if (!(error instanceof RepfuseError)) throw error;
    throw new RepfuseError(
      error.code,
      `Array ${JSON.stringify(name)}: ${error.message}`,
      { ...error.details, tensor: name },
      { cause: error.cause },
    );
  }
}
