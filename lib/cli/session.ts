import { RepfuseError } from '../errors';
import { printable, printableLines } from '../printable';
import { spellOptions } from './spelling';

/** Exit codes of the command. */
export const EXIT = { ok: 0, failed: 1, usage: 2, notEqual: 3, interrupted: 130 } as const;

/** One Ctrl-C may arrive twice (npx passes it on): only a later one is impatience. */
const REPEAT_MS = 1000;

/** A command's surroundings: Ctrl-C, where results go, how errors are told. */
export class Session {
  private readonly controller = new AbortController();
  private interruptedAt: number | undefined;
  /** Fires on Ctrl-C and SIGTERM: the library then leaves no half file. */
  readonly signal: AbortSignal = this.controller.signal;
  exitCode: number = EXIT.ok;
  json = false;
  /** Long names of the command's flags: options in texts of the library are spelled so. */
  flags: ReadonlySet<string> = new Set();

  constructor() {
    process.on('SIGINT', this.interrupt);
    process.on('SIGTERM', this.interrupt);
    // A reader that goes away (| head) is no failure.
    process.stdout.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'EPIPE') process.exit(this.exitCode);
      throw error;
    });
    process.stderr.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code !== 'EPIPE') throw error;
    });
  }

  private readonly interrupt = (): void => {
    const now = Date.now();
    this.interruptedAt ??= now;
    if (now - this.interruptedAt > REPEAT_MS) process.exit(EXIT.interrupted);
    this.controller.abort(new RepfuseError('ERR_REPFUSE_ABORTED', 'The operation was interrupted'));
  };

  /** A result, on stdout. Names of files and tensors come from somebody else: a terminal sees no control characters of theirs. */
  result(text: string): void {
    process.stdout.write(`${printableLines(this.spell(text))}\n`);
  }

  /** A result for machines. JSON has neither infinities nor 64-bit integers: those become strings. */
  jsonResult(value: unknown): void {
    const plain = (_: string, item: unknown) =>
      typeof item === 'bigint' || (typeof item === 'number' && !Number.isFinite(item)) ? String(item) : item;
    this.result(JSON.stringify(value, plain, 2));
  }

  /** Anything that is no result, on stderr. */
  note(text: string): void {
    process.stderr.write(`${printableLines(this.spell(text))}\n`);
  }

  private spell(text: string, option?: unknown): string {
    return spellOptions(text, this.flags, option);
  }

  /** Runs a command's body; an expected error becomes a message and an exit code. */
  async run(body: () => Promise<void>): Promise<void> {
    try {
      await body();
    } catch (error) {
      if (!(error instanceof RepfuseError)) throw error;
      const { code, details } = error;
      const message = this.spell(messageOf(error), details.option);
      this.exitCode = code === 'ERR_REPFUSE_ABORTED' ? EXIT.interrupted : EXIT.failed;
      if (this.json) this.jsonResult({ error: { code, message, details } });
      if (this.exitCode !== EXIT.interrupted) this.note(`${code}: ${message}`);
      else this.note(`interrupted: ${details.output === undefined ? 'nothing was written' : message}`);
    }
  }
}

/** Errors whose messages are lists, the names in them on one line each. */
const LISTS: readonly string[] = ['ERR_REPFUSE_BLOCK', 'ERR_REPFUSE_NO_NATIVE'];

/** The message of an error for people: a line break in a name cannot make it look like two. */
export function messageOf({ code, message }: Pick<RepfuseError, 'message'> & { readonly code: string }): string {
  return LISTS.includes(code) ? message : printable(message);
}
