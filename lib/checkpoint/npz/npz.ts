import { RepfuseError } from '../../errors';
import { DTYPES } from '../../tensor/dtype';
import type { RandomAccess } from '../files/random-access';
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
 * The arrays of an `.npz` archive, stored or deflated, by name.
 *
 * @throws as `readNpyHeader`, with the array's name (`details.tensor`)
 */
export async function npzTensors(zip: ZipArchive): Promise<Map<string, StoredTensor>> {
  const tensors = new Map<string, StoredTensor>();
  for (const entry of zip.names) {
    const name = entry.slice(0, -SUFFIX.length);
    tensors.set(name, await openArray(zip, entry, name));
  }
  return tensors;
}

async function openArray(zip: ZipArchive, entry: string, name: string): Promise<StoredTensor> {
  const size = zip.sizeOf(entry)!;
  const head = await zip.readHead(entry, Math.min(HEAD, size));
  const beginning: RandomAccess = {
    size,
    read: async (offset, into) => into.set(head.subarray(offset, offset + into.length)),
  };
  try {
    const { dtype, shape, dataStart } = await readNpyHeader(beginning);
    const { array, bytes: width } = DTYPES[dtype];
    const read: StoredTensor['read'] = async (allocate) => {
      const bytes = await zip.read(entry, allocate);
      const at = bytes.byteOffset + dataStart;
      const count = (size - dataStart) / width;
      // numpy aligns the data to 64 bytes; others may not.
      return at % width === 0
        ? new array(bytes.buffer, at, count)
        : new array(bytes.buffer.slice(at, at + count * width), 0, count);
    };
    return { dtype, shape, exclusive: true, read };
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
