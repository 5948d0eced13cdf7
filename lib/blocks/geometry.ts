import { BOOLEAN, integer, optional } from '../arguments/schemas';
import { RepfuseError } from '../errors';
import type { BlockGeometry } from '../families/branches';
import { CHANNELS, PADDING, PAIR, type Padding, type Pair, toPadding4, toPair } from '../ops/geometry';
import { EPS, type Eps } from './eps';

/** Options that every block shares, in PyTorch's words. */
export interface BlockOptions {
  readonly inChannels: number;
  readonly outChannels: number;
  /** Odd. Default 3. */
  readonly kernelSize?: Pair | undefined;
  /** Default 1. */
  readonly stride?: Pair | undefined;
  /** Default: same, dilation * (kernelSize - 1) / 2. */
  readonly padding?: Padding | undefined;
  /** Default 1. */
  readonly dilation?: Pair | undefined;
  /** Default 1. */
  readonly groups?: number | undefined;
  /** Whether the BatchNorms have weight and bias. Default true. */
  readonly affine?: boolean | undefined;
  /** BatchNorm eps: one value, or one by the BatchNorm's key prefix. Default 1e-5. */
  readonly eps?: Eps | undefined;
  /** Create the deploy form: one convolution. Default false. */
  readonly deploy?: boolean | undefined;
  /** Seed of the random initialisation: the same seed gives the same values everywhere. Default 0. */
  readonly seed?: number | undefined;
}

/** Schemas of `BlockOptions`. */
export const BLOCK_OPTIONS = {
  inChannels: CHANNELS,
  outChannels: CHANNELS,
  kernelSize: optional(PAIR),
  stride: optional(PAIR),
  padding: optional(PADDING),
  dilation: optional(PAIR),
  groups: optional(CHANNELS),
  affine: optional(BOOLEAN),
  eps: optional(EPS),
  deploy: optional(BOOLEAN),
  seed: optional(integer(0)),
} as const;

/** @throws ERR_REPFUSE_INVALID_ARGUMENT */
export function resolveGeometry(options: BlockOptions): BlockGeometry {
  const { inChannels, outChannels, groups = 1 } = options;
  if (inChannels % groups !== 0 || outChannels % groups !== 0) {
    throw new RepfuseError(
      'ERR_REPFUSE_INVALID_ARGUMENT',
      `Expected a divisor of ${inChannels} and ${outChannels} channels for groups but received ${groups}`,
    );
  }
  const kernel = toPair(options.kernelSize ?? 3);
  if (kernel.some((size) => size % 2 === 0)) {
    throw new RepfuseError(
      'ERR_REPFUSE_INVALID_ARGUMENT',
      `Expected an odd kernelSize, which has a centre, but received ${kernel.join('x')}`,
    );
  }
  const stride = toPair(options.stride ?? 1);
  const dilation = toPair(options.dilation ?? 1);
  const same = [0, 1].map((axis) => (dilation[axis]! * (kernel[axis]! - 1)) / 2) as [number, number];
  return { kernel, stride, padding: toPadding4(options.padding ?? same), dilation, groups };
}

/** Whether the output has the input's channels and size, so that the input itself can be a branch. */
export function keepsShape(
  { inChannels, outChannels }: Pick<BlockOptions, 'inChannels' | 'outChannels'>,
  { kernel, stride, padding, dilation }: BlockGeometry,
): boolean {
  const isCentred = [0, 1].every((axis) => {
    const same = (dilation[axis]! * (kernel[axis]! - 1)) / 2;
    return padding[axis] === same && padding[axis + 2] === same;
  });
  return inChannels === outChannels && stride[0] === 1 && stride[1] === 1 && isCentred;
}
