import type { BatchItem } from './batch-items';

export interface BatchProgress {
  readonly phase: 'batch';
  /** Files that have ended, well or badly. */
  readonly done: number;
  readonly total: number;
  readonly failed: number;
  /** Bytes of those files, and of all. */
  readonly doneBytes: number;
  readonly totalBytes: number;
  readonly filesPerSecond: number;
  readonly bytesPerSecond: number;
  /** Estimated from the bytes that are left; null before the first file has ended. */
  readonly secondsLeft: number | null;
  /** The file that has just ended. */
  readonly file?: string;
}

/** Between two reports of how far a single file is. */
const INTERVAL_MS = 200;

/** How far a batch is, and how fast. Files that are passed over (`resume`) do not count for its speed. */
export class ProgressMeter {
  private readonly started = performance.now();
  private readonly totalBytes: number;
  private readonly underway = new Map<BatchItem, number>();
  private done = 0;
  private failed = 0;
  private doneBytes = 0;
  private skippedFiles = 0;
  private skippedBytes = 0;
  private told = Number.NEGATIVE_INFINITY;

  constructor(
    private readonly items: readonly BatchItem[],
    private readonly onProgress: (progress: BatchProgress) => void = () => {},
  ) {
    this.totalBytes = items.reduce((sum, { size }) => sum + size, 0);
    this.tell();
  }

  /** A file is underway, so much of it done. */
  advance(item: BatchItem, share: number): void {
    this.underway.set(item, share * item.size);
    if (performance.now() - this.told >= INTERVAL_MS) this.tell();
  }

  /** A file has ended. */
  end(item: BatchItem, how: 'done' | 'failed' | 'skipped'): void {
    this.underway.delete(item);
    this.done++;
    this.doneBytes += item.size;
    if (how === 'failed') this.failed++;
    if (how === 'skipped') {
      this.skippedFiles++;
      this.skippedBytes += item.size;
    }
    this.tell(item.file);
  }

  private tell(file?: string): void {
    this.told = performance.now();
    const seconds = Math.max((this.told - this.started) / 1000, 1e-3);
    const doneBytes = [...this.underway.values()].reduce((sum, bytes) => sum + bytes, this.doneBytes);
    const bytesPerSecond = (doneBytes - this.skippedBytes) / seconds;
    const left = this.totalBytes - doneBytes;
    this.onProgress({
      phase: 'batch',
      done: this.done,
      total: this.items.length,
      failed: this.failed,
      doneBytes,
      totalBytes: this.totalBytes,
      filesPerSecond: (this.done - this.skippedFiles) / seconds,
      bytesPerSecond,
      secondsLeft: left === 0 ? 0 : bytesPerSecond > 0 ? left / bytesPerSecond : null,
      ...(file === undefined ? {} : { file }),
    });
  }
}
