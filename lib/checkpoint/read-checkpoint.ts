import { RepfuseError } from '../errors';
import { throwIfAborted } from '../native/call';
import { formatShape, type Tensor } from '../tensor/tensor';
import { describe } from './describe';
import { findStateDict } from './find-state-dict';
import { unpickle } from './pickle';
import { selectKeys } from './prefix';
import { observed, type RandomAccess, type ReadProgress, readBytes, withFile } from './random-access';
import { readSafetensorsHeader, readSafetensorsTensor } from './safetensors';
import { sniff } from './sniff';
import type { Checkpoint, CheckpointFormat, StateDict } from './state-dict';
import { TORCH_HOST, UnsupportedTensor } from './torch-pickle';
import { materialize } from './torch-tensor';
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
  load(name: string): Promise<Tensor>;
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
  checkOptions(options);
  const { signal, onProgress } = options;
  try {
    throwIfAborted(signal);
    return await withFile(file, async (source) => {
      const checkpoint = await read(file, observed(source, signal, onProgress), options);
      onProgress?.({ phase: 'read', done: source.size, total: source.size });
      return checkpoint;
    });
  } catch (error) {
    throw error instanceof RepfuseError ? naming(file, error) : error;
  }
}

async function read(file: string, source: RandomAccess, options: ReadCheckpointOptions): Promise<Checkpoint> {
  const weights = await OPENERS[await sniff(source)](source, options);
  const { kept, droppedPrefix, left } = selectKeys(weights.names, options.prefix);
  const tensors: StateDict = new Map();
  for (const [name, key] of kept) tensors.set(key, await weights.load(name));
  const { format, keyPath, alternatives, metadata } = weights;
  const skipped = [
    ...weights.skipped,
    ...left.map((name) => ({ path: [...keyPath, name].join('.'), what: weights.describe(name) })),
  ];
  return { file, format, tensors, keyPath, droppedPrefix, alternatives, metadata, skipped };
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
    load: (name) => readSafetensorsTensor(source, byName.get(name)!, dataStart),
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
    async load(name) {
      const described = found.tensors.get(name)!;
      if (!(described instanceof UnsupportedTensor)) return materialize(name, described, storages);
      throw new RepfuseError(
        'ERR_REPFUSE_UNSUPPORTED_FORMAT',
        `Tensor ${JSON.stringify(name)} is ${described.kind}, which is not supported`,
        { tensor: name, received: described.kind },
      );
    },
  };
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
