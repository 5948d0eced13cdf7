import type { BatchProgress } from '../convert';
import { printable } from '../printable';

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
/** Where nothing can be redrawn a batch tells how far it is this often. */
const BATCH_LINE_MS = 10_000;

/** Progress on stderr: one bar that redraws itself on a terminal, few lines elsewhere. No colours. */
export class ProgressDisplay {
  private readonly told = new Set<string>();
  private line = '';
  private readonly redraws: boolean;
  private lastBatchLine = Date.now();

  constructor(private readonly screen: Screen = process.stderr) {
    this.redraws = screen.isTTY === true && process.env.TERM !== 'dumb';
  }

  /** A step of one conversion. */
  readonly update = ({ phase, done, total, block = '' }: Step): void => {
    const verb = VERBS[phase] ?? phase;
    if (this.redraws) this.draw(verb, total === 0 ? 1 : done / total, block);
    else if (!this.told.has(phase)) this.screen.write(`${verb} ...\n`);
    this.told.add(phase);
  };

  /** How far a batch is. */
  readonly updateBatch = (progress: BatchProgress): void => {
    const { doneBytes, totalBytes } = progress;
    if (this.redraws) this.draw('files', totalBytes === 0 ? 1 : doneBytes / totalBytes, formatProgress(progress));
    else if (Date.now() - this.lastBatchLine >= BATCH_LINE_MS) {
      this.lastBatchLine = Date.now();
      this.screen.write(`${formatProgress(progress)}\n`);
    }
  };

  private draw(verb: string, share: number, what: string): void {
    const filled = Math.round(share * BAR);
    const bar = `[${'#'.repeat(filled)}${'.'.repeat(BAR - filled)}]`;
    const text = `${verb.padEnd(9)} ${bar} ${String(Math.round(share * 100)).padStart(3)}% ${printable(what)}`;
    // A line that wraps could not be redrawn.
    const line = text.slice(0, (this.screen.columns || 80) - 1).trimEnd();
    if (line !== this.line) this.screen.write(`${CLEAR_LINE}${line}`);
    this.line = line;
  }

  /** Clears the bar, so that results begin on a clean line. */
  readonly end = (): void => {
    if (this.line !== '') this.screen.write(CLEAR_LINE);
    this.told.clear();
    this.line = '';
  };
}

/** `12/1000, 1 failed, 35.2 MB/s, 0:32 left`. */
function formatProgress({ done, total, failed, bytesPerSecond, secondsLeft }: BatchProgress): string {
  const parts = [`${done}/${total}`];
  if (failed > 0) parts.push(`${failed} failed`);
  if (bytesPerSecond > 0) parts.push(`${(bytesPerSecond / 1e6).toPrecision(3)} MB/s`);
  if (secondsLeft !== null && secondsLeft > 0) parts.push(`${formatTime(secondsLeft)} left`);
  return parts.join(', ');
}

function formatTime(seconds: number): string {
  const whole = Math.ceil(seconds);
  const two = (value: number) => String(value).padStart(2, '0');
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60];
  return hours === 0 ? `${minutes}:${two(whole % 60)}` : `${hours}:${two(minutes)}:${two(whole % 60)}`;
}
