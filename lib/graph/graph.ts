import type { EpsChoice } from '../families';
import type { PixelNormalization } from '../ops';

/** A convolutional network as a list of operators over tensors named by state dict keys. Plain JSON, stored in model files. */
export interface Graph {
  /** Id of the input, an image batch [N, C, H, W]. */
  readonly input: string;
  /** Id of the node that is the result. */
  readonly output: string;
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

interface Node<Op extends string> {
  readonly id: string;
  readonly op: Op;
  readonly inputs: readonly string[];
}

export interface Conv2dNode extends Node<'conv2d'> {
  readonly weight: string;
  readonly bias: string | null;
  readonly stride: Two;
  readonly padding: Two;
  /** As in PyTorch; no other is known. */
  readonly padding_mode?: 'zeros';
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

export interface AvgPoolNode extends Node<'avg_pool2d'> {
  readonly kernel: Two;
  readonly stride: Two;
  readonly padding: Two;
  readonly count_include_pad: boolean;
  readonly ceil_mode?: boolean;
}

export interface MaxPoolNode extends Node<'max_pool2d'> {
  readonly kernel: Two;
  readonly stride: Two;
  readonly padding: Two;
  readonly ceil_mode?: boolean;
}

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

/** Operators without parameters. `flatten` keeps the first axis; `add` takes two inputs, the others one. */
export interface PlainNode extends Node<PlainOp> {}
export type PlainOp = 'add' | 'flatten' | 'global_avg_pool' | 'hardswish' | 'relu' | 'sigmoid' | 'silu' | 'softmax';

export type GraphNode =
  | AvgPoolNode
  | BatchNormNode
  | BnPadNode
  | Conv2dNode
  | CropNode
  | IdentityConvNode
  | LinearNode
  | MaxPoolNode
  | PlainNode
  | SqueezeExciteNode;

/** State dict keys that a node reads. */
export function nodeKeys(node: GraphNode): string[] {
  switch (node.op) {
    case 'conv2d':
    case 'linear':
      return node.bias === null ? [node.weight] : [node.weight, node.bias];
    case 'identity_conv1x1':
      return [node.weight];
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
