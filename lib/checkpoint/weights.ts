import type { RandomAccess } from './files/random-access';
import type { Checkpoint } from './state-dict';
import type { StoredTensor } from './stored-tensor';

/** A file's weights, found but not read yet. */
export interface Weights extends Omit<Checkpoint, 'file' | 'tensors' | 'droppedPrefix'> {
  /** In file order. */
  readonly names: readonly string[];
  /** What a tensor is, in a few words. */
  whatIs(name: string): string;
  /** The tensors of these names, checked. */
  store(names: readonly string[]): ReadonlyMap<string, StoredTensor>;
}

export interface OpenOptions {
  readonly keyPath?: readonly string[] | undefined;
  /** Opens a file that lies beside this one. */
  readonly openBeside: (name: string) => Promise<RandomAccess>;
  readonly signal?: AbortSignal | undefined;
}
