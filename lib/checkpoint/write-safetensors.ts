import { randomBytes } from 'node:crypto';
import { type FileHandle, link, lstat, open, rename, unlink } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { RepfuseError } from '../errors';
import { throwIfAborted } from '../native/call';
import { DTYPES, type TensorData } from '../tensor/dtype';
import type { Tensor } from '../tensor/tensor';
import type { StateDict } from './state-dict';

const DATA_ALIGNMENT = 64;
/** As the format says; readers refuse more. */
const MAX_HEADER = 100_000_000;
/** Bytes between two looks at the signal. */
const CHUNK = 1 << 24;

export interface WriteSafetensorsOptions {
  /** Stored as `__metadata__`. */
  readonly metadata?: Readonly<Record<string, string>> | undefined;
  /** Overwrite an existing file. Default false. */
  readonly force?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: { phase: 'write'; done: number; total: number }) => void) | undefined;
}

/**
 * Writes tensors as a safetensors file: to a temporary file in the same folder, synced, then renamed, so that the name holds a
 * whole file or none. Data begin at a multiple of 64 bytes, each tensor at a multiple of its element size: the widest elements
 * come first, otherwise the order is that of the map. Equal input gives equal bytes.
 *
 * @throws ERR_REPFUSE_EXISTS if the file exists and `force` is not set; ERR_REPFUSE_INVALID_ARGUMENT for names or metadata that
 * the format cannot hold; ERR_REPFUSE_FILE; ERR_REPFUSE_ABORTED. The temporary file is removed in every case
 */
export async function writeSafetensors(
  file: string,
  tensors: StateDict,
  options: WriteSafetensorsOptions = {},
): Promise<void> {
  const { metadata = {}, force = false, signal, onProgress } = options;
  throwIfAborted(signal);
  // Widest elements first: every tensor is then aligned without holes, which the format forbids.
  const ordered = [...tensors].sort(([, a], [, b]) => DTYPES[b.dtype].bytes - DTYPES[a.dtype].bytes);
  const header = encodeHeader(ordered, metadata);
  if (!force) await expectAbsent(file);
  const temporary = join(dirname(file), `.${basename(file)}.${randomBytes(6).toString('hex')}.tmp`);
  const handle = await open(temporary, 'wx').catch(cannotWrite(file));
  try {
    try {
      await writeContent(handle, file, header, ordered, signal, onProgress);
      await handle.sync().catch(cannotWrite(file));
    } finally {
      await handle.close();
    }
    throwIfAborted(signal);
    await publish(temporary, file, force);
  } catch (error) {
    await unlink(temporary).catch(() => {});
    throw error;
  }
}

/** @throws ERR_REPFUSE_EXISTS if something has this name: to be told before the work, not after it. */
export async function expectAbsent(file: string): Promise<void> {
  const there = await lstat(file).catch(() => undefined);
  if (there !== undefined) throw existsError(file);
}

function existsError(file: string): RepfuseError {
  return new RepfuseError(
    'ERR_REPFUSE_EXISTS',
    `${file} exists: choose another name, or overwrite it with force (--force)`,
    { file },
  );
}

function cannotWrite(file: string): (cause: Error) => never {
  return (cause) => {
    throw new RepfuseError('ERR_REPFUSE_FILE', `Cannot write ${file}: ${cause.message}`, { file }, { cause });
  };
}

/** Gives the finished file its name. Without force a link is made, which fails if the name was taken meanwhile. */
async function publish(temporary: string, file: string, force: boolean): Promise<void> {
  if (!force) {
    const failure = await link(temporary, file).then(
      () => undefined,
      (error: NodeJS.ErrnoException) => error,
    );
    if (failure?.code === 'EEXIST') throw existsError(file);
    if (failure === undefined) return unlink(temporary).catch(cannotWrite(file));
    await expectAbsent(file); // a file system without links
  }
  await rename(temporary, file).catch(cannotWrite(file));
}

async function writeContent(
  handle: FileHandle,
  file: string,
  header: Uint8Array,
  tensors: readonly (readonly [string, Tensor])[],
  signal: AbortSignal | undefined,
  onProgress: WriteSafetensorsOptions['onProgress'],
): Promise<void> {
  const total = tensors.reduce((sum, [, tensor]) => sum + tensor.bytes, header.length);
  let done = 0;
  for (const bytes of [header, ...tensors.map(([, { data }]) => asBytes(data))]) {
    for (let at = 0; at < bytes.length; ) {
      throwIfAborted(signal);
      const length = Math.min(CHUNK, bytes.length - at);
      const { bytesWritten } = await handle.write(bytes, at, length).catch(cannotWrite(file));
      at += bytesWritten;
      done += bytesWritten;
      onProgress?.({ phase: 'write', done, total });
    }
  }
}

function asBytes(data: TensorData): Uint8Array {
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
}

function encodeHeader(
  tensors: readonly (readonly [string, Tensor])[],
  metadata: Readonly<Record<string, string>>,
): Uint8Array {
  for (const [key, value] of Object.entries(metadata)) {
    if (typeof value !== 'string') {
      throw invalid(`Expected a string for metadata.${key} but received ${typeof value}`);
    }
  }
  let at = 0;
  const entries = tensors.map(([name, { dtype, shape, bytes }]) => {
    if (name === '__metadata__') throw invalid('Expected a tensor name but received __metadata__, which is reserved');
    const entry = `${JSON.stringify(name)}:${JSON.stringify({ dtype, shape, data_offsets: [at, at + bytes] })}`;
    at += bytes;
    return entry;
  });
  if (Object.keys(metadata).length > 0) entries.unshift(`"__metadata__":${JSON.stringify(metadata)}`);
  const json = Buffer.from(`{${entries.join(',')}}`);
  const padded = Math.ceil((8 + json.length) / DATA_ALIGNMENT) * DATA_ALIGNMENT - 8;
  if (padded > MAX_HEADER) throw invalid(`Expected a header of at most ${MAX_HEADER} bytes but received ${padded}`);
  const header = Buffer.alloc(8 + padded, ' ');
  header.writeBigUInt64LE(BigInt(padded), 0);
  json.copy(header, 8);
  return header;
}

function invalid(message: string): RepfuseError {
  return new RepfuseError('ERR_REPFUSE_INVALID_ARGUMENT', message);
}
