import { checkArgument } from '../arguments/check';
import { RepfuseError } from '../errors';
import { type Float32Tensor, formatShape, Tensor } from '../tensor/tensor';
import { PADDING, type Padding, type Padding4, toPadding4 } from './geometry';
import {
  type AsyncOpOptions,
  eagerOp,
  expectShape,
  NO_OTHER_OPTIONS,
  type OpOptions,
  type PreparedOp,
  prepare,
  run,
  runAsync,
  sizesOf,
} from './run';

export const PAD_BORDER = eagerOp('padBorder', preparePad, NO_OTHER_OPTIONS);
const CROP = eagerOp('crop', prepareCrop, NO_OTHER_OPTIONS);

/**
 * Adds a frame filled with one value per channel (DBB's BNAndPad fills it with what its BN makes of zero).
 * [N, C, H, W] -> [N, C, H + top + bottom, W + left + right].
 *
 * @param values [C]
 * @throws ERR_REPFUSE_SHAPE, ERR_REPFUSE_INVALID_ARGUMENT
 */
export const padBorder = PAD_BORDER.run;
/** `padBorder` on the pool. */
export const padBorderAsync = PAD_BORDER.runAsync;

/** Drops rows and columns at the edges: `sides` as a padding, all at least 0. @throws ERR_REPFUSE_SHAPE */
export const crop = CROP.run;
/** `crop` on the pool. */
export const cropAsync = CROP.runAsync;

/** `padBorder` whose sides may also be negative, which crop. */
export function frame(input: Tensor, values: Tensor, sides: Padding4, options: OpOptions = {}): Float32Tensor {
  return run(prepareFrame(input, values, sides, options));
}

/** `frame` on the pool. */
export async function frameAsync(
  input: Tensor,
  values: Tensor,
  sides: Padding4,
  options: OpOptions & AsyncOpOptions = {},
): Promise<Float32Tensor> {
  return runAsync(prepareFrame(input, values, sides, options), options);
}

function preparePad(options: OpOptions, input: Tensor, values: Tensor, padding: Padding): PreparedOp {
  return prepareFrame(input, values, nonNegative(padding, 'padding'), options);
}

function prepareCrop(options: OpOptions, input: Tensor, sides: Padding): PreparedOp {
  const dropped = nonNegative(sides, 'sides').map((side) => (side === 0 ? 0 : -side));
  return prepareFrame(input, Tensor.f32([sizesOf(input)[1]]), dropped, options);
}

function prepareFrame(input: Tensor, fill: Tensor, padding: readonly number[], options: OpOptions): PreparedOp {
  const [batch, channels, height, width] = sizesOf(input);
  expectShape(fill, 'values', [channels]);
  const [top, left, bottom, right] = padding as [number, number, number, number];
  const outSize = [height + top + bottom, width + left + right] as const;
  if (outSize[0] < 1 || outSize[1] < 1) {
    throw new RepfuseError(
      'ERR_REPFUSE_SHAPE',
      `Expected pixels to remain but received ${formatShape(padding)} for ${height}x${width}`,
    );
  }
  return prepare(
    'frame',
    { batch, channels, inSize: [height, width], origin: [top, left], outSize, input: input.data, fill: fill.data },
    Tensor.f32([batch, channels, ...outSize]),
    options,
  );
}

function nonNegative(padding: Padding, name: string): readonly number[] {
  const sides = toPadding4(checkArgument(name, PADDING, padding));
  if (sides.some((side) => side < 0)) {
    throw new RepfuseError(
      'ERR_REPFUSE_INVALID_ARGUMENT',
      `Expected integers of at least 0 for ${name} but received ${formatShape(sides)}`,
    );
  }
  return sides;
}
