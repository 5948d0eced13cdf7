import { parentPort, workerData } from 'node:worker_threads';
import { keepBuffers } from '../../checkpoint/files/buffer-pool';
import { ownThisThread } from '../../native/own-thread';
import type { ConvertOptions } from '../convert';
import { type BatchTask, convertOne, failed, shareOf } from './convert-one';
import type { Outcome } from './result';

/** What a worker is told: a file to convert, or that all that it converts is to stop. */
export type ToWorker = { readonly id: number; readonly task: BatchTask } | { readonly abort: true };

/** What a worker tells of a file: how much of it is written, what became of it, or that it was stopped. */
export type FromWorker =
  | { readonly id: number; readonly share: number }
  | { readonly id: number; readonly outcome: Outcome }
  | { readonly id: number; readonly aborted: true };

/** Between two messages of how far a file is. */
const INTERVAL_MS = 100;

/** Converts the files that the thread that started this one sends, with the options that it was started with. */
export function serveBatch(): void {
  const port = parentPort!;
  const options = workerData as ConvertOptions;
  const stop = new AbortController();
  ownThisThread();
  keepBuffers(); // for all files of this thread
  const tell = (message: FromWorker) => port.postMessage(message);
  const work = async (id: number, task: BatchTask) => {
    let told = performance.now();
    const onProgress: ConvertOptions['onProgress'] = (progress) => {
      const share = shareOf(progress);
      if (share === undefined || performance.now() - told < INTERVAL_MS) return;
      told = performance.now();
      tell({ id, share });
    };
    try {
      tell({ id, outcome: await convertOne(task, { ...options, signal: stop.signal, onProgress }) });
    } catch (error) {
      tell(stop.signal.aborted ? { id, aborted: true } : { id, outcome: failed(task.item, error, 0) });
    }
  };
  port.on('message', (message: ToWorker) => {
    ownThisThread(); // the event loop has turned
    if ('abort' in message) stop.abort();
    else void work(message.id, message.task);
  });
}
