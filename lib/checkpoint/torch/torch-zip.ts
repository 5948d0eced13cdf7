import { RepfuseError } from '../../errors';
import { spendingLimit } from '../expansion';
import { inMemory } from '../files/random-access';
import { unpickleFile } from '../pickle/unpickle-file';
import type { PickledFile } from '../pickled-weights';
import type { ZipArchive } from '../zip/zip';
import { TORCH_HOST } from './torch-pickle';
import type { StorageReader } from './torch-tensor';

const MAX_PICKLE = 1 << 28;

/**
 * Opens a zip checkpoint as `torch.save` writes it since 1.6: `<name>/data.pkl` beside one record a storage, `<name>/data/<key>`.
 * Storages are read when they are asked for.
 *
 * @throws ERR_REPFUSE_FORMAT for a damaged archive; ERR_REPFUSE_UNSUPPORTED_FORMAT for other zip files (TorchScript) and
 * big-endian ones; ERR_REPFUSE_PICKLE
 */
export async function openTorchZip(
  zip: ZipArchive,
  fileBytes: number,
  signal?: AbortSignal | undefined,
): Promise<PickledFile> {
  const root = findRoot(zip);
  if (zip.sizeOf(`${root}byteorder`) !== undefined) await checkByteOrder(zip, `${root}byteorder`);
  const pickleBytes = zip.sizeOf(`${root}data.pkl`)!;
  if (pickleBytes > MAX_PICKLE) {
    throw new RepfuseError('ERR_REPFUSE_FORMAT', `data.pkl of ${pickleBytes} bytes is too large (limit ${MAX_PICKLE})`);
  }
  const pickle = inMemory(await zip.read(`${root}data.pkl`));
  const { value } = await unpickleFile(pickle, TORCH_HOST, { signal });
  return {
    root: value,
    pickle,
    storages: storageReader(zip, root, spendingLimit(fileBytes)),
  };
}

/** The folder that holds data.pkl: its name is that of the file when it was saved, and no evidence of anything. */
function findRoot(zip: ZipArchive): string {
  const has = (pattern: RegExp) => zip.names.find((name) => pattern.test(name));
  const script = has(/(?:^|\/)constants\.pkl$/) ?? has(/(?:^|\/)code\/__torch__/);
  if (script !== undefined) {
    throw unsupported(`a TorchScript archive (torch.jit.save, it holds ${script})`, 'save model.state_dict() instead');
  }
  const pickles = zip.names.filter((name) => /(?:^|\/)data\.pkl$/.test(name));
  if (pickles.length === 1) return pickles[0]!.slice(0, -'data.pkl'.length);
  if (pickles.length > 1) throw unsupported(`a zip with several data.pkl (${pickles.slice(0, 4).join(', ')})`);
  throw unsupported(`a zip archive without data.pkl (it holds ${zip.names.slice(0, 4).join(', ') || 'nothing'})`);
}

function unsupported(what: string, advice?: string): RepfuseError {
  const tail = advice === undefined ? '' : `: ${advice}`;
  return new RepfuseError('ERR_REPFUSE_UNSUPPORTED_FORMAT', `Expected a torch checkpoint but received ${what}${tail}`, {
    received: what,
  });
}

async function checkByteOrder(zip: ZipArchive, name: string): Promise<void> {
  if (zip.sizeOf(name)! > 16) throw new RepfuseError('ERR_REPFUSE_FORMAT', 'the byteorder record is no word');
  const order = new TextDecoder().decode(await zip.read(name)).trim();
  if (order === 'little') return;
  throw unsupported(`one whose byteorder is ${JSON.stringify(order)}`, 'only little endian is read');
}

function storageReader(zip: ZipArchive, root: string, reserve: StorageReader['reserve']): StorageReader {
  const loaded = new Map<string, Promise<Uint8Array<ArrayBuffer>>>();
  const nameOf = (key: string) => `${root}data/${key}`;
  return {
    sizeOf: (key) => zip.sizeOf(nameOf(key)),
    read(key) {
      const bytes = loaded.get(key) ?? zip.read(nameOf(key));
      loaded.set(key, bytes);
      return bytes;
    },
    readInto: (key, into) => zip.read(nameOf(key), into),
    reserve,
  };
}
