import type { EpsChoice } from '../families';
import type { PixelNormalization } from '../ops';
import { type GraphNode, operatorOf } from './operators';

export type * from './operators';
export type { NodeOf } from './operators/operator';

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
