export { addBranches, alignTo } from './add';
export { AffineConv, type ConvGeometry } from './affine-conv';
export { type AveragePoolOptions, averagePool } from './average-pool';
export { foldBatchNorm, scale, shift } from './batch-norm';
export { type ComposeOptions, composeSequential } from './compose';
export { concatOutputs } from './concat';
export { type ConvOptions, conv, identity } from './conv';
export { appendStages, type BranchSum, type FromBranchOptions, fromBranch, fromBranches } from './from-branch';
export { type Materialized, type MaterializeOptions, materialize, materializeAsync } from './materialize';
