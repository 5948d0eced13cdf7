import type { Tensor } from '../tensor/tensor';
import type { ModuleAttributes } from './torch/module-weights';

/**
 * Tensors by name, in file order. A Map, so that a key such as `__proto__` is only a name. Tensors that share storage in the file (tied
 * weights, slices of one buffer) share an ArrayBuffer: who writes in place must own `data.buffer` alone.
 */
export type StateDict = Map<string, Tensor>;

/** Something in the file that is not a weight of the state dict, listed so that nothing disappears in silence. */
export interface SkippedEntry {
  /** Dotted path inside the file, such as `optimizer` or `epoch`. */
  readonly path: string;
  /** What it is: `dict of 3`, `number 12`, `numpy.core.multiarray.scalar (not executed)`. */
  readonly what: string;
}

export type CheckpointFormat =
  | 'safetensors'
  | 'safetensors-index'
  | 'torch-zip'
  | 'torch-legacy'
  | 'torch-index'
  | 'npz'
  | 'pickle';

/** What `readCheckpoint` returns. */
export interface Checkpoint {
  readonly file: string;
  readonly format: CheckpointFormat;
  readonly tensors: StateDict;
  /** Where the state dict was found inside the file, outermost first; empty when the file is the state dict. */
  readonly keyPath: readonly string[];
  /** The wrapper prefix (`module.`, `_orig_mod.`) dropped from the start of the keys, or ''. */
  readonly droppedPrefix: string;
  /** Other complete sets of weights in the same file (their key paths), selectable by the `keyPath` option. */
  readonly alternatives: readonly (readonly string[])[];
  /** safetensors `__metadata__`; empty for torch files. */
  readonly metadata: Readonly<Record<string, string>>;
  readonly skipped: readonly SkippedEntry[];
  /** Tensors of types that are not read (quantised, sparse, ...) by name, with what they are; they are among `skipped` too. */
  readonly unread: ReadonlyMap<string, string>;
  /** Texts beside the weights, by their paths, such as the configuration at `meta.cfg`: they may tell what network it is. */
  readonly texts: ReadonlyMap<string, string>;
  /** What the modules of a pickled network say of themselves (eps, stride, ...), by dotted path; empty where the file has none. */
  readonly modules: ReadonlyMap<string, ModuleAttributes>;
}
