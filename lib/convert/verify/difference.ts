import type { Tensor } from '../../tensor/tensor';

/** The largest difference of two float32 tensors. */
export interface Difference {
  readonly maxAbsolute: number;
  /** max |difference| over the peak that it is judged by. */
  readonly relative: number;
  /** Index of the largest difference along every axis. */
  readonly at: readonly number[];
}

/** max |value| of a float32 tensor, or of its items `begin` to `end` along the first axis. */
export function peakOf(tensor: Tensor, begin = 0, end = tensor.shape[0] ?? 1): number {
  const data = tensor.data as Float32Array;
  const item = data.length / (tensor.shape[0] ?? 1);
  let peak = 0;
  for (let i = begin * item; i < end * item; i++) peak = Math.max(peak, Math.abs(data[i]!));
  return peak;
}

/** The largest difference, relative to `peak`, within the items `begin` to `end`; NaN anywhere makes it infinite. */
export function differenceOf(
  expected: Tensor,
  got: Tensor,
  peak: number,
  begin = 0,
  end = expected.shape[0] ?? 1,
): Difference {
  const [want, have] = [expected.data as Float32Array, got.data as Float32Array];
  const item = want.length / (expected.shape[0] ?? 1);
  let maxAbsolute = 0;
  let index = begin * item;
  for (let i = begin * item; i < end * item; i++) {
    const difference = Math.abs(want[i]! - have[i]!);
    if (!(difference <= maxAbsolute)) {
      maxAbsolute = Number.isNaN(difference) ? Number.POSITIVE_INFINITY : difference;
      index = i;
    }
  }
  const comparable = peak > 0 && Number.isFinite(maxAbsolute);
  return { maxAbsolute, relative: comparable ? maxAbsolute / peak : maxAbsolute, at: unravel(index, expected.shape) };
}

function unravel(index: number, shape: readonly number[]): number[] {
  const at: number[] = [];
  let rest = index;
  for (const dim of [...shape].reverse()) {
    at.unshift(rest % dim);
    rest = Math.floor(rest / dim);
  }
  return at;
}
