import { dirname, join } from 'node:path';
import { checkOptions } from '../arguments/check';
import { FUNCTION, membersOf, optional, SIGNAL, TEXT, TEXTS } from '../arguments/schemas';
import { quote } from '../arguments/show';
import { RepfuseError } from '../errors';
import { throwIfAborted } from '../native/call';
import { keepBuffers } from './files/buffer-pool';
import { OpenFiles, paged, type RandomAccess, ReadMeter, type ReadProgress } from './files/random-access';
import { type Input, inputOf, type Source } from './files/source';
import { OpenCheckpoint } from './open-checkpoint';
import { openWeights } from './open-weights';
import { selectKeys } from './prefix';
import { HEAD, type Kind, kindOfHead, sniff } from './sniff';
import type { Checkpoint } from './state-dict';
import { MAX_NAME, MAX_TENSORS } from './stored-tensor';
import type { Weights } from './weights';

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

/** Their schemas. */
export const READ_OPTIONS = {
  keyPath: optional(TEXTS),
  prefix: optional(TEXT),
  signal: optional(SIGNAL),
  onProgress: optional(FUNCTION),
} as const;
const OPTIONS = membersOf<ReadCheckpointOptions>()(READ_OPTIONS);

/**
 * Reads the weights of a checkpoint, by its path, `file:` URL or bytes (then without files beside it): a torch file (`.pth`, `.pt`, `.ckpt`, `.bin`, ...; zip or legacy, a state dict or a pickled
 * network), safetensors (one file, or several by their index) or `.npz`, told apart by content.
 * Nothing in the file is executed, and every size in it is checked before memory is taken. Tensors that share storage in a torch file
 * share an ArrayBuffer here.
 *
 * @throws ERR_REPFUSE_FILE, ERR_REPFUSE_FORMAT, ERR_REPFUSE_UNSUPPORTED_FORMAT, ERR_REPFUSE_PICKLE, ERR_REPFUSE_AMBIGUOUS,
 * ERR_REPFUSE_KEY, the signal's reason; `details` names the file and, where there is one, the tensor, field or byte offset
 */
export async function readCheckpoint(file: Source, options: ReadCheckpointOptions = {}): Promise<Checkpoint> {
  return await withCheckpoint(file, options, async (opened) => {
    await opened.load(opened.tensors.keys());
    opened.meter.finish();
    return opened.checkpoint;
  });
}

/** Opens a checkpoint as `withInput` does and hands it to `body`. */
export async function withCheckpoint<T>(
  source: Source,
  options: ReadCheckpointOptions,
  body: (checkpoint: OpenCheckpoint) => Promise<T>,
): Promise<T> {
  return await withInput(source, options, async (input) => body(await input.checkpoint()));
}

/** An input that is open, and what it is by its content. */
export interface OpenInput {
  readonly kind: 'checkpoint' | 'onnx';
  /** Its path, or what stands for one. */
  readonly name: string;
  /** Its bytes, counted as they are read. */
  readonly source: RandomAccess;
  /** The checkpoint, large tensors still in the file. @throws ERR_REPFUSE_UNSUPPORTED_FORMAT for an ONNX model */
  checkpoint(): Promise<OpenCheckpoint>;
}

/**
 * Opens an input, tells what it is, and hands it to `body`: the one way in for whatever takes files. It is closed, and what was not
 * read by then cannot be, once `body` has settled.
 *
 * @param options of checkpoints, but for `signal` and `onProgress`
 * @throws ERR_REPFUSE_FILE; ERR_REPFUSE_FORMAT, ERR_REPFUSE_UNSUPPORTED_FORMAT for what is neither; what `body` throws, naming the file
 */
