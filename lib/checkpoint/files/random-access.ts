import { constants } from 'node:fs';
import { RepfuseError } from '../../errors';
import { throwIfAborted } from '../../native/call';
import { adviseHugePages } from '../../native/huge-pages';
import { OpenFile } from './calls';
import { type Input, inputOf, type Source } from './source';

/** Bytes that can be read at any place. */
export interface RandomAccess {
  readonly size: number;
  /** All of them, where they are in memory; to be left as they are. */
  readonly bytes?: Uint8Array | undefined;
  /** Some of them where they lie, without waiting; only where `bytes` are. The caller has checked that they exist. */
  view?(offset: number, length: number): Uint8Array;
  /** Fills `into` from `offset`; the caller has checked that the bytes exist. */
  read(offset: number, into: Uint8Array): Promise<void>;
}

export interface ReadProgress {
  readonly phase: 'read';
  /** Bytes of the file. */
  readonly done: number;
  readonly total: number;
}

/** Bytes between two looks at the signal, and between two progress reports. */
const CHUNK = 1 << 22;
/** Chunks that are read at the same time: one thread copies a file out of the cache at a fraction of what memory gives. */
const AT_ONCE = 3;
/** Reads up to SMALL bytes are served from pages: a file of many small tensors takes few calls. */
const SMALL = 1 << 15;
const PAGE = 1 << 16;
const PAGES = 8;

/** Files up to so many bytes are read at once: reading parts of one, as they are needed, takes more calls. */
const WHOLE = 1 << 20;

/** Files that are open, to be closed together. */
export class OpenFiles {
  private readonly opened = new Set<OpenFile>();

  /** Opens an input; a small file is read as a whole, and closed at once. @throws ERR_REPFUSE_FILE naming the file */
  async open({ path: file, bytes }: Input): Promise<RandomAccess> {
    if (bytes !== undefined) return inMemory(bytes);
    const { opened, size } = await this.openPart(file);
    if (size > WHOLE) return { size, read: (offset, into) => readFully(opened, file, offset, into) };
    const whole = allocate(size);
    await readFully(opened, file, 0, whole);
    this.opened.delete(opened);
    await opened.close();
    return inMemory(whole);
  }

  /** The first bytes of a file, at most `length`, and how many it has. @throws ERR_REPFUSE_FILE naming the file */
  async head(file: string, length: number): Promise<{ readonly size: number; readonly head: Uint8Array }> {
    const { opened, size } = await this.openPart(file);
    const head = new Uint8Array(Math.min(length, size));
    await readFully(opened, file, 0, head);
    return { size, head };
  }

  async close(): Promise<void> {
    await Promise.all([...this.opened].map((file) => file.close()));
  }

  private async openPart(file: string): Promise<{ readonly opened: OpenFile; readonly size: number }> {
    // O_NONBLOCK: opening a named pipe that nobody writes to would never return.
    const opened = await attempt(file, OpenFile.open(file, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0)));
    this.opened.add(opened);
    const stat = await attempt(file, opened.stat());
    if (!stat.isFile()) {
      throw new RepfuseError('ERR_REPFUSE_FILE', `Expected a regular file but ${file} is none`, { file });
    }
    return { opened, size: stat.size };
  }
}

/** Opens an input, hands it to `body`, closes it. @throws ERR_REPFUSE_FILE naming the file */
export async function withFile<T>(source: Source, body: (bytes: RandomAccess) => Promise<T>): Promise<T> {
  const files = new OpenFiles();
  try {
    return await body(await files.open(inputOf(source)));
  } finally {
    await files.close();
  }
}

/** Bytes in memory, which their owner may yet take away. */
export function inMemory(bytes: Uint8Array): Required<RandomAccess> {
  const size = bytes.length;
  const view = (offset: number, length: number) => {
    if (bytes.length < size) {
      throw new RepfuseError('ERR_REPFUSE_FILE', 'The bytes were detached or made fewer while they were read');
    }
    return bytes.subarray(offset, offset + length);
  };
  return { size, bytes, view, read: async (offset, into) => into.set(view(offset, into.length)) };
}

/** Counts the bytes read of one or several files, and stops reads once the signal has fired, with its reason. */
export class ReadMeter {
  private done = 0;
  private total = 0;

  constructor(
    private readonly signal: AbortSignal | undefined,
    private readonly onProgress: ((progress: ReadProgress) => void) | undefined,
  ) {}

  /** The same bytes, counted. */
  observe(source: RandomAccess): RandomAccess {
    this.total += source.size;
    const { size, bytes } = source;
    const view = source.view && {
      view: (offset: number, length: number) => {
        throwIfAborted(this.signal);
        this.count(length);
        return source.view!(offset, length);
      },
    };
    return {
      size,
      bytes,
      ...view,
      read: async (offset, into) => {
        throwIfAborted(this.signal);
        await source.read(offset, into);
        throwIfAborted(this.signal);
        this.count(into.length);
      },
    };
  }

