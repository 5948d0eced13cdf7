import { randomBytes } from 'node:crypto';
import { type FileHandle, link, open, rename, unlink } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { RepfuseError } from '../errors';
import { throwIfAborted } from '../native/call';
import { DTYPES } from '../tensor/dtype';
import type { Tensor } from '../tensor/tensor';
import type { StateDict } from './state-dict';

const DATA_ALIGNMENT = 64;

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
 * whole file or none. Data begin at a multiple of 64 bytes, each tensor at a multiple of its element size. Equal input gives
 * equal bytes.
 *
 * @throws ERR_REPFUSE_EXISTS if the file exists and `force` is not set; ERR_REPFUSE_FILE; ERR_REPFUSE_ABORTED
 */
export async function writeSafetensors(
  file: string,
  tensors: StateDict,
  options: WriteSafetensorsOptions = {},
): Promise<void> {
  const { force = false, signal, onProgress } = options;
  throwIfAborted(signal);
  const temporary = join(dirname(file), `.${basename(file)}.${randomBytes(6).toString('hex')}.tmp`);
  try {
    const handle = await open(temporary, 'wx');
    try {
      await writeContent(handle, tensors, options.metadata ?? {}, signal, (done, total) =>
        onProgress?.({ phase: 'write', done, total }),
      );
      await handle.sync();
    } finally {
      await handle.close();
    }
    throwIfAborted(signal);
    await publish(temporary, file, force);
  } catch (error) {
    await unlink(temporary).catch(() => {});
    if (error instanceof RepfuseError) throw error;
    throw new RepfuseError(
      'ERR_REPFUSE_FILE',
      `Cannot write ${file}: ${(error as Error).message}`,
      { file },
      { cause: error },
    );
  }
}

/** @throws ERR_REPFUSE_EXISTS if the file exists: to be told before the work, not after it. */
export async function expectAbsent(file: string): Promise<void> {
  const handle = await open(file, 'r').catch(() => undefined);
  if (handle === undefined) return;
  await handle.close();
  throw existsError(file);
}

function existsError(file: string): RepfuseError {
  return new RepfuseError(
    'ERR_REPFUSE_EXISTS',
    `${file} exists: choose another name, or overwrite it with force (--force)`,
    { file },
  );
}

/** Gives the finished file its name. Without force a link is made, which fails if the name was taken meanwhile. */
async function publish(temporary: string, file: string, force: boolean): Promise<void> {
  if (force) return rename(temporary, file);
  try {
    await link(temporary, file);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'EEXIST') throw existsError(file);
    await expectAbsent(file); // a file system without links
    return rename(temporary, file);
  }
  await unlink(temporary);
}

async function writeContent(
  handle: FileHandle,
  tensors: StateDict,
  metadata: Readonly<Record<string, string>>,
  signal: AbortSignal | undefined,
  onBytes: (done: number, total: number) => void,
): Promise<void> {
  // Widest elements first: every tensor is then aligned without holes, which the format forbids.
  const ordered = [...tensors].sort(([, a], [, b]) => DTYPES[b.dtype].bytes - DTYPES[a.dtype].bytes);
  const header = encodeHeader(ordered, metadata);
  await handle.write(header);
  const total = ordered.reduce((sum, [, tensor]) => sum + tensor.bytes, 0);
  let done = 0;
  for (const [, { data }] of ordered) {
    throwIfAborted(signal);
    const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
    for (let at = 0; at < bytes.length; ) at += (await handle.write(bytes, at, bytes.length - at)).bytesWritten;
    done += bytes.length;
    onBytes(done, total);
  }
}

function encodeHeader(
  tensors: readonly (readonly [string, Tensor])[],
  metadata: Readonly<Record<string, string>>,
): Uint8Array {
  let at = 0;
  const entries = tensors.map(([name, { dtype, shape, bytes }]) => {
    const entry = `${JSON.stringify(name)}:${JSON.stringify({ dtype, shape, data_offsets: [at, at + bytes] })}`;
    at += bytes;
    return entry;
  });
  if (Object.keys(metadata).length > 0) entries.unshift(`"__metadata__":${JSON.stringify(metadata)}`);
  const json = Buffer.from(`{${entries.join(',')}}`);
  const padded = Math.ceil((8 + json.length) / DATA_ALIGNMENT) * DATA_ALIGNMENT - 8;
  const header = Buffer.alloc(8 + padded, ' ');
  header.writeBigUInt64LE(BigInt(padded), 0);
  json.copy(header, 8);
  return header;
}
