import { RepfuseError } from '../errors';

/** Exit codes of the command. */
export const EXIT = { ok: 0, failed: 1, usage: 2, notEqual: 3, interrupted: 130 } as const;

/** A command's surroundings: Ctrl-C, where results go, how errors are told. */
export class Session {
  private readonly controller = new AbortController();
  /** Fires on Ctrl-C and SIGTERM: the library then leaves no half file. */
  readonly signal: AbortSignal = this.controller.signal;
  exitCode: number = EXIT.ok;
  json = false;

  constructor() {
    const stop = () => this.controller.abort(new Error('interrupted'));
    process.once('SIGINT', stop);
    process.once('SIGTERM', stop);
    // A reader that goes away (| head) is no failure.
    process.stdout.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'EPIPE') process.exit(this.exitCode);
      throw error;
    });
  }

  /** A result, on stdout. */
  result(text: string): void {
    process.stdout.write(`${text}\n`);
  }

  /** A result for machines: exact JSON; tensors of numbers stay arrays. */
  jsonResult(value: unknown): void {
    this.result(
      JSON.stringify(value, (_, item) => (typeof item === 'number' && !Number.isFinite(item) ? String(item) : item), 2),
    );
  }

  /** Anything that is no result, on stderr. */
  note(text: string): void {
    process.stderr.write(`${text}\n`);
  }

  /** Runs a command's body; an expected error becomes a message and an exit code. */
  async run(body: () => Promise<void>): Promise<void> {
    try {
      await body();
    } catch (error) {
      if (!(error instanceof RepfuseError)) throw error;
      this.exitCode = error.code === 'ERR_REPFUSE_ABORTED' ? EXIT.interrupted : EXIT.failed;
      const { code, message, details } = error;
      if (this.json) this.jsonResult({ error: { code, message, details } });
      this.note(this.exitCode === EXIT.interrupted ? 'interrupted: nothing was written' : `${code}: ${message}`);
    }
  }
}
