/// <reference lib="esnext.disposable" preserve="true" />
// `repfuse/graph`: work on graphs. What other rooms call with what they know to be right is here for those who call from outside:
// the same, the arguments checked first.
import '../platform-types';
import { checkArgument } from '../arguments/check';
import { listOf, membersOf, TEXT, TEXTS } from '../arguments/schemas';
import type { EpsChoice } from '../families';
import { BRANCHES, STAGES } from '../ops/branch-schema';
import { checkStubs, type TensorStub } from '../tensor/schemas';
import { deployGraph as deploy, type FusedBlock } from './deploy';
import type { InputShapes } from './edges';
import { batchNormEps as epsFrom, type Graph } from './graph';
import { parseGraph } from './parse';
import { inferShapes as infer } from './shapes';

export type { PixelNormalization } from '../ops';
export type { BinaryFunction, PadMode, Reduction, ResizeOptions } from '../ops/tensor-op';
export type { ForInputs, InputShapes, InputTensors } from './edges';
export { evaluate, evaluateAsync, normalizeInput } from './evaluate';
export type {
  ActivationNode,
  AddNode,
  AvgPoolNode,
  BatchNormNode,
  BinaryNode,
  BnPadNode,
  CeluNode,
  ClipNode,
  ConcatNode,
  ConstantNode,
  Conv2dNode,
  ConvTranspose2dNode,
  CropNode,
  CumSumNode,
  DepthToSpaceNode,
  EluNode,
  ExpandNode,
  FlattenNode,
  GatherElementsNode,
  GatherNdNode,
  GatherNode,
  GlobalAvgPoolNode,
  Graph,
  GraphInput,
  GraphNode,
  GridSampleNode,
  HardSigmoidNode,
  IdentityConvNode,
  IsInfNode,
  LeakyReluNode,
  LinearNode,
  LpPoolNode,
  MatMulNode,
  MaxPoolNode,
  NodeOf,
  NodeSize,
  NonMaxSuppressionNode,
  NonZeroNode,
  PadNode,
  PlainFunction,
  RecurrentNode,
  ReduceNode,
  ReshapeNode,
  ResizeNode,
  ScatterElementsNode,
  ScatterNdNode,
  SelectChannelsNode,
  SeluNode,
  ShrinkNode,
  SizesNode,
  SliceNode,
  SoftmaxNode,
  SpaceToDepthNode,
  SqueezeExciteNode,
  SqueezeNode,
  ThresholdedReluNode,
  TopPlacesNode,
  TransposeNode,
  TriluNode,
  UnsqueezeNode,
  WhereNode,
} from './graph';
export type { Model } from './model';
export { graphMetadata, readGraphMetadata } from './model-file';
export { type ExportOnnxOptions, exportOnnx } from './onnx';
export type { BatchNormFields } from './operators/batch-norm';
export type { ScatterFunction } from './operators/indexing';
export type { Sides, Two } from './operators/operator';
export type { PoolingWindow } from './operators/pooling';
export type { FusedBlock, TensorStub };
export { parseGraph };

const DEPLOY_KEYS = membersOf<FusedBlock['deployKeys']>()({ weight: TEXT, bias: TEXT });
const BLOCKS = listOf(
  membersOf<FusedBlock>()({
    prefix: TEXT,
    anchorKey: TEXT,
    trainKeys: TEXTS,
    deployKeys: DEPLOY_KEYS,
    branches: BRANCHES,
    after: STAGES,
  }),
);

/**
 * Shape of every node's result, by id, for an input of `inputShape` [N, C, H, W]; of several inputs, or others, for their shapes by name.
 * Every tensor that a node reads is checked against it: there, floating-point, of the right shape. Of a result whose size the data tell it
 * is the largest that it can have; what is behind such a result has none.
 *
 * @throws ERR_REPFUSE_GRAPH naming the node whose weights are missing or whose input does not fit; ERR_REPFUSE_SHAPE if
 *   `inputShape` is no shape, or not what the graph's `inputs` say; ERR_REPFUSE_INVALID_ARGUMENT
 */
export function inferShapes(
  graph: Graph,
  inputShape: InputShapes,
  tensors: ReadonlyMap<string, TensorStub>,
): Map<string, readonly number[]> {
  return infer(parseGraph(graph), inputShape, checkStubs('tensors', tensors));
}

/**
 * The graph of the deploy form: every fused block's branches replaced by one convolution, which keeps the id of the sum that it
 * replaces. Geometry is that of the block's main convolution. Blocks of which the graph holds nothing (an auxiliary head) are
 * passed over.
 *
 * @throws ERR_REPFUSE_GRAPH naming the block whose nodes are not one piece of the graph with one input and one output, or do
 *   not sum the very branches that were fused (another eps, a branch more or less); ERR_REPFUSE_INVALID_ARGUMENT
 */
export function deployGraph(graph: Graph, blocks: readonly FusedBlock[]): Graph {
  return deploy(parseGraph(graph), checkArgument('blocks', BLOCKS, blocks));
}

/** What a graph says of a BatchNorm's eps, by key prefix, in the way that `detectBlocks` asks for it. @throws ERR_REPFUSE_GRAPH */
export function batchNormEps(graph: Graph): (batchNorm: string) => EpsChoice | undefined {
  return epsFrom(parseGraph(graph));
}
