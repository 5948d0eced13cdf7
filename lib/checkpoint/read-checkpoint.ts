import { RepfuseError } from '../errors';
import { throwIfAborted } from '../native/call';
import { formatShape } from '../tensor/tensor';
import { describe } from './describe';
import { type FoundStateDict, findStateDict } from './find-state-dict';
import { OpenCheckpoint } from './open-checkpoint';
import { unpickle } from './pickle';
import { selectKeys } from './prefix';
import {
  type Allocate,
  observed,
  paged,
  type RandomAccess,
  type ReadProgress,
  readBytes,
  withFile,
} from './random-access';
import { readSafetensorsData, readSafetensorsHeader } from './safetensors';
import { sniff } from './sniff';
import type { Checkpoint, CheckpointFormat } from './state-dict';
import type { StoredTensor } from './stored-tensor';
import { TORCH_HOST, type TorchTensor, UnsupportedTensor } from './torch-pickle';
import { storedTensors } from './torch-tensor';
import { openTorchZip } from './torch-zip';

export interface ReadCheckpointOptions {
  /** Where the state dict lies inside the file, outermost first: `['ema', 'module']`. By default it is found by content. */
  readonly keyPath?: readonly string[] | undefined;
  /**
   * Reads only the keys that start with this, and drops it; the others are listed as skipped. By default the wrapper prefixes
   * `module.` and `_orig_mod.` are dropped; '' keeps every key as it is.
   */
  readonly prefix?: string | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: ReadProgress) => void) | undefined;
}

/** A file's weights, found but not read yet. */
interface Weights extends Omit<Checkpoint, 'file' | 'tensors' | 'droppedPrefix'> {
  readonly names: readonly string[];
  /** What a tensor is, in a few words. */
  describe(name: string): string;
  /** The tensors of these names, checked. */
  store(names: readonly string[]): ReadonlyMap<string, StoredTensor>;
}

/** A bare pickle holds no tensors of torch's: a larger one need not be read to say so. */
const MAX_BARE_PICKLE = 1 << 26;

/**
 * Reads the weights of a checkpoint: a torch zip file (`.pth`, `.pt`, `.ckpt`, `.bin`, ...) or safetensors, told apart by content.
 * Nothing in the file is executed, and every size in it is checked before memory is taken. Tensors that share storage in a torch file
 * share an ArrayBuffer here.
 *
 * @throws ERR_REPFUSE_FILE, ERR_REPFUSE_FORMAT, ERR_REPFUSE_UNSUPPORTED_FORMAT, ERR_REPFUSE_PICKLE, ERR_REPFUSE_AMBIGUOUS,
 * ERR_REPFUSE_KEY, ERR_REPFUSE_ABORTED; `details` names the file and, where there is one, the tensor, field or byte offset
 */
export async function readCheckpoint(file: string, options: ReadCheckpointOptions = {}): Promise<Checkpoint> {
  return await withCheckpoint(file, options, async (opened) => {
    await opened.load(opened.tensors.keys());
    const { tensors, ...rest } = opened.checkpoint;
    options.onProgress?.({ phase: 'read', done: opened.bytes, total: opened.bytes });
    return { ...rest, tensors };
  });
}

/**
 * Opens a checkpoint as `readCheckpoint` reads it and hands it to `body`, large tensors still in the file. The file is closed, and
 * what was loaded must not be used any more, once `body` has settled.
 */
export async function withCheckpoint<T>(
  file: string,
  options: ReadCheckpointOptions,
  body: (checkpoint: OpenCheckpoint) => Promise<T>,
): Promise<T> {
  checkOptions(options);
  const { signal, onProgress } = options;
  try {
    throwIfAborted(signal);
    return await withFile(file, async (source) =>
      body(await openCheckpoint(file, paged(observed(source, signal, onProgress)), options)),
    );
  } catch (error) {
    throw error instanceof RepfuseError ? naming(file, error) : error;
  }
}

async function openCheckpoint(
  file: string,
  source: RandomAccess,
  options: ReadCheckpointOptions,
): Promise<OpenCheckpoint> {
  const weights = await OPENERS[await sniff(source)](source, options);
  const { kept, droppedPrefix, left } = selectKeys(weights.names, options.prefix);
  const stored = weights.store([...kept.keys()]);
  const { format, keyPath, alternatives, metadata } = weights;
  const skipped = [
    ...weights.skipped,
    ...left.map((name) => ({ path: [...keyPath, name].join('.'), what: weights.describe(name) })),
  ];
  const opened = new OpenCheckpoint(
    { file, format, keyPath, droppedPrefix, alternatives, metadata, skipped },
    new Map([...kept].map(([name, key]) => [key, stored.get(name)!])),
    source.size,
  );
  await opened.loadSmall();
  return opened;
}

