import type { Tensor } from '../tensor/tensor';
import type { GraphNode } from './graph';

/** Axes of a node's result, whatever the sizes of the input are. */
export function rankOf(
  node: GraphNode,
  inputs: readonly number[],
  tensors: ReadonlyMap<string, Pick<Tensor, 'shape'>>,
): number {
  const [input = 0] = inputs;
  switch (node.op) {
    case 'flatten':
      return 2;
    case 'constant':
      return tensors.get(node.tensor)!.shape.length;
    case 'binary':
      return Math.max(...inputs, node.constant === undefined ? 0 : tensors.get(node.constant)!.shape.length);
    case 'reshape':
      return node.shape.length;
    case 'squeeze':
      return input - node.axes.length;
    case 'unsqueeze':
      return input + node.axes.length;
    case 'reduce_mean':
      return node.keepdims ? input : input - node.axes.length;
    case 'matmul': {
      const [a, b] = inputs as [number, number];
      return Math.max(a, b, 2) - (a === 1 ? 1 : 0) - (b === 1 ? 1 : 0);
    }
    default:
      return input;
  }
}
