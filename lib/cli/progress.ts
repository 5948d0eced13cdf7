interface Step {
  readonly phase: string;
  readonly done: number;
  readonly total: number;
  readonly block?: string;
}

const WIDTH = 24;
const VERBS: Readonly<Record<string, string>> = {
  read: 'reading',
  fuse: 'fusing',
  write: 'writing',
  verify: 'verifying',
};

/** Progress on stderr: one bar that redraws itself on a terminal, one line per phase elsewhere. */
export class ProgressDisplay {
  private phase = '';
  private readonly isTerminal = process.stderr.isTTY === true;

  readonly update = ({ phase, done, total, block }: Step): void => {
    const verb = VERBS[phase] ?? phase;
    if (!this.isTerminal) {
      if (phase !== this.phase) process.stderr.write(`${verb} ...\n`);
      this.phase = phase;
      return;
    }
    const share = total === 0 ? 1 : done / total;
    const filled = Math.round(share * WIDTH);
    const bar = `${'#'.repeat(filled)}${'.'.repeat(WIDTH - filled)}`;
    process.stderr.write(
      `\r\x1b[K${verb.padEnd(9)} [${bar}] ${String(Math.round(share * 100)).padStart(3)}% ${block ?? ''}`,
    );
    this.phase = phase;
  };

  /** Clears the bar, so that results begin on a clean line. */
  readonly end = (): void => {
    if (this.isTerminal && this.phase !== '') process.stderr.write('\r\x1b[K');
    this.phase = '';
  };
}
