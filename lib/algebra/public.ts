/// <reference lib="esnext.disposable" preserve="true" />
// `repfuse/algebra`: the transforms (the root's `algebra`), and what reads a branch and puts its stages after a convolution.
import '../platform-types';

export { inputChannels, scaleFactors, stageWeight, storedKernel } from '../ops/branch';
export { type AppendOptions, appendStages } from './from-branch';
export {
  type AddOptions,
  AffineConv,
  type AsyncMaterializeOptions,
  type AveragePoolOptions,
  type Axes,
  addBranches,
  alignTo,
  averagePool,
  type BranchSum,
  type ComposeOptions,
  type ConcatOptions,
  type ConvGeometry,
  type ConvOptions,
  composeSequential,
  concatOutputs,
  conv,
  type FromBranchOptions,
  foldBatchNorm,
  fromBranch,
  fromBranches,
  identity,
  type Materialized,
  type MaterializeOptions,
  materialize,
  materializeAsync,
  type NamedOptions,
  scale,
  shift,
  type TargetGrid,
} from './index';