export async function withInput<T>(
  from: Source,
  given: ReadCheckpointOptions,
  body: (input: OpenInput) => Promise<T>,
): Promise<T> {
  const options = checkOptions('reading', OPTIONS, given);
  const { signal, onProgress } = options;
  const input = inputOf(from);
  const files = new OpenFiles();
  const freeBuffers = keepBuffers();
  const meter = new ReadMeter(signal, onProgress);
  const counted = (opened: RandomAccess) => paged(meter.observe(opened));
  const open = async (from: Input) => counted(await files.open(from));
  try {
    throwIfAborted(signal);
    const opened = await files.open(input);
    const kind: Kind = await sniff(opened);
    const source = counted(opened);
    const checkpoint = async () => {
      const weights = await openWeights(source, kind, {
        keyPath: options.keyPath,
        openBeside: async (name) => open(besideOf(input, name)),
        signal,
      });
      return await openCheckpoint(input.name, weights, meter, options.prefix);
    };
    return await body({ kind: kind === 'onnx' ? kind : 'checkpoint', name: input.name, source, checkpoint });
  } catch (error) {
    throwIfAborted(signal); // however its reason looks by now
    throw error instanceof RepfuseError ? naming(input.name, error) : error;
  } finally {
    freeBuffers();
    await files.close();
  }
}

/** A file in the folder of another. @throws ERR_REPFUSE_FILE where the other has none */
function besideOf({ path }: Input, name: string): Input {
  if (path !== undefined) return inputOf(join(dirname(path), name));
  throw new RepfuseError(
    'ERR_REPFUSE_FILE',
    `Expected the path of an index, beside which ${quote(name)} lies, but received its bytes alone`,
    { name },
  );
}

/** What a file is by its first bytes, and its size (0 where it cannot be opened); a checkpoint where it is neither, as reading it will tell. */
export async function lookAt(file: string): Promise<Pick<OpenInput, 'kind'> & { readonly size: number }> {
  const files = new OpenFiles();
  let size = 0;
  try {
    const found = await files.head(file, HEAD);
    size = found.size;
    return { kind: kindOfHead(found.head, size) === 'onnx' ? 'onnx' : 'checkpoint', size };
  } catch {
    return { kind: 'checkpoint', size };
  } finally {
    await files.close();
  }
}

async function openCheckpoint(
  file: string,
  weights: Weights,
  meter: ReadMeter,
  prefix: string | undefined,
): Promise<OpenCheckpoint> {
  const { names, unread: unreadNames } = weights;
  checkNames([...names, ...unreadNames.keys()]);
  const { kept, droppedPrefix, left } = selectKeys([...names, ...unreadNames.keys()], prefix);
  const stored = weights.store(names.filter((name) => kept.has(name)));
  const { format, keyPath, alternatives, metadata, texts, modules } = weights;
  const whatIs = (name: string) => unreadNames.get(name) ?? weights.whatIs(name);
  const skipped = [
    ...weights.skipped,
    ...[...unreadNames.keys(), ...left.filter((name) => !unreadNames.has(name))].map((name) => ({
      path: [...keyPath, name].join('.'),
      what: whatIs(name),
    })),
  ];
  const unread = [...unreadNames].flatMap(([name, what]) => (kept.has(name) ? [[kept.get(name)!, what] as const] : []));
  const opened = new OpenCheckpoint(
    {
      file,
      format,
      keyPath,
      droppedPrefix,
      alternatives,
      metadata,
      skipped,
      unread: new Map(unread),
      texts,
      modules: withoutPrefix(modules, droppedPrefix),
    },
    new Map([...stored].map(([name, tensor]) => [kept.get(name)!, tensor])),
    meter,
  );
  await opened.loadSmall();
  return opened;
}

/** @throws ERR_REPFUSE_FORMAT for more tensors, or longer names, than any network has */
function checkNames(names: readonly string[]): void {
  const long = names.find((name) => name.length > MAX_NAME);
  const wrong =
    names.length > MAX_TENSORS
      ? `${names.length} tensors are too many (limit ${MAX_TENSORS})`
      : long && `the name ${quote(long)} of ${long.length} characters is too long (limit ${MAX_NAME})`;
  if (wrong !== undefined) throw new RepfuseError('ERR_REPFUSE_FORMAT', wrong, { field: 'name' });
}

function withoutPrefix<T>(modules: ReadonlyMap<string, T>, prefix: string): ReadonlyMap<string, T> {
  const kept = [...modules].filter(([path]) => `${path}.`.startsWith(prefix));
  return new Map(kept.map(([path, value]) => [path.slice(prefix.length), value]));
}

/** The error with the file's name in front, where it does not name a file yet. */
export function naming(file: string, error: RepfuseError): RepfuseError {
  if (typeof error.details.file === 'string') return error;
  return new RepfuseError(error.code, `${file}: ${error.message}`, { ...error.details, file }, { cause: error.cause });
}