const OPENERS: Readonly<
  Record<CheckpointFormat | 'pickle', (source: RandomAccess, options: ReadCheckpointOptions) => Promise<Weights>>
> = {
  safetensors: openSafetensors,
  'torch-zip': openTorch,
  pickle: refusePickle,
};

async function openSafetensors(source: RandomAccess, { keyPath = [] }: ReadCheckpointOptions): Promise<Weights> {
  const { entries, metadata, dataStart } = await readSafetensorsHeader(source);
  if (keyPath.length > 0) {
    throw new RepfuseError(
      'ERR_REPFUSE_KEY',
      `Expected no keyPath for a safetensors file, which is flat, but received ${JSON.stringify(keyPath.join('.'))}`,
      { keyPath },
    );
  }
  const byName = new Map(entries.map((entry) => [entry.name, entry]));
  return {
    format: 'safetensors',
    keyPath: [],
    alternatives: [],
    skipped: [],
    metadata,
    names: [...byName.keys()],
    describe: (name) => `tensor ${byName.get(name)!.dtype} ${formatShape(byName.get(name)!.shape)}`,
    store: (names) =>
      new Map(
        names.map((name) => {
          const entry = byName.get(name)!;
          const read = (allocate?: Allocate) => readSafetensorsData(source, entry, dataStart, allocate);
          return [name, { dtype: entry.dtype, shape: entry.shape, exclusive: true, read }];
        }),
      ),
  };
}

async function openTorch(source: RandomAccess, { keyPath }: ReadCheckpointOptions): Promise<Weights> {
  const { root, storages } = await openTorchZip(source);
  const found = findStateDict(root, keyPath);
  return {
    format: 'torch-zip',
    keyPath: found.keyPath,
    alternatives: found.alternatives,
    skipped: found.skipped,
    metadata: {},
    names: [...found.tensors.keys()],
    describe: (name) => describe(found.tensors.get(name)!),
    store: (names) => storedTensors(new Map(names.map((name) => [name, supported(name, found.tensors)])), storages),
  };
}

/** @throws ERR_REPFUSE_UNSUPPORTED_FORMAT for a tensor that is no strided one */
function supported(name: string, tensors: FoundStateDict['tensors']): TorchTensor {
  const described = tensors.get(name)!;
  if (!(described instanceof UnsupportedTensor)) return described;
  throw new RepfuseError(
    'ERR_REPFUSE_UNSUPPORTED_FORMAT',
    `Tensor ${JSON.stringify(name)} is ${described.kind}, which is not supported`,
    { tensor: name, received: described.kind },
  );
}

/** Looks into a bare pickle only to say what it is, or what it tried to call. */
async function refusePickle(source: RandomAccess): Promise<never> {
  const what =
    source.size > MAX_BARE_PICKLE ? 'data' : describe(unpickle(await readBytes(source, 0, source.size), TORCH_HOST));
  throw new RepfuseError(
    'ERR_REPFUSE_UNSUPPORTED_FORMAT',
    `Expected a torch zip or safetensors checkpoint but received a bare pickle of ${what}, without tensors of torch`,
    { received: what },
  );
}

function checkOptions({ keyPath, prefix }: ReadCheckpointOptions): void {
  if (keyPath !== undefined && !(Array.isArray(keyPath) && keyPath.every((key) => typeof key === 'string'))) {
    throw new RepfuseError(
      'ERR_REPFUSE_INVALID_ARGUMENT',
      `Expected an array of strings for keyPath but received ${typeof keyPath}`,
    );
  }
  if (prefix !== undefined && typeof prefix !== 'string') {
    throw new RepfuseError(
      'ERR_REPFUSE_INVALID_ARGUMENT',
      `Expected a string for prefix but received ${typeof prefix}`,
    );
  }
}

/** The error with the file's name in front, where it is not there yet. */
export function naming(file: string, error: RepfuseError): RepfuseError {
  if (error.details.file === file) return error;
  return new RepfuseError(error.code, `${file}: ${error.message}`, { ...error.details, file }, { cause: error.cause });
}
