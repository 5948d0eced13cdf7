import { RepfuseError } from '../../errors';
import { throwIfAborted } from '../../native/call';
import { link, lstat, OpenFile, rename, unlink } from './calls';
import { temporaryOf, underway } from './temporaries';

/** Bytes between two looks at the signal. */
const CHUNK = 1 << 24;
/** Small pieces are gathered: a call takes longer than they do. */
const GATHERED = 1 << 18;
/** Memory to gather in, of files that are written: the next one's. */
const spare: Buffer[] = [];
const MOST_SPARE = 4;

export interface NewFileOptions {
  /** Overwrite an existing file. Default false. */
  readonly force?: boolean | undefined;
  /** Wait until the bytes are on the disk, so that the file survives a loss of power. Default false, as for `cp`. */
  readonly durable?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Where the bytes of a new file go, in order. */
export interface Sink {
  write(bytes: Uint8Array): Promise<void>;
  /** Writes over the first bytes of the file, which have been written. */
  rewriteStart(bytes: Uint8Array): Promise<void>;
}

/**
 * Writes a file: to a temporary one in the same folder, renamed when `body` has written all, so that the name holds a whole file
 * or none.
 *
 * @throws ERR_REPFUSE_EXISTS if the file exists and `force` is not set; ERR_REPFUSE_FILE; the signal's reason; what `body` throws.
 * The temporary file is removed in every case
 * @param options.onBytes is told of the bytes of the file as they are written
 */
export async function writeNewFile(
  file: string,
  { force = false, durable = false, signal, onBytes }: NewFileOptions & { onBytes?: (written: number) => void },
  body: (sink: Sink) => Promise<void>,
): Promise<void> {
  if (!force) await expectAbsent(file);
  const temporary = temporaryOf(file);
  underway.add(temporary);
  try {
    await writeAndPublish(temporary, file, { force, durable, signal, onBytes }, body);
  } finally {
    underway.delete(temporary);
  }
}

async function writeAndPublish(
  temporary: string,
  file: string,
  { force, durable, signal, onBytes }: NewFileOptions & { onBytes?: ((written: number) => void) | undefined },
  body: (sink: Sink) => Promise<void>,
): Promise<void> {
  const handle = await OpenFile.open(temporary, 'wx').catch(cannotWrite(file));
  try {
    try {
      const sink = new FileSink(handle, file, signal, onBytes);
      await body(sink);
      await sink.end();
      if (durable) await handle.sync().catch(cannotWrite(file));
    } finally {
      await handle.close();
    }
    throwIfAborted(signal);
    await publish(temporary, file, force === true);
  } catch (error) {
    await unlink(temporary).catch(() => {});
    throw error;
  }
}

class FileSink implements Sink {
  private written = 0;
  private readonly gathered = spare.pop() ?? Buffer.allocUnsafeSlow(GATHERED);
  private waiting = 0;

  constructor(
    private readonly handle: OpenFile,
    private readonly file: string,
    private readonly signal: AbortSignal | undefined,
    private readonly onBytes: (written: number) => void = () => {},
  ) {}

  async write(bytes: Uint8Array): Promise<void> {
    throwIfAborted(this.signal);
    if (this.waiting + bytes.length > GATHERED) await this.flush();
    if (bytes.length > GATHERED) await this.send(bytes);
    else {
      this.gathered.set(bytes, this.waiting);
      this.waiting += bytes.length;
    }
  }

  async rewriteStart(bytes: Uint8Array): Promise<void> {
    if (this.written === 0 && bytes.length <= this.waiting) return void this.gathered.set(bytes);
    await this.flush();
    await this.send(bytes, 0);
  }

  /** All has been written that was to be. */
  async end(): Promise<void> {
    await this.flush();
    if (spare.length < MOST_SPARE) spare.push(this.gathered);
  }

  private async flush(): Promise<void> {
    if (this.waiting === 0) return;
    await this.send(this.gathered.subarray(0, this.waiting));
    this.waiting = 0;
  }

  private async send(bytes: Uint8Array, position: number | null = null): Promise<void> {
    for (let at = 0; at < bytes.length; ) {
      throwIfAborted(this.signal);
      const length = Math.min(CHUNK, bytes.length - at);
      const place = position === null ? null : position + at;
      const count = await this.handle.write(bytes.subarray(at, at + length), place).catch(cannotWrite(this.file));
      at += count;
      if (position === null) this.written += count;
      this.onBytes(this.written);
    }
  }
}

/** @throws ERR_REPFUSE_EXISTS if something has this name: to be told before the work, not after it. */
export async function expectAbsent(file: string): Promise<void> {
  if ((await lstat(file)) !== undefined) throw existsError(file);
}

function existsError(file: string): RepfuseError {
  return new RepfuseError('ERR_REPFUSE_EXISTS', `${file} exists: choose another name, or overwrite it with \`force\``, {
    file,
  });
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
