import { Worker } from 'node:worker_threads';
import { OpenFile } from '../checkpoint/files/calls';
import { inputOf, type Source } from '../checkpoint/files/source';
import { RepfuseError } from '../errors';
import { crypto } from '../native/slow-modules';

/** Bytes of a file that is hashed here, between other work: sooner than a thread has started. */
const MAX_HASHED_HERE = 1 << 26;
const CHUNK = 1 << 20;
/** Bytes that are hashed before the event loop turns: some milliseconds. */
const HASHED_AT_ONCE = 1 << 23;

/** Runs on a thread of its own: hashing takes longer than fusing, and node:crypto hashes on the calling thread. */
const SOURCE = `
  const { createHash } = require('node:crypto');
  const { openSync, readSync } = require('node:fs');
  const { parentPort, workerData } = require('node:worker_threads');
  const hash = createHash('sha256');
  const bytes = new Uint8Array(${CHUNK});
  const file = openSync(workerData);
  for (let read; (read = readSync(file, bytes)) > 0; ) hash.update(bytes.subarray(0, read));
  parentPort.postMessage(hash.digest('hex'));
`;

function newHash() {
  return crypto().createHash('sha256');
}

/** A digest that is being computed. */
export interface Hashing {
  /** SHA-256 of the input, in hexadecimal. Rejects with ERR_REPFUSE_FILE. */
  readonly digest: Promise<string>;
  /** Ends it, wherever it is. */
  stop(): void;
}

/** The digest of an input, which is begun when it is asked for. */
export class InputDigest {
  private hashing: Hashing | undefined;

  constructor(private readonly source: Source) {}

  start(): void {
    this.hashing ??= startHashing(this.source);
  }

  /** As `Hashing` has it. */
  get value(): Promise<string> {
    this.start();
    return this.hashing!.digest;
  }

  stop(): void {
    this.hashing?.stop();
  }
}

export function startHashing(source: Source): Hashing {
  const { name: file, path, bytes: given } = inputOf(source);
  let worker: Worker | undefined;
  let stopped = false;
  const hashFile = async (path: string) => {
    const small = await hashSmall(path);
    if (small !== undefined) return small;
    if (stopped) throw new Error('stopped');
    worker = new Worker(SOURCE, { eval: true, workerData: path });
    return await answerOf(worker);
  };
  const digest = path === undefined ? hashBytes(given, () => stopped) : hashFile(path);
  const told = digest.catch((cause: Error) => {
    throw new RepfuseError('ERR_REPFUSE_FILE', `Cannot read ${file}: ${cause.message}`, { file }, { cause });
  });
  told.catch(() => {}); // whoever waits for it is told
  const stop = () => {
    stopped = true;
    void worker?.terminate();
  };
  return { digest: told, stop };
}

/** The digest of bytes in memory, a part at a time: they may be many. */
async function hashBytes(bytes: Uint8Array, isStopped: () => boolean): Promise<string> {
  const hash = newHash();
  hash.update(bytes.subarray(0, HASHED_AT_ONCE));
  for (let at = HASHED_AT_ONCE; at < bytes.length; at += HASHED_AT_ONCE) {
    await new Promise((resolve) => setImmediate(resolve));
    if (isStopped()) throw new Error('stopped');
    hash.update(bytes.subarray(at, at + HASHED_AT_ONCE));
  }
  return hash.digest('hex');
}

/** The digest of a small file; undefined for a large one. */
async function hashSmall(file: string): Promise<string | undefined> {
  const opened = await OpenFile.open(file, 'r');
  try {
    const { size } = await opened.stat();
    if (size > MAX_HASHED_HERE) return undefined;
    const hash = newHash();
    const bytes = new Uint8Array(CHUNK);
    for (let at = 0; ; ) {
      const count = await opened.read(bytes, at);
      if (count === 0) return hash.digest('hex');
      hash.update(bytes.subarray(0, count));
      at += count;
    }
  } finally {
    await opened.close();
  }
}

/** The worker's answer, once its memory is free again: in a batch the next file's worker would otherwise come on top of it. */
function answerOf(worker: Worker): Promise<string> {
  return new Promise((resolve, reject) => {
    let digest: string | undefined;
    worker.once('message', (message: string) => {
      digest = message;
    });
    worker.once('error', reject);
    worker.once('exit', () => (digest === undefined ? reject(new Error('stopped')) : resolve(digest)));
  });
}
