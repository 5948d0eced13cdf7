import { RepfuseError } from '../errors';
import { namesIn, substituted } from '../sizes/size';
import { parseSize } from '../sizes/text';
import { bindShapes, type InputShapes } from './edges';
import { type Graph, type GraphNode, inputsOf } from './graph';
import { operatorOf } from './operators';
import { type NodeSize, nodeError, type Shape } from './operators/operator';

/** Sizes by the names that the graph's inputs give them. */
export type NamedSizes = ReadonlyMap<string, number>;

/** Whether a node has sizes that only the inputs' shapes tell. */
export function isOpen(node: GraphNode): boolean {
  return sizeLists(node).some(([, list]) => list.some((size) => typeof size === 'string'));
}

/** Names of which the sizes of a node speak. */
export function namesOf(node: GraphNode): readonly string[] {
  const texts = sizeLists(node).flatMap(([, list]) => list.filter((size) => typeof size === 'string'));
  return texts.flatMap((text) => [...namesIn(parseSize(text)!)]);
}

/** What the open sizes of a graph are, for inputs of those shapes. @param shapes in the order of the inputs */
export function namedSizes(graph: Graph, shapes: readonly Shape[]): NamedSizes {
  const named = new Map<string, number>();
  for (const [i, { shape }] of inputsOf(graph).entries()) {
    for (const [axis, size] of shape.entries()) if (typeof size === 'string') named.set(size, shapes[i]![axis]!);
  }
  return named;
}

/** The graph for inputs of those shapes: a number for each expression. @throws ERR_REPFUSE_GRAPH naming the node */
export function withSizes(graph: Graph, inputShapes: InputShapes): Graph {
  if (!graph.nodes.some(isOpen)) return graph;
  const named = namedSizes(graph, bindShapes(graph, inputShapes));
  return { ...graph, nodes: graph.nodes.map((node) => settledNode(node, named)) };
}

/** The node with a number for each expression. @throws ERR_REPFUSE_GRAPH naming it */
export function settledNode(node: GraphNode, named: NamedSizes): GraphNode {
  return withNumbers(node, (size) => sizeFor(size, node, named));
}

/** The node with 1 for each expression, until a run tells. */
export function nodeOfOnes(node: GraphNode): GraphNode {
  return withNumbers(node, () => 1);
}

function withNumbers(node: GraphNode, numberFor: (size: string) => number): GraphNode {
  if (!isOpen(node)) return node;
  const lists = sizeLists(node).map(([field, list]) => {
    return [field, list.map((size) => (typeof size === 'string' ? numberFor(size) : size))] as const;
  });
  return { ...node, ...Object.fromEntries(lists) } as GraphNode;
}

function sizeLists(node: GraphNode): readonly (readonly [string, readonly NodeSize[]])[] {
  const { sizes = [] } = operatorOf(node);
  return sizes.map((field) => [field, node[field] as unknown as readonly NodeSize[]] as const);
}

/** @throws ERR_REPFUSE_GRAPH naming the node whose size speaks of another than the inputs', or is none that a tensor can have */
function sizeFor(text: string, node: GraphNode, named: NamedSizes): number {
  try {
    const value = substituted(parseSize(text)!, named);
    if (typeof value === 'number' && Math.abs(value) < 2 ** 31) return value;
    throw nodeError(node, `its size ${text} is ${value}`);
  } catch (error) {
    // A divisor that is none.
    if (!(error instanceof RepfuseError) || error.code === 'ERR_REPFUSE_GRAPH') throw error;
    throw nodeError(node, error.message);
  }
}
