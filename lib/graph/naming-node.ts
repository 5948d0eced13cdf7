import { RepfuseError } from '../errors';
import type { GraphNode } from './graph';

/** An error of ours, with the node that it came from. */
export function namingNode(node: GraphNode, error: unknown): unknown {
  if (!(error instanceof RepfuseError)) return error;
  const { code, message, details } = error;
  return new RepfuseError(
    code,
    `Node ${node.id} (${node.op}): ${message}`,
    { ...details, node: node.id },
    { cause: error },
  );
}
