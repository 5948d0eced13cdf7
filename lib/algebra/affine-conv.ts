import { checkArgument } from '../arguments/check';
import { listOf, type Schema, value } from '../arguments/schemas';
import { RepfuseError } from '../errors';
import { type Padding4, TWO, windowCount } from '../ops/geometry';
import type { Axes, BiasTerm, Chain } from './chain';

export interface ConvGeometry {
  readonly outChannels: number;
  readonly inChannels: number;
  /** `[vertical, horizontal]`, as stride and dilation. */
  readonly kernel: Axes;
  readonly stride: Axes;
  /** `[top, left, bottom, right]`, zeros; negative values crop the input. */
  readonly padding: Padding4;
  readonly dilation: Axes;
  readonly groups: number;
}

/** The value of an AffineConv: a sum of chains and constants, not evaluated. */
export interface ConvValue {
  readonly chains: readonly Chain[];
  /** Constant of each output channel. */
  readonly bias: Float64Array;
  /** Constants of inner maps. */
  readonly biasTerms: readonly BiasTerm[];
}

let isAffineConv: (given: unknown) => boolean;
const MAKER = Symbol('the maker of AffineConvs');

/**
 * One convolution with bias, as an unevaluated description: the operations of this room check that a rewrite is exact and
 * rewrite the description; `materialize` alone computes. It refers to the weight tensors it was made of (biases and
 * BatchNorm vectors are copied), so those must stay as they are until then.
 */
export class AffineConv implements ConvGeometry {
  readonly outChannels: number;
  readonly inChannels: number;
  readonly kernel: Axes;
  readonly stride: Axes;
  readonly padding: Padding4;
  readonly dilation: Axes;
  readonly groups: number;
  /** @internal */
  readonly value: ConvValue;
  /** Only what the constructor made has it. */
  readonly #isWhole = true;

  /** @internal Made by `conv`, `identity`, `averagePool` and the operations on them. */
  constructor(geometry: ConvGeometry, value: ConvValue, maker: symbol) {
    if (maker !== MAKER) {
      throw new RepfuseError(
        'ERR_REPFUSE_INVALID_ARGUMENT',
        'Expected conv, identity or averagePool for making an AffineConv but its constructor was called',
      );
    }
    this.outChannels = geometry.outChannels;
    this.inChannels = geometry.inChannels;
    this.kernel = geometry.kernel;
    this.stride = geometry.stride;
    this.padding = geometry.padding;
    this.dilation = geometry.dilation;
    this.groups = geometry.groups;
    this.value = value;
  }

  static {
    isAffineConv = (given) => typeof given === 'object' && given !== null && #isWhole in given;
  }

  /** Height and width of the output for an input of `[height, width]`. @throws ERR_REPFUSE_INVALID_ARGUMENT */
  outputSize(input: Axes): [number, number] {
    const size = checkArgument('input', TWO, input);
    return [0, 1].map((axis) => {
      const [before, after] = paddingOf(this, axis);
      return windowCount(size[axis]!, this.kernel[axis]!, this.stride[axis]!, before, after, this.dilation[axis]!);
    }) as [number, number];
  }
}

/** An AffineConv of this room. */
export function affineConv(geometry: ConvGeometry, value: ConvValue): AffineConv {
  return new AffineConv(geometry, value, MAKER);
}

export const AFFINE_CONV: Schema<AffineConv> = value('an AffineConv', isAffineConv);
export const AFFINE_CONVS = listOf(AFFINE_CONV);

/** Padding before and after along axis 0 (vertical) or 1 (horizontal). */
export function paddingOf({ padding }: { readonly padding: Padding4 }, axis: number): [before: number, after: number] {
  return [padding[axis]!, padding[axis + 2]!];
}

/** `f` of both axes. */
export function axes(f: (axis: number) => number): Axes {
  return [f(0), f(1)];
}

/** What decides the output size for every input: `pBefore + pAfter - d (k - 1)` along one axis. */
export function excess(conv: ConvGeometry, axis: number): number {
  const [before, after] = paddingOf(conv, axis);
  return before + after - conv.dilation[axis]! * (conv.kernel[axis]! - 1);
}
