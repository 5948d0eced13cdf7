import { Tensor } from '../tensor/tensor';
import { giveBuffer, takeBuffer } from './files/buffer-pool';
import type { Allocate, ReadMeter } from './files/random-access';
import type { Checkpoint, StateDict } from './state-dict';
import { bytesOfStored, deferredTensor, hold, letGo, type StoredTensor } from './stored-tensor';

/** Elements up to so many bytes are read at once: BatchNorm vectors, biases. */
const SMALL_BYTES = 1 << 16;
const AT_A_TIME = 16;
const DONE = Promise.resolve();

/** A checkpoint whose large tensors stay in the file until they are asked for. */
export class OpenCheckpoint {
  readonly checkpoint: Checkpoint;
  private readonly loaded = new Map<string, Promise<void>>();

  constructor(
    about: Omit<Checkpoint, 'tensors'>,
    private readonly stored: ReadonlyMap<string, StoredTensor>,
    readonly meter: ReadMeter,
  ) {
    const tensors = new Map<string, Tensor>();
    for (const [key, item] of stored) {
      const data = bytesOfStored(item) <= SMALL_BYTES ? item.readNow?.() : undefined;
      if (data !== undefined) this.loaded.set(key, DONE);
      tensors.set(key, data === undefined ? deferredTensor(key, item) : new Tensor(item.dtype, item.shape, data));
    }
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
      if (known !== DONE) await known;
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
    const keys = [...this.tensors.keys()].filter(
      (key) => !this.loaded.has(key) && this.tensors.get(key)!.bytes <= SMALL_BYTES,
    );
    // A few at a time, in file order: most of the time goes into waiting.
    for (let i = 0; i < keys.length; i += AT_A_TIME)
      await Promise.all(keys.slice(i, i + AT_A_TIME).map((key) => this.load([key])));
  }

  /** Of a file in memory: whether the elements are there now. */
  private readNow(key: string): boolean {
    const tensor = this.tensors.get(key)!;
    const data = this.stored.get(key)!.readNow?.(allocateFor(tensor));
    if (data === undefined) return false;
    hold(tensor, data);
    this.loaded.set(key, DONE);
    return true;
  }

  private async read(key: string): Promise<void> {
    if (this.readNow(key)) return;
    const tensor = this.tensors.get(key)!;
    hold(tensor, await this.stored.get(key)!.read(allocateFor(tensor)));
  }
}

function allocateFor({ bytes }: Tensor): Allocate | undefined {
  return bytes <= SMALL_BYTES ? undefined : takeBuffer;
}
