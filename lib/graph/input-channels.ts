import type { Tensor } from '../tensor/tensor';
import type { GraphNode } from './graph';
import { operatorOf } from './operators';

type Tensors = ReadonlyMap<string, Pick<Tensor, 'shape'>>;

/** Channels of an input as the nodes that read it, or what keeps its channels, say them; undefined where no tensor tells. */
export function inputChannels(input: string, nodes: readonly GraphNode[], tensors: Tensors): number | undefined {
  const same = new Set([input]);
  for (const node of nodes) {
    const [first, second] = node.inputs;
    if (!same.has(first!) && !(operatorOf(node).isSum && same.has(second!))) continue;
    const told = channelsRead(node, tensors);
    if (told !== undefined) return told;
    if (operatorOf(node).keepsChannels?.(node)) same.add(node.id);
  }
  return undefined;
}

/** Channels of a node's first input, where a tensor of the node tells them. */
export function channelsRead(node: GraphNode, tensors: Tensors): number | undefined {
  return operatorOf(node).inputChannels?.(node, (key) => tensors.get(key)?.shape);
}
