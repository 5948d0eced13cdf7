import { type Graph, type GraphNode, outputsOf } from '../graph';
import { nodesFor } from '../graph/graph';
import type { Tensor } from '../tensor/tensor';
import { type Shapes, shapesOfOne } from './shapes-of-one';

/**
 * A graph in which what selects channels of a concatenation reads its parts, where nothing else reads it (ShuffleNetV2, whose units join two halves
 * to shuffle and part them again): it is never made. The values are the same.
 */
export function joinedChannels(graph: Graph, tensors: ReadonlyMap<string, Tensor>): Graph {
  const outputs = outputsOf(graph);
  const needed = nodesFor(graph.nodes, outputs); // what shuffles were written as leads nowhere now
  const readers = new Map<string, GraphNode[]>();
  for (const node of needed)
    for (const input of new Set(node.inputs)) readers.set(input, [...(readers.get(input) ?? []), node]);
  const isOfParts = (node: GraphNode) =>
    node.op === 'concat' &&
    node.axis === 1 &&
    !outputs.includes(node.id) &&
    readers.get(node.id)?.every(selects) === true;
  const joined = new Map(needed.filter(isOfParts).map((node) => [node.id, node]));
  const shapes = joined.size === 0 ? undefined : shapesOfOne(graph, tensors);
  if (shapes === undefined) return graph;
  // Of whole images: a slice may end before they do.
  const pixelsOf = (id: string) => shapes.get(id)?.toSpliced(1, 1).join();
  const areImages = ({ id }: GraphNode) =>
    shapes.get(id)?.length === 4 && readers.get(id)!.every((reader) => pixelsOf(reader.id) === pixelsOf(id));
  for (const [id, node] of joined) if (!areImages(node)) joined.delete(id);
  const nodes = needed
    .filter(({ id }) => !joined.has(id))
    .map((node) => {
      const parts = joined.get(node.inputs[0] ?? '')?.inputs;
      return parts === undefined ? node : selection(node, parts, shapes);
    });
  return { ...graph, nodes };
}

/** Whether a node is of some channels of one image, none of its neighbours with them. */
function selects(node: GraphNode): boolean {
  if (node.op === 'select_channels') return node.inputs.length === 1;
  if (node.op !== 'slice' || node.steps.length !== 4) return false;
  const [, first] = node.starts;
  const wholes = [0, 2, 3].every((axis) => node.starts[axis] === 0 && node.steps[axis] === 1);
  return wholes && typeof first === 'number' && first >= 0 && node.steps[1]! > 1;
}

function selection(node: GraphNode, parts: readonly string[], shapes: Shapes): GraphNode {
  if (node.op !== 'slice') return { ...node, inputs: parts } as GraphNode;
  const first = Number(node.starts[1]);
  const channels = Array.from({ length: shapes.get(node.id)![1]! }, (_, i) => first + i * node.steps[1]!);
  return { id: node.id, op: 'select_channels', inputs: parts, channels } as GraphNode;
}
