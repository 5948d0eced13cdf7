import { RepfuseError } from '../../errors';
import { spendingLimit } from '../expansion';
import { inMemory } from '../files/random-access';
import type { PyValue } from '../pickle/python-values';
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
  const name = `${root}data.pkl`;
  const bytes = zip.readNow(name) ?? (await zip.read(name));
  const pickle = inMemory(bytes);
  const known = pickles.get(bytes);
  const value = known ?? (await unpickleFile(pickle, TORCH_HOST, { signal })).value;
  if (known === undefined) pickles.add(bytes, value);
  return {
    root: value,
    pickle,
    storages: storageReader(zip, root, spendingLimit(fileBytes)),
  };
}

/**
 * What the pickles that were run last have made: those of one network's checkpoints are often equal to the byte, as weights lie elsewhere. What
 * they made is never written to.
 */
class KnownPickles {
  private readonly known: { readonly bytes: Uint8Array; readonly value: PyValue }[] = [];

  get(bytes: Uint8Array): PyValue | undefined {
    return this.known.find((one) => one.bytes.length === bytes.length && Buffer.compare(one.bytes, bytes) === 0)?.value;
  }

  add(bytes: Uint8Array, value: PyValue): void {
    if (bytes.length > LARGEST_KNOWN) return;
    if (this.known.push({ bytes, value }) > MOST_KNOWN) this.known.shift();
  }
}

const MOST_KNOWN = 4;
const LARGEST_KNOWN = 1 << 18;
const pickles = new KnownPickles();

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
    readNow: (key, into) => zip.readNow(nameOf(key), into),
    reserve,
  };
}
