import type { TensorOp } from '../ops/tensor-op';
import type { Tensor } from '../tensor/tensor';
import { type GraphNode, operatorOf } from './operators';

/** The native operator of a node; `weight` finds tensors, as float32, by key. */
export function tensorOpOf(node: GraphNode, weight: (key: string) => Tensor): TensorOp {
  return operatorOf(node).native!(node, weight);
}
