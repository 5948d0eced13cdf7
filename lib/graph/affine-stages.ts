import type { Stage } from '../ops';
import type { Tensor } from '../tensor/tensor';
import { type GraphNode, operatorOf } from './operators';

/** Nodes that are one or two affine stages of a branch. */
export type AffineNode = Extract<GraphNode, { op: 'conv2d' | 'identity_conv1x1' | 'batch_norm' | 'bn_pad' }>;

/** The stages of such a node; `weight` finds tensors by key. */
export function affineStages(node: AffineNode, weight: (key: string) => Tensor): Stage[] {
  return operatorOf<GraphNode>(node).stages!(node, weight)!;
}
