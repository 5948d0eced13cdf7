import { ACTIVATIONS, type ActivationNode } from './activations';
import { type AddNode, add } from './add';
import { type BatchNormNode, type BnPadNode, batchNorm, bnPad } from './batch-norm';
import { type BinaryNode, binary } from './binary';
import { type ConcatNode, concat } from './concat';
import { type ConstantNode, constant } from './constant';
import { type ConvTranspose2dNode, convTranspose2d } from './conv-transpose2d';
import { type Conv2dNode, conv2d, type IdentityConvNode, identityConv } from './conv2d';
import { type CropNode, crop } from './crop';
import { type CumSumNode, cumSum } from './cum-sum';
import { type DepthToSpaceNode, depthToSpace, type SpaceToDepthNode, spaceToDepth } from './depth-to-space';
import { type NonMaxSuppressionNode, type NonZeroNode, nonMaxSuppression, nonZero } from './detections';
import { type ExpandNode, expand } from './expand';
import { type FlattenNode, flatten } from './flatten';
import { type GridSampleNode, gridSample } from './grid-sample';
import {
  type GatherElementsNode,
  type GatherNdNode,
  type GatherNode,
  gather,
  gatherElements,
  gatherNd,
  type ScatterElementsNode,
  type ScatterNdNode,
  scatterElements,
  scatterNd,
} from './indexing';
import { type LinearNode, linear } from './linear';
import { type MatMulNode, matmul } from './matmul';
import type { Operator } from './operator';
import { type PadNode, pad } from './pad';
import {
  type AvgPoolNode,
  avgPool2d,
  type GlobalAvgPoolNode,
  globalAvgPool,
  type LpPoolNode,
  lpPool2d,
  type MaxPoolNode,
  maxPool2d,
} from './pooling';
import { type RecurrentNode, recurrent } from './recurrent';
import { type ReduceNode, reduce } from './reduce';
import { type ReshapeNode, reshape } from './reshape';
import { type ResizeNode, resize } from './resize';
import { type SelectChannelsNode, selectChannels } from './select-channels';
import { type SizesNode, sizes } from './sizes';
import { type SliceNode, slice } from './slice';
import { type SoftmaxNode, softmax } from './softmax';
import { type SqueezeNode, squeeze, type UnsqueezeNode, unsqueeze } from './squeeze';
import { type SqueezeExciteNode, squeezeExcite } from './squeeze-excite';
import { type TopPlacesNode, topPlaces } from './top-places';
import { type TransposeNode, transpose } from './transpose';
import { type TriluNode, trilu } from './trilu';
import { type WhereNode, where } from './where';

export type * from './activations';
export type * from './add';
export type * from './batch-norm';
export type * from './binary';
export type * from './concat';
export type * from './constant';
export type * from './conv-transpose2d';
export type * from './conv2d';
export type * from './crop';
export type * from './cum-sum';
export type * from './depth-to-space';
export type * from './detections';
export type * from './expand';
export type * from './flatten';
export type * from './grid-sample';
export type * from './indexing';
export type * from './linear';
export type * from './matmul';
export type * from './pad';
export type * from './pooling';
export type * from './recurrent';
export type * from './reduce';
export type * from './reshape';
export type * from './resize';
export type * from './select-channels';
export type * from './sizes';
export type * from './slice';
export type * from './softmax';
export type * from './squeeze';
export type * from './squeeze-excite';
export type * from './top-places';
export type * from './transpose';
export type * from './trilu';
export type * from './where';

export type GraphNode =
  | ActivationNode
  | AddNode
  | AvgPoolNode
  | BatchNormNode
  | BinaryNode
  | BnPadNode
  | ConcatNode
  | ConstantNode
  | Conv2dNode
  | ConvTranspose2dNode
  | CropNode
  | CumSumNode
  | DepthToSpaceNode
  | ExpandNode
  | FlattenNode
  | GatherElementsNode
  | GatherNdNode
  | GatherNode
  | GlobalAvgPoolNode
  | GridSampleNode
  | IdentityConvNode
  | LinearNode
  | LpPoolNode
  | MatMulNode
  | MaxPoolNode
  | NonMaxSuppressionNode
  | NonZeroNode
  | PadNode
  | RecurrentNode
  | ReduceNode
  | ReshapeNode
  | ResizeNode
  | ScatterElementsNode
  | ScatterNdNode
  | SelectChannelsNode
  | SizesNode
  | SliceNode
  | SoftmaxNode
  | SpaceToDepthNode
  | SqueezeExciteNode
  | SqueezeNode
  | TopPlacesNode
  | TransposeNode
  | TriluNode
  | UnsqueezeNode
  | WhereNode;

/** All operators, by the `op` of their nodes; the compiler sees that none is missing and each is under its own name. */
export const OPERATORS: { readonly [Op in GraphNode['op']]: Operator<Extract<GraphNode, { readonly op: Op }>> } = {
  conv2d,
  conv_transpose2d: convTranspose2d,
  batch_norm: batchNorm,
  bn_pad: bnPad,
  identity_conv1x1: identityConv,
  avg_pool2d: avgPool2d,
  max_pool2d: maxPool2d,
  lp_pool2d: lpPool2d,
  linear,
  squeeze_excite: squeezeExcite,
  crop,
  add,
  flatten,
  global_avg_pool: globalAvgPool,
  ...ACTIVATIONS,
  softmax,
  binary,
  constant,
  concat,
  transpose,
  select_channels: selectChannels,
  sizes,
  slice,
  pad,
  reshape,
  squeeze,
  unsqueeze,
  reduce,
  matmul,
  resize,
  depth_to_space: depthToSpace,
  space_to_depth: spaceToDepth,
  expand,
  gather,
  gather_elements: gatherElements,
  gather_nd: gatherNd,
  scatter_elements: scatterElements,
  scatter_nd: scatterNd,
  cum_sum: cumSum,
  grid_sample: gridSample,
  recurrent,
  non_max_suppression: nonMaxSuppression,
  non_zero: nonZero,
  where,
  top_places: topPlaces,
  trilu,
};

/** The record of a node's operator. */
export function operatorOf<N extends GraphNode>({ op }: N): Operator<N> {
  return OPERATORS[op] as unknown as Operator<N>;
}
