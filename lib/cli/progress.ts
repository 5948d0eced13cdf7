interface Step {
  readonly phase: string;
  readonly done: number;
  readonly total: number;
  readonly block?: string;
}

/** Where progress is shown. */
interface Screen {
  readonly isTTY?: boolean;
  readonly columns?: number;
  write(text: string): unknown;
}

const BAR = 24;
const VERBS: Readonly<Record<string, string>> = {
  read: 'reading',
  fuse: 'fusing',
  write: 'writing',
  verify: 'verifying',
};
const CLEAR_LINE = '\r\x1b[K';

/** Progress on stderr: one bar that redraws itself on a terminal, one line per phase elsewhere. No colours. */
export class ProgressDisplay {
  private readonly told = new Set<string>();
  private line = '';
  private readonly redraws: boolean;

  constructor(private readonly screen: Screen = process.stderr) {
    this.redraws = screen.isTTY === true && process.env.TERM !== 'dumb';
  }

  readonly update = ({ phase, done, total, block = '' }: Step): void => {
    const verb = VERBS[phase] ?? phase;
    if (!this.redraws) {
      if (!this.told.has(phase)) this.screen.write(`${verb} ...\n`);
      this.told.add(phase);
      return;
    }
    const share = total === 0 ? 1 : done / total;
    const filled = Math.round(share * BAR);
    const bar = `[${'#'.repeat(filled)}${'.'.repeat(BAR - filled)}]`;
    const text = `${verb.padEnd(9)} ${bar} ${String(Math.round(share * 100)).padStart(3)}% ${block}`;
    // A line that wraps could not be redrawn.
    const line = text.slice(0, (this.screen.columns || 80) - 1).trimEnd();
    if (line !== this.line) this.screen.write(`${CLEAR_LINE}${line}`);
    this.line = line;
  };

  /** Clears the bar, so that results begin on a clean line. */
  readonly end = (): void => {
    if (this.line !== '') this.screen.write(CLEAR_LINE);
    this.told.clear();
    this.line = '';
  };
}
