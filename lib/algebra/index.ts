// The root's `algebra`: whatever stands here is public. What other rooms share is imported from its own file.
export { type AddOptions, addBranches, alignTo, type TargetGrid } from './add';
export { AffineConv, type ConvGeometry } from './affine-conv';
export { type AveragePoolOptions, averagePool } from './average-pool';
export { foldBatchNorm, type NamedOptions, scale, shift } from './batch-norm';
export type { Axes } from './chain';
export { type ComposeOptions, composeSequential } from './compose';
export { type ConcatOptions, concatOutputs } from './concat';
export { type ConvOptions, conv, identity } from './conv';
export { type BranchSum, type FromBranchOptions, fromBranch, fromBranches } from './from-branch';
export {
  type AsyncMaterializeOptions,
  type Materialized,
  type MaterializeOptions,
  materialize,
  materializeAsync,
} from './materialize';
