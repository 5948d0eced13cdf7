// The root's `ops`: whatever stands here is public. What other rooms share is imported from its own file.
export {
  type AsyncUnaryOp,
  add,
  addAsync,
  hardswish,
  hardswishAsync,
  relu,
  reluAsync,
  sigmoid,
  sigmoidAsync,
  silu,
  siluAsync,
  softmax,
  softmaxAsync,
  type UnaryOp,
} from './activation';
export { type BatchNorm, batchNorm, batchNormAsync, normalizePixels, type PixelNormalization } from './batch-norm';
export { runBranch, runBranchAsync } from './branch';
export { concatChannels } from './concat';
export { type Conv2dOptions, conv2d, conv2dAsync } from './conv2d';
export { crop, cropAsync, padBorder, padBorderAsync } from './frame';
export type { Padding, Padding4, Pair } from './geometry';
export { linear, linearAsync } from './linear';
export {
  type AvgPool2dOptions,
  avgPool2d,
  avgPool2dAsync,
  globalAvgPool,
  globalAvgPoolAsync,
  type MaxPool2dOptions,
  maxPool2d,
  maxPool2dAsync,
} from './pool';
export type { AsyncOpOptions, OpOptions } from './run';
export { type SqueezeExcite, squeezeExcite, squeezeExciteAsync } from './squeeze-excite';
export type { Branch, ConvStage, ScaleStage, Stage } from './stages';
