import type { Tensor } from '../tensor/tensor';
import type { GraphNode } from './graph';
import { operatorOf } from './operators';

/** Axes of a node's result, whatever the sizes of the input are. */
export function rankOf(
  node: GraphNode,
  inputs: readonly number[],
  tensors: ReadonlyMap<string, Pick<Tensor, 'shape'>>,
): number {
  return operatorOf(node).rank?.(node, inputs, (key) => tensors.get(key)!.shape) ?? inputs[0]!;
}
