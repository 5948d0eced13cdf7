import { floatOf, intOf } from './attributes';
import type { Node } from './schema/onnx_pb';

/** A BatchNormalization that is the same map for every batch: its eps, and the names of the values that it reads; else why it is none. */
export function readBatchNorm(node: Node): { readonly eps: number; readonly statistics: readonly string[] } | string {
  if (intOf(node, 'training_mode', 0) !== 0) return 'it normalises by batch statistics (training mode)';
  if (intOf(node, 'spatial', 1) === 0) return 'its statistics are not those of channels (spatial 0)';
  return { eps: floatOf(node, 'epsilon', Math.fround(1e-5)), statistics: node.input.slice(1, 5) };
}
