import { Worker } from 'node:worker_threads';
import { RepfuseError } from '../errors';

/** Runs on a thread of its own: hashing takes longer than fusing, and node:crypto hashes on the calling thread. */
const SOURCE = `
  const { createHash } = require('node:crypto');
  const { openSync, readSync } = require('node:fs');
  const { parentPort, workerData } = require('node:worker_threads');
  const hash = createHash('sha256');
  const bytes = new Uint8Array(1 << 20);
  const file = openSync(workerData);
  for (let read; (read = readSync(file, bytes)) > 0; ) hash.update(bytes.subarray(0, read));
  parentPort.postMessage(hash.digest('hex'));
`;

/** A digest that is being computed. */
export interface Hashing {
  /** SHA-256 of the file, in hexadecimal. Rejects with ERR_REPFUSE_FILE. */
  readonly digest: Promise<string>;
  /** Ends it, wherever it is. */
  stop(): void;
}

export function startHashing(file: string): Hashing {
  const worker = new Worker(SOURCE, { eval: true, workerData: file });
  const digest = new Promise<string>((resolve, reject) => {
    const fail = (message: string, cause?: unknown) =>
      reject(new RepfuseError('ERR_REPFUSE_FILE', `Cannot read ${file}: ${message}`, { file }, { cause }));
    worker.once('message', resolve);
    worker.once('error', (cause) => fail(cause.message, cause));
    worker.once('exit', () => fail('stopped'));
  });
  digest.catch(() => {}); // whoever waits for it is told
  return { digest, stop: () => void worker.terminate() };
}
