import type { Graph, GraphNode } from '../graph';
import { outputsOf } from '../graph';

/** By value, the node that reads it by one input, where nobody else reads it. */
export function soleReaders(graph: Graph): ReadonlyMap<string, GraphNode> {
  const readers = new Map<string, GraphNode>();
  const shared = new Set(outputsOf(graph));
  for (const node of graph.nodes) {
    for (const id of node.inputs) {
      if (readers.has(id)) shared.add(id);
      readers.set(id, node);
    }
  }
  for (const id of shared) readers.delete(id);
  return readers;
}
