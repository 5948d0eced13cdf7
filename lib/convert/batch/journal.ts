import { promises } from 'node:fs';
import { OpenFile, stat } from '../../checkpoint/files/calls';
import { RepfuseError } from '../../errors';
import { printableLines } from '../../printable';
import type { BatchItem } from './batch-items';
import type { BatchResult, Outcome } from './result';

/** One line of `report.jsonl`: a result, and what it was made with. */
export interface JournalEntry extends BatchResult {
  /** The options that decide what is in an output, as JSON. */
  readonly options: string;
  /** Bytes of the output; null without one. */
  readonly outputBytes: number | null;
}

/** The report of a batch, one line of JSON a file, added to as files end. */
export class Journal {
  private end: Promise<OpenFile> | undefined;

  private constructor(
    private readonly file: string,
    private readonly options: string,
    private readonly earlier: ReadonlyMap<string, JournalEntry>,
    /** A batch has written here before: what lies here is its. */
    readonly exists: boolean,
  ) {}

  /**
   * Opens a report, or begins one. A last line that a killed run has not written to its end is taken away, so that the next one begins
   * on a line of its own.
   *
   * @throws ERR_REPFUSE_FILE for one that cannot be read, or written
   */
  static async open(file: string, options: string): Promise<Journal> {
    const bytes = await promises.readFile(file).catch((cause: NodeJS.ErrnoException) => {
      if (cause.code === 'ENOENT') return undefined;
      throw new RepfuseError('ERR_REPFUSE_FILE', `Cannot read ${file}: ${cause.message}`, { file }, { cause });
    });
    const earlier = new Map<string, JournalEntry>();
    let end = 0;
    for (let start = 0; bytes !== undefined && start < bytes.length; start = end) {
      const at = bytes.indexOf(NEWLINE, start);
      end = at < 0 ? bytes.length : at + 1;
      const entry = parseEntry(bytes.toString('utf8', start, end));
      if (entry !== undefined) earlier.set(entry.name, entry);
      if (at < 0) await mend(file, start, entry !== undefined);
    }
    // A run that is killed before its first file has ended has begun too.
    if (bytes === undefined) await written(file, promises.appendFile(file, ''));
    return new Journal(file, options, earlier, bytes !== undefined);
  }

  /** What was written about a file the last time, if that was a success with the same options whose output is still there. */
  async finished({ name }: BatchItem): Promise<JournalEntry | undefined> {
    const entry = this.earlier.get(name);
    if (entry === undefined || entry.options !== this.options) return undefined;
    if (entry.status !== 'converted' && entry.status !== 'unchanged') return undefined;
    if (entry.output === null) return entry;
    return (await stat(entry.output))?.size === entry.outputBytes ? entry : undefined;
  }

  /** Adds a line, which is in the file, not yet on the disk, when this settles. @throws ERR_REPFUSE_FILE */
  async add({ result, outputBytes }: Outcome): Promise<void> {
    const entry: JournalEntry = { ...result, options: this.options, outputBytes };
    const line = Buffer.from(`${printableLines(JSON.stringify(entry, plain))}\n`);
    this.end ??= OpenFile.open(this.file, 'a');
    await written(this.file, append(this.end, line));
  }

  async close(): Promise<void> {
    const end = await this.end?.catch(() => undefined); // whoever added to it was told
    await end?.close();
  }
}

async function append(end: Promise<OpenFile>, line: Uint8Array): Promise<void> {
  const file = await end;
  for (let at = 0; at < line.length; ) at += await file.write(line.subarray(at), null);
}

const NEWLINE = 0x0a;

/** Ends a last line that is whole, or takes away one that is not. */
async function mend(file: string, start: number, isWhole: boolean): Promise<void> {
  await written(file, isWhole ? promises.appendFile(file, '\n') : promises.truncate(file, start));
}

async function written(file: string, work: Promise<void>): Promise<void> {
  await work.catch((cause: Error) => {
    throw new RepfuseError('ERR_REPFUSE_FILE', `Cannot write ${file}: ${cause.message}`, { file }, { cause });
  });
}

/** JSON has neither infinities nor 64-bit integers: those become strings. */
function plain(_: string, value: unknown): unknown {
  return typeof value === 'bigint' || (typeof value === 'number' && !Number.isFinite(value)) ? String(value) : value;
}

/** A line that was cut off by a crash, or is none of ours, is passed over: the file is then converted again. */
function parseEntry(line: string): JournalEntry | undefined {
  try {
    const entry = JSON.parse(line) as JournalEntry;
    return typeof entry === 'object' && entry !== null && typeof entry.name === 'string' ? entry : undefined;
  } catch {
    return undefined;
  }
}
