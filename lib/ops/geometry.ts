import { integer, isListOf, type Schema, value } from '../arguments/schemas';
import { floorOf, type Size, type SizeLike, sum } from '../sizes/size';

/** `[vertical, horizontal]`, or one number for both, as PyTorch's options take. */
export type Pair = number | readonly [number, number];
/** `[top, left, bottom, right]`. */
export type Padding4 = readonly [number, number, number, number];
/** One number, `[vertical, horizontal]` (PyTorch's words), or every side. Negative values crop the input. */
export type Padding = Pair | Padding4;

/** Far beyond any image, and exact when multiplied by another. */
const MAX_CHANNELS = 2 ** 24;
/** The largest kernel, stride, padding or dilation: also that of graphs, and of ONNX in 32 bits. Their products are only compared with sizes. */
const LARGEST = 2 ** 31 - 1;

function areWithin(list: unknown, lengths: readonly number[], least: number): boolean {
  return Array.isArray(list) && lengths.includes(list.length) && isListOf(list, (item) => isWithin(item, least));
}

function isWithin(item: unknown, least: number): boolean {
  return Number.isSafeInteger(item) && (item as number) >= least && (item as number) <= LARGEST;
}

/** A number of channels, or of groups of them. */
export const CHANNELS = integer(1, MAX_CHANNELS);

/** A kernel, stride or dilation. */
export const PAIR: Schema<Pair> = value(
  'an integer of at least 1, or two,',
  (pair) => isWithin(pair, 1) || areWithin(pair, [2], 1),
);

export const PADDING: Schema<Padding> = value(
  'an integer, two or four',
  (padding) => isWithin(padding, -LARGEST) || areWithin(padding, [2, 4], -LARGEST),
);

/** The padding of a stage, which tells every side. */
export const PADDING4: Schema<Padding4> = value('four integers', (padding) => areWithin(padding, [4], -LARGEST));
export const TWO: Schema<readonly [number, number]> = value('two integers of at least 1', (pair) =>
  areWithin(pair, [2], 1),
);

/** `[vertical, horizontal]` of a checked option. */
export function toPair(pair: Pair): readonly [number, number] {
  return typeof pair === 'number' ? [pair, pair] : pair;
}

/** `[top, left, bottom, right]` of a checked padding. */
export function toPadding4(padding: Padding): Padding4 {
  const [top, left, bottom = top, right = left] = (
    typeof padding === 'number' ? [padding, padding] : padding
  ) as readonly [number, number, number?, number?];
  return [top, left, bottom, right];
}

/** Output size of a window that slides along one axis: `floor((size + before + after - dilation (kernel - 1) - 1) / stride) + 1`. */
export function windowCount<S extends Size>(
  size: S,
  kernel: number,
  stride: number,
  before: number,
  after: number,
  dilation: number,
): SizeLike<S> {
  const free = sum(size, before + after - dilation * (kernel - 1) - 1);
  return sum(floorOf(free, stride), 1) as SizeLike<S>;
}
