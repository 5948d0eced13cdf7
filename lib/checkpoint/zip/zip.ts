import { promisify } from 'node:util';
import { constants, crc32, inflateRaw } from 'node:zlib';
import { type Entry, fromRandomAccessReaderPromise, RandomAccessReader, type ZipFile } from 'yauzl';
import { RepfuseError } from '../../errors';
import { eventLoopPause } from '../../native/event-loop';
import { expansionLimit } from '../expansion';
import { type Allocate, allocate, type RandomAccess, readBytes } from '../files/random-access';

const MAX_ENTRIES = 100_000;
/** Deflate shrinks at most a thousandfold: more than the head of an entry can become. */
const INFLATED_HEAD = 1 << 27;

/** A zip archive whose directory has been read and checked. */
export interface ZipArchive {
  readonly names: readonly string[];
  /** Size of an entry once inflated, as the directory claims it; undefined if there is no such entry. */
  sizeOf(name: string): number | undefined;
  /** An entry's bytes, CRC-32 checked, in memory of their own (from `into`, if given). */
  read(name: string, into?: Allocate): Promise<Uint8Array<ArrayBuffer>>;
  /** The same without waiting, where the archive is in memory; undefined for an entry that takes more than that: `read` tells. */
  readNow(name: string, into?: Allocate): Uint8Array<ArrayBuffer> | undefined;
  /** The first `length` bytes of an entry, unchecked. */
  readHead(name: string, length: number): Promise<Uint8Array>;
}

/**
 * Opens a zip archive: stored and deflated entries, zip64. Nothing is read but the directory.
 *
 * @throws ERR_REPFUSE_FORMAT for a damaged archive, one with too many entries or two of one name, or one whose entries claim
 * more bytes than the file can hold
 */
export async function openZip(source: RandomAccess, signal?: AbortSignal | undefined): Promise<ZipArchive> {
  const { zip, entries } = await readDirectory(source, signal);
  const find = (name: string): Entry => {
    const entry = entries.get(name);
    if (entry === undefined) throw bad(`there is no entry ${name}`, { entry: name });
    return entry;
  };
  return {
    names: [...entries.keys()],
    sizeOf: (name) => entries.get(name)?.uncompressedSize,
    read: (name, into) => readEntry(source, zip, find(name), into),
    readNow: (name, into) => readEntryNow(source, find(name), into),
    readHead: (name, length) => readHead(source, zip, find(name), length),
  };
}

async function readDirectory(
  source: RandomAccess,
  signal: AbortSignal | undefined,
): Promise<{ zip: ZipFile; entries: Map<string, Entry> }> {
  const pause = eventLoopPause(signal);
  const entries = new Map<string, Entry>();
  const reader = new Reader(source);
  try {
    const zip = await fromRandomAccessReaderPromise(reader, source.size, { autoClose: false });
    if (zip.entryCount > MAX_ENTRIES) throw bad(`${zip.entryCount} entries (limit ${MAX_ENTRIES})`);
    let compressed = 0;
    let inflated = 0;
    for await (const entry of zip.eachEntry()) {
      if (entries.has(entry.fileName)) throw bad(`two entries ${entry.fileName}`, { entry: entry.fileName });
      entries.set(entry.fileName, entry);
      compressed += entry.compressedSize;
      inflated += entry.uncompressedSize;
      await pause();
    }
    // Entries that share bytes, or that inflate without end, are how zip bombs are made.
    if (compressed > source.size) throw bad(`its entries claim ${compressed} bytes of ${source.size}: they overlap`);
    if (inflated > expansionLimit(source.size)) throw bad(`its entries inflate to ${inflated} bytes: too large`);
    return { zip, entries };
  } catch (error) {
    throw reader.failure ?? asFormatError(error);
  }
}

/** Where an entry's bytes begin in the file. */
async function dataStart(zip: ZipFile, entry: Entry): Promise<number> {
  const { fileName, compressionMethod } = entry;
  const details = { entry: fileName };
  if (!entry.canDecodeFileData()) {
    const how = entry.isEncrypted() ? 'encrypted' : `of compression method ${compressionMethod}`;
    throw bad(`entry ${fileName} is ${how}: only stored and deflated entries are supported`, details);
  }
  const { fileDataStart } = await zip.readLocalFileHeaderPromise(entry, { minimal: true }).catch((error) => {
    throw asFormatError(error, details);
  });
  return fileDataStart;
}

