import type { Tensor } from '../tensor/tensor';
import type { Padding4 } from './geometry';

/** Running statistics and affine parameters of a BatchNorm in evaluation: missing weight is 1, missing bias 0. All [C]. */
export interface BatchNorm {
  readonly runningMean: Tensor;
  readonly runningVar: Tensor;
  readonly weight?: Tensor | null;
  readonly bias?: Tensor | null;
  readonly eps: number;
}

/** Plain convolution stage: weight OIHW [O, I/groups, kh, kw], bias [O]. */
export interface ConvStage {
  readonly kind: 'conv2d';
  readonly weight: Tensor;
  readonly bias?: Tensor | null;
  readonly stride: readonly [number, number];
  /** Negative values crop the input (ACNet with padding < K // 2). */
  readonly padding: Padding4;
  readonly dilation: readonly [number, number];
  readonly groups: number;
  /** The stored 1x1 kernel is only the difference to the identity (DBB's idconv1): the real kernel is weight + I. */
  readonly plusIdentity?: boolean;
}

/**
 * One affine step of a branch. `pad_border` adds a frame filled with what the stages before it yield for zero input
 * (DBB's BNAndPad), which is what makes a padded 1x1-KxK pair exact.
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
  | { readonly kind: 'scale'; readonly scale: Tensor };

/**
 * A branch is data: a chain of affine stages with their tensors, input first. `ops` run it as it stands (training form),
 * `algebra` turns it into one AffineConv (deploy form). An empty chain is the identity.
 */
export interface Branch {
  /** Name in the block, such as `rbr_dense`; used in messages and reports. */
  readonly name: string;
  readonly stages: readonly Stage[];
}
