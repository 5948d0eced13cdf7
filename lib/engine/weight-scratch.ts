import { newFloat32Array } from '../tensor/tensor';

/** Elements up to which memory grows to twice its size: each size would leave its array behind, and what is not written to takes no memory. */
const GROWN = 1 << 24;

/**
 * Memory that fused weights go through on their way into an engine, used again and again: two of them at a time, as one is copied while the
 * next is fused. Arrays of their own would stay until V8 collects them, as large as the network.
 */
export class WeightScratch {
  private readonly arrays = [new Float32Array(0), new Float32Array(0)];
  private turn = 0;

  /** Memory of so many elements, which may be taken again with the call after the next. @throws ERR_REPFUSE_SHAPE where there is no memory */
  take(elements: number): Float32Array {
    this.turn = 1 - this.turn;
    const { length } = this.arrays[this.turn]!;
    if (length < elements) this.arrays[this.turn] = newFloat32Array(Math.max(elements, Math.min(2 * length, GROWN)));
    return this.arrays[this.turn]!.subarray(0, elements);
  }
}
