import { constantStages } from '../algebra/constant-stages';
import type { AffineOp, MapOp } from '../algebra/merge';
import { affineStages, type GraphNode } from '../graph';
import type { BinaryNode, PadNode } from '../graph/graph';
import { isFrame } from '../graph/shapes';
import type { KnownValues } from './known-values';
import { cropOf, poolStage } from './node-steps';

/**
 * What a node is to the merging of affine maps; undefined of one that is none.
 *
 * @param imageChannels of a value that is an image in the engine's layout, or about to become one; undefined of another, or where nothing tells
 */
export function affineOpOf(
  node: GraphNode,
  known: KnownValues,
  imageChannels: (id: string) => number | undefined,
): AffineOp | undefined {
  const [input = ''] = node.inputs;
  switch (node.op) {
    case 'conv2d':
    case 'identity_conv1x1':
    case 'batch_norm':
    case 'bn_pad':
      return { kind: 'stages', input, stages: affineStages(node, (key) => known.tensors.get(key)!) };
    case 'avg_pool2d':
      if (node.ceil_mode === true || node.dilation?.some((step) => step > 1)) return undefined;
      return { kind: 'stages', input, stages: [poolStage(node)] };
    case 'crop':
      return { kind: 'frame', input, padding: cropOf(node) };
    case 'pad':
      return imageChannels(input) === undefined ? undefined : frameOf(node, known);
    case 'add':
      return { kind: 'sum', inputs: node.inputs };
    case 'concat':
      return node.axis === 1 ? { kind: 'concat', inputs: node.inputs } : undefined;
    case 'binary':
      if (node.constant !== undefined) return constantOp(node, known, imageChannels(input));
      if (node.function === 'add') return { kind: 'sum', inputs: node.inputs };
      return node.function === 'sub' ? { kind: 'difference', inputs: node.inputs } : undefined;
    default:
      return undefined;
  }
}

function frameOf(node: PadNode, known: KnownValues): MapOp | undefined {
  const { before, after, mode, value, fill } = node;
  if (mode !== 'constant' || !isFrame(node) || (fill === undefined && value !== 0)) return undefined;
  const padding = [before[2]!, before[3]!, after[2]!, after[3]!] as const;
  const values = fill === undefined ? undefined : (known.weight(fill).data as Float32Array);
  return { kind: 'frame', input: node.inputs[0]!, padding, fill: values };
}

function constantOp(node: BinaryNode, known: KnownValues, channels: number | undefined): MapOp | undefined {
  const input = node.inputs[0]!;
  if (channels === undefined) return undefined;
  const constant = known.weight(node.constant!);
  const stages = constantStages({ function: node.function, constant, isFirst: node.constant_first === true }, channels);
  return typeof stages === 'string' ? undefined : { kind: 'stages', input, stages };
}
