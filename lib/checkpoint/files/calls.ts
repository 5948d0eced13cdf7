import * as fs from 'node:fs';
import { promisify } from 'node:util';
import { mayHoldThread } from '../../native/own-thread';

// Calls to the file system: on a thread that may be held in place, where they take a tenth of the time, else on libuv's threads.

const readAsync = promisify(fs.read) as (
  file: number,
  into: Uint8Array,
  offset: number,
  length: number,
  position: number,
) => Promise<{ bytesRead: number }>;
const writeAsync = promisify(fs.write) as (
  file: number,
  bytes: Uint8Array,
  offset: number,
  length: number,
  position: number | null,
) => Promise<{ bytesWritten: number }>;
const fstatAsync = promisify<number, fs.Stats>(fs.fstat);
const openAsync = promisify<string, string | number, number>(fs.open);
const syncAsync = promisify(fs.fsync);
const closeAsync = promisify(fs.close);

/** Bytes of a read or write that may hold the thread. */
const HELD_BYTES = 1 << 20;

export async function access(path: string, mode: number): Promise<void> {
  return mayHoldThread() ? fs.accessSync(path, mode) : fs.promises.access(path, mode);
}

export async function appendFile(path: string, text: string): Promise<void> {
  return mayHoldThread() ? fs.appendFileSync(path, text) : fs.promises.appendFile(path, text);
}

export async function link(from: string, to: string): Promise<void> {
  return mayHoldThread() ? fs.linkSync(from, to) : fs.promises.link(from, to);
}

/** What has this name, a link itself; undefined where that is nothing, or nothing that can be looked at. */
export async function lstat(path: string): Promise<fs.Stats | undefined> {
  return mayHoldThread() ? look(fs.lstatSync, path) : fs.promises.lstat(path).catch(() => undefined);
}

/** With the folders that it lies in. */
export async function makeFolders(path: string): Promise<void> {
  await (mayHoldThread() ? fs.mkdirSync(path, { recursive: true }) : fs.promises.mkdir(path, { recursive: true }));
}

export async function rename(from: string, to: string): Promise<void> {
  return mayHoldThread() ? fs.renameSync(from, to) : fs.promises.rename(from, to);
}

/** What has this name; undefined where that is nothing, or nothing that can be looked at. */
export async function stat(path: string): Promise<fs.Stats | undefined> {
  return mayHoldThread() ? look(fs.statSync, path) : fs.promises.stat(path).catch(() => undefined);
}

export async function unlink(path: string): Promise<void> {
  return mayHoldThread() ? fs.unlinkSync(path) : fs.promises.unlink(path);
}

/** A file that is open. */
export class OpenFile {
  private constructor(private readonly file: number) {}

  /** @param flags as those of `fs.open` */
  static async open(path: string, flags: string | number): Promise<OpenFile> {
    return new OpenFile(mayHoldThread() ? fs.openSync(path, flags) : await openAsync(path, flags));
  }

  async stat(): Promise<fs.Stats> {
    return mayHoldThread() ? fs.fstatSync(this.file) : fstatAsync(this.file);
  }

  /** Reads bytes from `position` to the start of `into`. @returns how many; 0 at the end */
  async read(into: Uint8Array, position: number): Promise<number> {
    const { length } = into;
    if (length <= HELD_BYTES && mayHoldThread()) return fs.readSync(this.file, into, 0, length, position);
    return (await readAsync(this.file, into, 0, length, position)).bytesRead;
  }

  /** Writes bytes to `position`, or behind what was written last. @returns how many */
  async write(bytes: Uint8Array, position: number | null): Promise<number> {
    const { length } = bytes;
    if (length <= HELD_BYTES && mayHoldThread()) return fs.writeSync(this.file, bytes, 0, length, position);
    return (await writeAsync(this.file, bytes, 0, length, position)).bytesWritten;
  }

  /** Waits until what was written is on the disk. */
  async sync(): Promise<void> {
    await syncAsync(this.file);
  }

  async close(): Promise<void> {
    return mayHoldThread() ? fs.closeSync(this.file) : closeAsync(this.file);
  }
}

/** Without an error where nothing is there: its stack would take longer than the look. */
function look(call: typeof fs.statSync, path: string): fs.Stats | undefined {
  try {
    return call(path, { throwIfNoEntry: false });
  } catch {
    return undefined;
  }
}
