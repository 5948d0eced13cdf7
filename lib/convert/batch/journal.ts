import { appendFile, readFile, stat } from 'node:fs/promises';
import { RepfuseError } from '../../errors';
import type { BatchResult } from './convert-all';
import type { BatchItem } from './plan';

/** One line of `report.jsonl`: a result, and what it was made with. */
export interface JournalEntry extends BatchResult {
  /** The options that decide what is in an output, as JSON. */
  readonly options: string;
  /** Bytes of the output; null without one. */
  readonly outputBytes: number | null;
}

/** The report of a batch, one line of JSON a file, added to as files end. */
export class Journal {
  private constructor(
    private readonly file: string,
    private readonly options: string,
    private readonly earlier: ReadonlyMap<string, JournalEntry>,
    /** A batch has written here before: what lies here is its. */
    readonly exists: boolean,
  ) {}

  /** @throws ERR_REPFUSE_FILE for a report that is there and cannot be read */
  static async open(file: string, options: string): Promise<Journal> {
    const text = await readFile(file, 'utf8').catch((cause: NodeJS.ErrnoException) => {
      if (cause.code === 'ENOENT') return undefined;
      throw new RepfuseError('ERR_REPFUSE_FILE', `Cannot read ${file}: ${cause.message}`, { file }, { cause });
    });
    const entries = (text ?? '').split('\n').flatMap(parseEntry);
    return new Journal(file, options, new Map(entries.map((entry) => [entry.name, entry])), text !== undefined);
  }

  /** What was written about a file the last time, if that was a success with the same options whose output is still there. */
  async finished({ name }: BatchItem): Promise<JournalEntry | undefined> {
    const entry = this.earlier.get(name);
    if (entry === undefined || entry.options !== this.options) return undefined;
    if (entry.status !== 'converted' && entry.status !== 'unchanged') return undefined;
    if (entry.output === null) return entry;
    const size = await stat(entry.output).then(
      (found) => found.size,
      () => undefined,
    );
    return size === entry.outputBytes ? entry : undefined;
  }

  /** @throws ERR_REPFUSE_FILE */
  async add(result: BatchResult): Promise<void> {
    const outputBytes =
      result.output === null
        ? null
        : await stat(result.output).then(
            ({ size }) => size,
            () => null,
          );
    const entry: JournalEntry = { ...result, options: this.options, outputBytes };
    await appendFile(this.file, `${JSON.stringify(entry, plain)}\n`).catch((cause: Error) => {
      throw new RepfuseError(
        'ERR_REPFUSE_FILE',
        `Cannot write ${this.file}: ${cause.message}`,
        { file: this.file },
        { cause },
      );
    });
  }
}

/** JSON has neither infinities nor 64-bit integers: those become strings. */
function plain(_: string, value: unknown): unknown {
  return typeof value === 'bigint' || (typeof value === 'number' && !Number.isFinite(value)) ? String(value) : value;
}

/** A line that was cut off by a crash, or is none of ours, is passed over: the file is then converted again. */
function parseEntry(line: string): JournalEntry[] {
  try {
    const entry = JSON.parse(line) as JournalEntry;
    return typeof entry === 'object' && entry !== null && typeof entry.name === 'string' ? [entry] : [];
  } catch {
    return [];
  }
}
