import type { EpsChoice } from '../families';
import type { PixelNormalization } from '../ops';
import type { BinaryFunction, PadMode, ResizeOptions } from '../ops/tensor-op';

/** A convolutional network as a list of operators over tensors named by state dict keys. Plain JSON, stored in model files. */
export interface Graph {
  /** Id of the input, an image batch [N, C, H, W]. */
  readonly input: string;
  /** Id of the node that is the result. */
  readonly output: string;
  /** All results, `output` first, where there are several. */
  readonly outputs?: readonly string[];
  /** In an order in which they can run: every input is the graph's or an earlier node's. */
  readonly nodes: readonly GraphNode[];
  /** [C, H, W] of one image, where it is fixed. */
  readonly inputShape?: readonly [number, number, number];
  /** What to do to raw pixels first: (x * scale - mean) / std per channel. */
  readonly normalization?: PixelNormalization;
  /** Names of the output's classes. */
  readonly labels?: readonly string[];
}

type Two = readonly [number, number];
/** Vertical and horizontal, or top, left, bottom, right. */
type Sides = Two | readonly [number, number, number, number];

interface Node<Op extends string> {
  readonly id: string;
  readonly op: Op;
  readonly inputs: readonly string[];
}

export interface Conv2dNode extends Node<'conv2d'> {
  readonly weight: string;
  readonly bias: string | null;
  readonly stride: Two;
  readonly padding: Sides;
  /** As in PyTorch; no other is known. */
  readonly padding_mode?: 'zeros';
  readonly dilation: Two;
  readonly groups: number;
}

/** Weight [in, out / groups, kernel_h, kernel_w]. */
export interface ConvTranspose2dNode extends Node<'conv_transpose2d'> {
  readonly weight: string;
  readonly bias: string | null;
  readonly stride: Two;
  readonly padding: Sides;
  /** Rows and columns that are added at the bottom and right. */
  readonly output_padding: Two;
  readonly dilation: Two;
  readonly groups: number;
}

export interface BatchNormNode extends Node<'batch_norm'> {
  readonly prefix: string;
  readonly eps: number;
  readonly affine: boolean;
}

/** BN, then a frame of `pad` pixels filled with BN(0) of each channel. */
export interface BnPadNode extends Node<'bn_pad'> {
  readonly prefix: string;
  readonly eps: number;
  readonly affine: boolean;
  readonly pad: number;
}

/** 1x1 convolution with `weight` plus the identity. */
export interface IdentityConvNode extends Node<'identity_conv1x1'> {
  readonly weight: string;
  readonly groups: number;
}

interface Window {
  readonly kernel: Two;
  readonly stride: Two;
  readonly padding: Sides;
  readonly dilation?: Two;
  readonly ceil_mode?: boolean;
}

export interface AvgPoolNode extends Node<'avg_pool2d'>, Window {
  readonly count_include_pad: boolean;
}

export interface MaxPoolNode extends Node<'max_pool2d'>, Window {}

export interface LinearNode extends Node<'linear'> {
  readonly weight: string;
  readonly bias: string | null;
}

/** x * sigmoid(expand(relu(reduce(mean of x)))); `reduce` and `expand` are key prefixes of 1x1 convolutions. */
export interface SqueezeExciteNode extends Node<'squeeze_excite'> {
  readonly reduce: string;
  readonly expand: string;
  readonly activation: 'relu';
  readonly gate: 'sigmoid';
}

export interface CropNode extends Node<'crop'> {
  /** Dropped at the top and bottom. */
  readonly rows: Two;
  /** Dropped at the left and right. */
  readonly cols: Two;
}

/** Operators without parameters. `add` takes two inputs of one shape, the others one. */
export interface PlainNode extends Node<PlainOp> {}
export type PlainOp = 'add' | 'global_avg_pool' | 'hardswish' | 'relu' | 'sigmoid' | 'silu';

/** [axes before `axis`, the rest]. Default axis 1. */
export interface FlattenNode extends Node<'flatten'> {
  readonly axis?: number;
}

/** Along `axis` (default 1); `joint`: over it and all after it. */
export interface SoftmaxNode extends Node<'softmax'> {
  readonly axis?: number;
  readonly joint?: boolean;
}

export interface TanhNode extends Node<'tanh'> {}

/** Of two inputs, as numpy's. */
export interface MatMulNode extends Node<'matmul'> {}

/** x < 0 ? slope x : x. */
export interface LeakyReluNode extends Node<'leaky_relu'> {
  readonly slope: number;
}

/** null: no bound. */
export interface ClipNode extends Node<'clip'> {
  readonly min: number | null;
  readonly max: number | null;
}

/** alpha x + beta, clipped to [0, 1]. */
export interface HardSigmoidNode extends Node<'hard_sigmoid'> {
  readonly alpha: number;
  readonly beta: number;
}

