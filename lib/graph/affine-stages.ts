import type { Stage } from '../ops';
import { toPadding4 } from '../ops/geometry';
import type { Tensor } from '../tensor/tensor';
import type { GraphNode } from './graph';

/** Nodes that are one or two affine stages of a branch. */
export type AffineNode = Extract<GraphNode, { op: 'conv2d' | 'identity_conv1x1' | 'batch_norm' | 'bn_pad' }>;

/** The stages of such a node; `weight` finds tensors by key. */
export function affineStages(node: AffineNode, weight: (key: string) => Tensor): Stage[] {
  switch (node.op) {
    case 'conv2d': {
      const { stride, dilation, groups } = node;
      return [
        {
          kind: 'conv2d',
          weight: weight(node.weight),
          bias: node.bias === null ? null : weight(node.bias),
          stride,
          padding: toPadding4(node.padding),
          dilation,
          groups,
        },
      ];
    }
    case 'identity_conv1x1':
      return [
        {
          kind: 'conv2d',
          weight: weight(node.weight),
          stride: [1, 1],
          padding: [0, 0, 0, 0],
          dilation: [1, 1],
          groups: node.groups,
          plusIdentity: true,
        },
      ];
    default: {
      const { prefix, eps } = node;
      const batchNorm: Stage = {
        kind: 'batch_norm',
        runningMean: weight(`${prefix}.running_mean`),
        runningVar: weight(`${prefix}.running_var`),
        ...(node.affine ? { weight: weight(`${prefix}.weight`), bias: weight(`${prefix}.bias`) } : {}),
        eps,
      };
      if (node.op === 'batch_norm') return [batchNorm];
      return [batchNorm, { kind: 'pad_border', padding: [node.pad, node.pad, node.pad, node.pad] }];
    }
  }
}