  private count(length: number): void {
    // Containers have a few bytes that are read twice or never.
    this.done = Math.min(this.done + length, this.total);
    this.onProgress?.({ phase: 'read', done: this.done, total: this.total });
  }

  /** All is read that was to be. */
  finish(): void {
    this.onProgress?.({ phase: 'read', done: this.total, total: this.total });
  }
}

/** A part of a file in memory. */
interface Page {
  readonly bytes: Uint8Array;
  /** Its length, once it is read. */
  readonly filled: Promise<number>;
  /** How many look at it: only memory that nobody looks at is used again. */
  users: number;
}

/** The same bytes, small reads served from the pages read last, whose memory is used again: fresh memory is slow. */
export function paged(source: RandomAccess): RandomAccess {
  if (source.bytes !== undefined) return source;
  const pages = new Map<number, Page>(); // by number, the one used last at the end
  const free: Uint8Array[] = [];
  const readPage = (number: number): Page => {
    const bytes = free.pop() ?? new Uint8Array(PAGE);
    const length = Math.min(PAGE, source.size - number * PAGE);
    const filled = source.read(number * PAGE, bytes.subarray(0, length)).then(() => length);
    return { bytes, filled, users: 0 };
  };
  const turnTo = (number: number): Page => {
    const page = pages.get(number) ?? readPage(number);
    pages.delete(number);
    pages.set(number, page);
    for (const [other, { bytes, users }] of pages) {
      if (pages.size <= PAGES) break;
      if (other === number || users > 0) continue;
      pages.delete(other);
      free.push(bytes);
    }
    return page;
  };
  return {
    size: source.size,
    async read(offset, into) {
      if (into.length > SMALL) return source.read(offset, into);
      for (let done = 0; done < into.length; ) {
        const at = offset + done;
        const page = turnTo(Math.floor(at / PAGE));
        page.users++;
        try {
          const length = await page.filled;
          const part = page.bytes.subarray(at % PAGE, Math.min(length, (at % PAGE) + into.length - done));
          into.set(part, done);
          done += part.length;
        } finally {
          page.users--;
        }
      }
    },
  };
}

/** Where the bytes of a tensor go. */
export type Allocate = (length: number) => Uint8Array<ArrayBuffer>;

export interface ReadBytesOptions {
  /** Sees each chunk in turn, while the next ones are being read. */
  readonly onChunk?: ((chunk: Uint8Array) => void) | undefined;
  /** Default: new memory. */
  readonly allocate?: Allocate | undefined;
}

/**
 * Reads a range, in chunks.
 *
 * @throws ERR_REPFUSE_FORMAT if the range leaves the file or does not fit in memory
 */
export async function readBytes(
  source: RandomAccess,
  offset: number,
  length: number,
  { onChunk = () => {}, allocate: take = allocate }: ReadBytesOptions = {},
): Promise<Uint8Array<ArrayBuffer>> {
  if (offset + length > source.size) {
    throw new RepfuseError(
      'ERR_REPFUSE_FORMAT',
      `truncated: ${length} bytes at offset ${offset} go beyond the end of the file (${source.size} bytes)`,
      { offset },
    );
  }
  const bytes = take(length);
  const read = async (at: number): Promise<Uint8Array> => {
    const chunk = bytes.subarray(at, Math.min(at + CHUNK, length));
    await source.read(offset + at, chunk);
    return chunk;
  };
  const pending: Promise<Uint8Array>[] = [];
  let next = 0;
  try {
    for (let seen = 0; seen < length; seen += CHUNK) {
      for (; next < length && pending.length < AT_ONCE; next += CHUNK) {
        const chunk = read(next);
        chunk.catch(() => {}); // it may fail before its turn has come
        pending.push(chunk);
      }
      const chunk = await pending[0]!;
      pending.shift();
      onChunk(chunk);
    }
  } finally {
    await Promise.allSettled(pending); // nobody reads into memory that is given back
  }
  return bytes;
}

/** New memory, zeroed. @throws ERR_REPFUSE_FORMAT where the engine has none to give */
export function allocate(length: number): Uint8Array<ArrayBuffer> {
  try {
    return adviseHugePages(new Uint8Array(length));
  } catch (cause) {
    throw new RepfuseError('ERR_REPFUSE_FORMAT', `${length} bytes are too large for memory`, {}, { cause });
  }
}

async function readFully(opened: OpenFile, file: string, offset: number, into: Uint8Array): Promise<void> {
  for (let done = 0; done < into.length; ) {
    const bytesRead = await attempt(file, opened.read(into.subarray(done), offset + done));
    if (bytesRead === 0) {
      throw new RepfuseError('ERR_REPFUSE_FILE', `${file} became shorter while it was read`, {
        file,
        offset: offset + done,
      });
    }
    done += bytesRead;
  }
}

function attempt<T>(file: string, work: Promise<T>): Promise<T> {
  return work.catch((cause) => {
    throw new RepfuseError('ERR_REPFUSE_FILE', `Cannot read ${file}: ${(cause as Error).message}`, { file }, { cause });
  });
}
