import type { EpsChoice } from '../families';
import type { PixelNormalization } from '../ops';
import type { ComputedDType } from '../tensor/dtype';
import { type GraphNode, operatorOf } from './operators';

export type * from './operators';
export type { NodeOf, NodeSize } from './operators/operator';

/** What a graph takes: a tensor of any rank. */
export interface GraphInput {
  readonly id: string;
  /** Its sizes; a name stands for one that is open, and the same name for the same size. */
  readonly shape: readonly (number | string)[];
  /** Type of the elements that a caller gives; inside the graph they are float32. Default F32. */
  readonly type?: ComputedDType;
}

/** A convolutional network as a list of operators over tensors named by state dict keys. Plain JSON, stored in model files. */
export interface Graph {
  /** Id of the input, of several the first: a float32 image batch [N, C, H, W], unless `inputs` says otherwise. */
  readonly input: string;
  /** All inputs, `input` first, where they are more than one float32 image batch. Then there is no `inputShape`. */
  readonly inputs?: readonly GraphInput[];
  /** Id of the node that is the result. */
  readonly output: string;
  /** All results, `output` first, where there are several. */
  readonly outputs?: readonly string[];
  /** Types that a caller gets, by id of the result. Default F32. */
  readonly outputTypes?: Readonly<Record<string, ComputedDType>>;
  /** In an order in which they can run: every input is one of the graph's or an earlier node's. */
  readonly nodes: readonly GraphNode[];
  /** The number whose multiples an open size is proven to fit, by its name: `H` and `W` of an image batch. */
  readonly multiples?: Readonly<Record<string, number>>;
  /** [C, H, W] of one image, where it is fixed. */
  readonly inputShape?: readonly [number, number, number];
  /** Images of any height and width fit: those of `inputShape` are what the network was trained on. */
  readonly anySize?: boolean;
  /** What to do to raw pixels first: (x * scale - mean) / std per channel. */
  readonly normalization?: PixelNormalization;
  /** Names of the output's classes. */
  readonly labels?: readonly string[];
}

/** All inputs, in their order. */
export function inputsOf({ input, inputs, inputShape, anySize = false }: Graph): readonly GraphInput[] {
  if (inputs !== undefined) return inputs;
  const [channels, ...size] = inputShape ?? ['C', 'H', 'W'];
  return [{ id: input, shape: ['N', channels, ...(anySize ? ['H', 'W'] : size)] }];
}

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
export function nodeKeys(node: GraphNode): readonly string[] {
  return operatorOf(node).keys?.(node) ?? [];
}

/** What the graph says of a BatchNorm's eps, by key prefix, in the way that `detectBlocks` asks for it. */
export function batchNormEps({ nodes }: Graph): (batchNorm: string) => EpsChoice | undefined {
  const known = new Map<string, EpsChoice>();
  for (const node of nodes) {
    if ('eps' in node) known.set(node.prefix, { value: node.eps, source: 'graph' });
  }
  return (batchNorm) => known.get(batchNorm);
}
