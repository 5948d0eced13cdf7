import { RepfuseError } from '../errors';
import type { BlockGeometry } from '../families/branches';
import { type Padding, type Pair, toPadding4, toPair } from '../ops/geometry';
import { expectInteger } from './options';

/** Options that every block shares, in PyTorch's words. */
export interface BlockOptions {
  readonly inChannels: number;
  readonly outChannels: number;
  /** Default 3. */
  readonly kernelSize?: Pair | undefined;
  /** Default 1. */
  readonly stride?: Pair | undefined;
  /** Default: same, dilation * (kernelSize - 1) / 2. */
  readonly padding?: Padding | undefined;
  /** Default 1. */
  readonly dilation?: Pair | undefined;
  /** Default 1. */
  readonly groups?: number | undefined;
  /** Create the deploy form: one convolution. Default false. */
  readonly deploy?: boolean | undefined;
  /** BatchNorm eps: one value, or one by the BatchNorm's key prefix. Default 1e-5. */
  readonly eps?: number | Readonly<Record<string, number>> | undefined;
  /** Seed of the random initialisation. Default 0. */
  readonly seed?: number | undefined;
}

export const BLOCK_OPTIONS: readonly (keyof BlockOptions)[] = [
  'inChannels',
  'outChannels',
  'kernelSize',
  'stride',
  'padding',
  'dilation',
  'groups',
  'deploy',
  'eps',
  'seed',
];

/** @throws ERR_REPFUSE_INVALID_ARGUMENT */
export function resolveGeometry(options: BlockOptions): BlockGeometry {
  const inChannels = expectInteger(options.inChannels, 'inChannels');
  const outChannels = expectInteger(options.outChannels, 'outChannels');
  const groups = expectInteger(options.groups ?? 1, 'groups');
  if (inChannels % groups !== 0 || outChannels % groups !== 0) {
    throw new RepfuseError(
      'ERR_REPFUSE_INVALID_ARGUMENT',
      `Expected a divisor of ${inChannels} and ${outChannels} channels for groups but received ${groups}`,
    );
  }
  const kernel = toPair(options.kernelSize ?? 3, 'kernelSize');
  if (kernel.some((size) => size % 2 === 0)) {
    throw new RepfuseError(
      'ERR_REPFUSE_INVALID_ARGUMENT',
      `Expected an odd kernelSize, which has a centre, but received ${kernel.join('x')}`,
    );
  }
  const stride = toPair(options.stride ?? 1, 'stride');
  const dilation = toPair(options.dilation ?? 1, 'dilation');
  const same = [0, 1].map((axis) => (dilation[axis]! * (kernel[axis]! - 1)) / 2) as [number, number];
  return { kernel, stride, padding: toPadding4(options.padding ?? same), dilation, groups };
}

/** Whether the output has the input's channels and size, so that the input itself can be a branch. */
export function keepsShape(
  { inChannels, outChannels }: BlockOptions,
  { kernel, stride, padding, dilation }: BlockGeometry,
): boolean {
  const sameSize = [0, 1].every(
    (axis) =>
      padding[axis]! + padding[axis + 2]! === dilation[axis]! * (kernel[axis]! - 1) &&
      padding[axis] === padding[axis + 2],
  );
  return inChannels === outChannels && stride[0] === 1 && stride[1] === 1 && sameSize;
}
