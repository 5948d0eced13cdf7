import { RepfuseError } from '../errors';

/** `[vertical, horizontal]`, or one number for both, as PyTorch's options take. */
export type Pair = number | readonly [number, number];
/** `[top, left, bottom, right]`. */
export type Padding4 = readonly [number, number, number, number];
/** One number, `[vertical, horizontal]` (PyTorch's words), or every side. Negative values crop the input. */
export type Padding = Pair | Padding4;

/** `[vertical, horizontal]` of an option. @throws ERR_REPFUSE_INVALID_ARGUMENT unless integers of at least `minimum`. */
export function toPair(value: Pair, name: string, minimum = 1): readonly [number, number] {
  const pair: readonly number[] = typeof value === 'number' ? [value, value] : value;
  if (pair.length !== 2 || !pair.every((v) => Number.isSafeInteger(v) && v >= minimum)) {
    throw new RepfuseError(
      'ERR_REPFUSE_INVALID_ARGUMENT',
      `Expected an integer of at least ${minimum}, or two, for ${name} but received ${JSON.stringify(value)}`,
    );
  }
  return pair as readonly [number, number];
}

/** `[top, left, bottom, right]` of a padding option. @throws ERR_REPFUSE_INVALID_ARGUMENT unless 1, 2 or 4 integers. */
export function toPadding4(value: Padding, name = 'padding'): Padding4 {
  const sides: readonly number[] = typeof value === 'number' ? [value, value] : value;
  if (![2, 4].includes(sides.length) || !sides.every((v) => Number.isSafeInteger(v))) {
    throw new RepfuseError(
      'ERR_REPFUSE_INVALID_ARGUMENT',
      `Expected an integer, two or four for ${name} but received ${JSON.stringify(value)}`,
    );
  }
  const [top, left, bottom = top, right = left] = sides as [number, number, number?, number?];
  return [top, left, bottom, right];
}

/** Output size of a window that slides along one axis: `floor((size + before + after - dilation (kernel - 1) - 1) / stride) + 1`. */
export function windowCount(
  size: number,
  kernel: number,
  stride: number,
  before: number,
  after: number,
  dilation: number,
): number {
  return Math.floor((size + before + after - dilation * (kernel - 1) - 1) / stride) + 1;
}
