import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { Worker } from 'node:worker_threads';
import { keepBuffers } from '../../checkpoint/files/buffer-pool';
import { otherWriters } from '../../checkpoint/files/temporaries';
import { loadAddon } from '../../native/load';
import type { ConvertOptions } from '../convert';
import type { BatchItem } from './batch-items';
import { type BatchTask, convertOne, failed, shareOf } from './convert-one';
import type { Outcome } from './result';
import type { FromWorker, ToWorker } from './worker';

/** Converts the files of a batch, several at a time. */
export interface Runner {
  /**
   * @param onShare is told how much of the file is written
   * @throws the signal's reason
   */
  run(task: BatchTask, onShare: (share: number) => void): Promise<Outcome>;
  /** To be called when nothing runs any more. */
  close(): Promise<void>;
}

/** Beside the package's one file of code; where that is not (sources, another bundle) all is done in this thread. */
const WORKER = resolve(__dirname, '..', 'bundle', 'batch-worker.js');

/** Work that is worth the start of threads. */
const WORTH_THREADS_MS = 200;

/** Threads for a batch where they are worth their start, also for one job, whose caller's event loop then is free; else this one. */
export function startRunner(
  items: readonly BatchItem[],
  jobs: number,
  options: ConvertOptions & { readonly signal: AbortSignal },
): Runner {
  const { signal, onProgress: _, ...plain } = options;
  const threads = Math.min(jobs, items.length, cores());
  const estimate = items.reduce((sum, item) => sum + millisecondsFor(item), 0);
  if (estimate >= WORTH_THREADS_MS && existsSync(WORKER) && isCloneable(plain))
    return new ThreadRunner(threads, plain, signal);
  return inThisThread(options);
}

function inThisThread(options: ConvertOptions): Runner {
  const freeBuffers = keepBuffers(); // the next file's tensors take the place of this one's
  return {
    run: (task, onShare) =>
      convertOne(task, {
        ...options,
        onProgress(progress) {
          const share = shareOf(progress);
          if (share !== undefined) onShare(share);
        },
      }),
    close: async () => freeBuffers(),
  };
}

/** Of JavaScript's time alone, roughly: names and small tensors, and the bytes that are hashed. */
function millisecondsFor({ kind, size }: BatchItem): number {
  return (kind === 'onnx' ? 50 : 5) + size / 1e6;
}

function cores(): number {
  try {
    return loadAddon().info().defaultThreads;
  } catch {
    return 1; // each file's result tells that there is no addon
  }
}

function isCloneable(options: object): boolean {
  try {
    structuredClone(options);
    return true;
  } catch {
    return false;
  }
}

/** A file that a thread converts. */
interface Underway {
  readonly item: BatchItem;
  readonly started: number;
  readonly onShare: (share: number) => void;
  readonly resolve: (outcome: Outcome) => void;
  readonly reject: (reason: unknown) => void;
}

class ThreadRunner implements Runner {
  private readonly threads: Thread[];
  private readonly onAbort = () => {
    for (const thread of this.threads) thread.abort();
  };

  constructor(
    count: number,
    options: object,
    private readonly signal: AbortSignal,
  ) {
    this.threads = Array.from({ length: count }, () => new Thread(options, signal));
    signal.addEventListener('abort', this.onAbort, { once: true });
    otherWriters.count += count;
  }

  run(task: BatchTask, onShare: (share: number) => void): Promise<Outcome> {
    const idlest = this.threads.reduce((a, b) => (b.busy < a.busy ? b : a));
    return idlest.run(task, onShare);
  }

  async close(): Promise<void> {
    this.signal.removeEventListener('abort', this.onAbort);
    await Promise.all(this.threads.map((thread) => thread.close()));
    otherWriters.count -= this.threads.length;
  }
}

/** A worker that is started when it is needed, and again should it have died. */
class Thread {
  private worker: Worker | undefined;
  private readonly underway = new Map<number, Underway>();
  private next = 0;

  constructor(
    private readonly options: object,
    private readonly signal: AbortSignal,
  ) {}

  get busy(): number {
    return this.underway.size;
  }

  run(task: BatchTask, onShare: (share: number) => void): Promise<Outcome> {
    this.worker ??= this.start();
    const id = this.next++;
    return new Promise((resolve, reject) => {
      this.underway.set(id, { item: task.item, started: performance.now(), onShare, resolve, reject });
      this.worker!.ref();
      this.send({ id, task });
    });
  }

  abort(): void {
    this.send({ abort: true });
  }

  async close(): Promise<void> {
    await this.worker?.terminate();
  }

  private send(message: ToWorker): void {
    this.worker?.postMessage(message);
  }

  private start(): Worker {
    const worker = new Worker(WORKER, { workerData: this.options, execArgv: [] });
    let cause: unknown = new Error('the thread that converted it has ended');
    worker.on('message', (message: FromWorker) => this.hear(message));
    worker.once('error', (error) => {
      cause = error;
    });
    worker.once('exit', () => {
      this.worker = undefined;
      for (const { item, started, resolve } of this.underway.values())
        resolve(failed(item, cause, performance.now() - started));
      this.underway.clear();
    });
    return worker;
  }

  private hear(message: FromWorker): void {
    const file = this.underway.get(message.id);
    if (file === undefined) return;
    if ('share' in message) {
      file.onShare(message.share);
      return;
    }
    this.underway.delete(message.id);
    if (this.busy === 0) this.worker?.unref(); // a batch that nobody goes on with keeps no process alive
    if ('outcome' in message) file.resolve(message.outcome);
    else file.reject(this.signal.reason);
  }
}
