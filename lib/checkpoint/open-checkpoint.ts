import type { Tensor } from '../tensor/tensor';
import { giveBuffer, takeBuffer } from './files/buffer-pool';
import type { ReadMeter } from './files/random-access';
import type { Checkpoint, StateDict } from './state-dict';
import { deferredTensor, hold, letGo, type StoredTensor } from './stored-tensor';

/** Elements up to so many bytes are read at once: BatchNorm vectors, biases. */
const SMALL_BYTES = 1 << 16;
const AT_A_TIME = 16;

/** A checkpoint whose large tensors stay in the file until they are asked for. */
export class OpenCheckpoint {
  readonly checkpoint: Checkpoint;
  private readonly loaded = new Map<string, Promise<void>>();

  constructor(
    about: Omit<Checkpoint, 'tensors'>,
    private readonly stored: ReadonlyMap<string, StoredTensor>,
    readonly meter: ReadMeter,
  ) {
    const tensors = new Map([...stored].map(([key, item]) => [key, deferredTensor(key, item)] as const));
    this.checkpoint = { ...about, tensors };
  }

  /** In file order; `data` of one that is not loaded throws. */
  get tensors(): StateDict {
    return this.checkpoint.tensors;
  }

  /** Whether no other tensor has its elements in the same memory: only such a one may be written over. */
  isExclusive(key: string): boolean {
    return this.stored.get(key)!.exclusive;
  }

  /** Reads the elements of these tensors, those that are not there yet. */
  async load(keys: Iterable<string>): Promise<void> {
    for (const key of keys) {
      const known = this.loaded.get(key) ?? this.read(key);
      this.loaded.set(key, known);
      await known;
    }
  }

  /** Reads elements once more, that may have been overwritten since. */
  async reload(keys: readonly string[]): Promise<void> {
    for (const key of keys) this.loaded.delete(key);
    await this.load(keys);
  }

  /** Takes back the memory of tensors, to be used for others: nothing may look at their elements any more. Small ones stay. */
  release(keys: Iterable<string>): void {
    for (const key of keys) {
      const tensor = this.tensors.get(key)!;
      if (!this.loaded.has(key) || tensor.bytes <= SMALL_BYTES) continue;
      if (this.isExclusive(key)) giveBuffer(tensor.data.buffer as ArrayBuffer);
      letGo(key, tensor);
      this.loaded.delete(key);
    }
  }

  async loadSmall(): Promise<void> {
    const keys = [...this.tensors].filter(([, tensor]) => tensor.bytes <= SMALL_BYTES).map(([key]) => key);
    // A few at a time, in file order: most of the time goes into waiting.
    for (let i = 0; i < keys.length; i += AT_A_TIME)
      await Promise.all(keys.slice(i, i + AT_A_TIME).map((key) => this.load([key])));
  }

  private async read(key: string): Promise<void> {
    const tensor: Tensor = this.tensors.get(key)!;
    const allocate = tensor.bytes <= SMALL_BYTES ? undefined : takeBuffer;
    hold(tensor, await this.stored.get(key)!.read(allocate));
  }
}