async function readEntry(
  source: RandomAccess,
  zip: ZipFile,
  entry: Entry,
  into: Allocate = allocate,
): Promise<Uint8Array<ArrayBuffer>> {
  const { fileName, compressionMethod, compressedSize, uncompressedSize } = entry;
  const start = await dataStart(zip, entry);
  let crc = 0;
  const update = (chunk: Uint8Array) => {
    crc = crc32(chunk, crc);
  };
  let bytes: Uint8Array<ArrayBuffer>;
  if (compressionMethod === 0) {
    bytes = await readBytes(source, start, compressedSize, { onChunk: update, allocate: into });
  } else {
    bytes = await inflate(await readBytes(source, start, compressedSize), uncompressedSize, fileName, into);
    update(bytes);
  }
  if (crc !== entry.crc32)
    throw bad(`entry ${fileName} is corrupt: its CRC-32 checksum does not match`, { entry: fileName });
  return bytes;
}

const LOCAL_HEADER = 30;
const LOCAL_SIGNATURE = 0x04034b50;

/** A stored entry of an archive in memory. Whatever is unusual about it is left to `readEntry`, which tells what is wrong. */
function readEntryNow(
  source: RandomAccess,
  entry: Entry,
  into: Allocate = allocate,
): Uint8Array<ArrayBuffer> | undefined {
  const { compressionMethod, compressedSize: size, relativeOffsetOfLocalHeader: at } = entry;
  if (source.view === undefined || compressionMethod !== 0 || entry.isEncrypted()) return undefined;
  if (at + LOCAL_HEADER > source.size) return undefined;
  const head = source.view(at, LOCAL_HEADER);
  const header = new DataView(head.buffer, head.byteOffset, LOCAL_HEADER);
  const start = at + LOCAL_HEADER + header.getUint16(26, true) + header.getUint16(28, true);
  if (header.getUint32(0, true) !== LOCAL_SIGNATURE || start + size > source.size) return undefined;
  const stored = source.view(start, size);
  if (crc32(stored) !== entry.crc32) return undefined;
  const bytes = into(size);
  bytes.set(stored);
  return bytes;
}

async function readHead(source: RandomAccess, zip: ZipFile, entry: Entry, length: number): Promise<Uint8Array> {
  const { compressionMethod, compressedSize, fileName } = entry;
  const raw = await readBytes(source, await dataStart(zip, entry), Math.min(length, compressedSize));
  if (compressionMethod === 0) return raw;
  // The end is missing on purpose.
  const options = { finishFlush: constants.Z_SYNC_FLUSH, maxOutputLength: INFLATED_HEAD };
  const inflated = await promisify(inflateRaw)(raw, options).catch((cause: Error) => {
    throw asFormatError(cause, { entry: fileName });
  });
  return inflated.subarray(0, length);
}

async function inflate(raw: Uint8Array, size: number, name: string, into: Allocate): Promise<Uint8Array<ArrayBuffer>> {
  const inflated = await promisify(inflateRaw)(raw, { maxOutputLength: Math.max(size, 1) }).catch((cause: Error) => {
    throw asFormatError(cause, { entry: name });
  });
  if (inflated.length !== size)
    throw bad(`entry ${name} holds ${inflated.length} bytes instead of ${size}`, { entry: name });
  // zlib may hand out a slice of a shared pool; weights need a buffer that is theirs alone.
  const bytes = into(size);
  bytes.set(inflated);
  return bytes;
}

/** yauzl's view of a RandomAccess. It reads the directory and local headers; entry data never pass through it. */
class Reader extends RandomAccessReader {
  /** What the source threw, so that an abort or a read error is not taken for a damaged archive. */
  failure: unknown;

  constructor(private readonly source: RandomAccess) {
    super();
  }

  override read(
    buffer: Buffer,
    offset: number,
    length: number,
    position: number,
    callback: (error: Error | null, bytesRead?: number) => void,
  ): void {
    if (position < 0 || position + length > this.source.size) {
      callback(new Error('truncated: the directory points beyond the end of the file'));
      return;
    }
    this.source.read(position, buffer.subarray(offset, offset + length)).then(
      () => callback(null, length),
      (error) => {
        this.failure = error;
        callback(error);
      },
    );
  }
}

function bad(problem: string, details: Record<string, unknown> = {}, cause?: unknown): RepfuseError {
  return new RepfuseError('ERR_REPFUSE_FORMAT', `Bad zip archive: ${problem}`, details, { cause });
}

function asFormatError(error: unknown, details: Record<string, unknown> = {}): RepfuseError {
  return error instanceof RepfuseError ? error : bad((error as Error).message, details, error);
}