/** Of two inputs, or of one and a tensor (which is the first operand where `constant_first` says so); shapes meet as numpy's do. */
export interface BinaryNode extends Node<'binary'> {
  readonly function: BinaryFunction;
  readonly constant?: string;
  readonly constant_first?: boolean;
}

/** A tensor of the state dict as a value. */
export interface ConstantNode extends Node<'constant'> {
  readonly tensor: string;
}

export interface ConcatNode extends Node<'concat'> {
  readonly axis: number;
}

export interface TransposeNode extends Node<'transpose'> {
  readonly perm: readonly number[];
}

/** For each axis; negative places count from the end, those beyond it are the end. */
export interface SliceNode extends Node<'slice'> {
  readonly starts: readonly number[];
  readonly ends: readonly number[];
  readonly steps: readonly number[];
}

/** For each axis. */
export interface PadNode extends Node<'pad'> {
  readonly before: readonly number[];
  readonly after: readonly number[];
  readonly mode: PadMode;
  readonly value: number;
  /** In place of `value`: one for each channel, around images. */
  readonly fill?: string;
}

/** 0: as the input's axis of that place; -1: what remains. */
export interface ReshapeNode extends Node<'reshape'> {
  readonly shape: readonly number[];
}

/** Axes of the input. */
export interface SqueezeNode extends Node<'squeeze'> {
  readonly axes: readonly number[];
}

/** Axes of the result. */
export interface UnsqueezeNode extends Node<'unsqueeze'> {
  readonly axes: readonly number[];
}

export interface ReduceMeanNode extends Node<'reduce_mean'> {
  readonly axes: readonly number[];
  readonly keepdims: boolean;
}

/** Of height and width, as ONNX's Resize; of two inputs to the size of the second. */
export interface ResizeNode extends Node<'resize'>, ResizeOptions {}

/** Channels are [block_h, block_w, C] (or [C, block_h, block_w], `channels_first`). */
export interface DepthToSpaceNode extends Node<'depth_to_space'> {
  readonly block: Two;
  readonly channels_first: boolean;
}

/** Operators on tensors of any rank, which ONNX models hold. */
export type TensorNode =
  | BinaryNode
  | ClipNode
  | ConcatNode
  | DepthToSpaceNode
  | HardSigmoidNode
  | LeakyReluNode
  | MatMulNode
  | PadNode
  | ReduceMeanNode
  | ReshapeNode
  | ResizeNode
  | SliceNode
  | SqueezeNode
  | TanhNode
  | TransposeNode
  | UnsqueezeNode;

export type GraphNode =
  | AvgPoolNode
  | BatchNormNode
  | BnPadNode
  | ConstantNode
  | Conv2dNode
  | ConvTranspose2dNode
  | CropNode
  | FlattenNode
  | IdentityConvNode
  | LinearNode
  | MaxPoolNode
  | PlainNode
  | SoftmaxNode
  | SqueezeExciteNode
  | TensorNode;

/** Ids of all results. */
export function outputsOf({ output, outputs }: Graph): readonly string[] {
  return outputs ?? [output];
}

/** The nodes from which a path leads to one of the results, in their order. */
export function nodesFor<Item extends Pick<GraphNode, 'id' | 'inputs'>>(
  nodes: readonly Item[],
  results: readonly string[],
): Item[] {
  const read = new Set(results);
  const needed = [...nodes].reverse().filter(({ id, inputs }) => {
    if (!read.has(id)) return false;
    for (const input of inputs) read.add(input);
    return true;
  });
  return needed.reverse();
}

/** State dict keys that a node reads. */
export function nodeKeys(node: GraphNode): string[] {
  switch (node.op) {
    case 'conv2d':
    case 'conv_transpose2d':
    case 'linear':
      return node.bias === null ? [node.weight] : [node.weight, node.bias];
    case 'identity_conv1x1':
      return [node.weight];
    case 'binary':
      return node.constant === undefined ? [] : [node.constant];
    case 'constant':
      return [node.tensor];
    case 'pad':
      return node.fill === undefined ? [] : [node.fill];
    case 'batch_norm':
    case 'bn_pad': {
      const affine = node.affine ? [`${node.prefix}.weight`, `${node.prefix}.bias`] : [];
      return [...affine, `${node.prefix}.running_mean`, `${node.prefix}.running_var`];
    }
    case 'squeeze_excite':
      return [node.reduce, node.expand].flatMap((prefix) => [`${prefix}.weight`, `${prefix}.bias`]);
    default:
      return [];
  }
}

/** What the graph says of a BatchNorm's eps, by key prefix, in the way that `detectBlocks` asks for it. */
export function batchNormEps({ nodes }: Graph): (batchNorm: string) => EpsChoice | undefined {
  const known = new Map<string, EpsChoice>();
  for (const node of nodes) {
    if (node.op === 'batch_norm' || node.op === 'bn_pad') known.set(node.prefix, { value: node.eps, source: 'graph' });
  }
  return (batchNorm) => known.get(batchNorm);
}
