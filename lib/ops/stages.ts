import type { Tensor } from '../tensor/tensor';
import type { BatchNorm } from './batch-norm';
import type { Padding4 } from './geometry';

/** Plain convolution stage: weight OIHW [O, I/groups, kh, kw] (or a linear layer's [O, I], which is 1x1), bias [O]. */
export interface ConvStage {
  readonly kind: 'conv2d';
  readonly weight: Tensor;
  readonly bias?: Tensor | null;
  readonly stride: readonly [number, number];
  /** Negative values crop the input (ACNet with padding < K // 2). */
  readonly padding: Padding4;
  readonly dilation: readonly [number, number];
  readonly groups: number;
  /**
   * The weight holds the taps of a depthwise kernel alone: [kh, kw], the same for each of so many channels, or [C, kh, kw].
   */
  readonly taps?: number | undefined;
  /** The stored 1x1 kernel is only the difference to the identity (DBB's idconv1): the real kernel is weight + I. */
  readonly plusIdentity?: boolean;
}

/**
 * One affine step of a branch. `pad_border` adds a frame filled with what the stage before it makes of zero: BN(0) as DBB's BNAndPad
 * does, the bias of a convolution as ECB does. That makes a padded 1x1-KxK pair exact, where nothing before that stage shifts zero.
 */
export type Stage =
  | ConvStage
  | ({ readonly kind: 'batch_norm' } & BatchNorm)
  | { readonly kind: 'pad_border'; readonly padding: Padding4 }
  | {
      readonly kind: 'avg_pool2d';
      readonly kernel: readonly [number, number];
      readonly stride: readonly [number, number];
      readonly padding: Padding4;
      readonly countIncludePad: boolean;
    }
  | ScaleStage
  | { readonly kind: 'bias'; readonly bias: Tensor };

/** Multiplication by one value, or one per channel: alpha, a layer scale. */
export interface ScaleStage {
  readonly kind: 'scale';
  /** null: 1. */
  readonly scale: Tensor | null;
  /** The factors are this row of a matrix [rows, C]. */
  readonly row?: number | undefined;
  /** The factor's sign is turned. Default false. */
  readonly negative?: boolean;
  /** The code asks `if alpha`, so that a single factor of exactly 0 acts as 1. Default false. */
  readonly zeroIsOne?: boolean;
}

/**
 * A branch is data: a chain of affine stages with their tensors, input first. `ops` run it as it stands (training form),
 * `algebra` turns it into one AffineConv (deploy form). An empty chain is the identity.
 */
export interface Branch {
  /** Name in the block, such as `rbr_dense`; used in messages and reports. */
  readonly name: string;
  readonly stages: readonly Stage[];
}
