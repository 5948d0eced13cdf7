import { allowedBytes, type MemoryLimit, tooLarge } from '../native/memory';
import { elementCount, type Tensor } from '../tensor/tensor';
import { type Graph, type GraphNode, inputsOf } from './graph';
import { operatorOf } from './operators';

type Shape = readonly number[];
type Tensors = ReadonlyMap<string, Pick<Tensor, 'shape'>>;

/**
 * Memory is counted before it is taken: a file can ask for any size by paddings, strides, dilations and scales.
 *
 * @throws ERR_REPFUSE_MEMORY naming the node whose result alone is more than the limit allows
 */
export function expectRoomForEach(
  graph: Graph,
  shapes: ReadonlyMap<string, Shape>,
  tensors: Tensors,
  limit: MemoryLimit,
): void {
  const allowed = allowedBytes(limit, givenBytes(graph, shapes, tensors));
  for (const node of graph.nodes) {
    if (!shapes.has(node.id)) continue; // counted when its size is known
    expectRoomFor(node, shapes, tensors, allowed);
  }
}

/**
 * The same of all results that are there at a time, where each is freed after its last reader.
 *
 * @param nodes those that will run
 * @param kept ids of those whose results stay
 * @param allowed bytes
 * @throws ERR_REPFUSE_MEMORY naming the node with which they become too much
 */
export function expectRoomForAll(
  nodes: readonly GraphNode[],
  shapes: ReadonlyMap<string, Shape>,
  tensors: Tensors,
  kept: readonly string[],
  allowed: number,
): void {
  const lastReader = new Map<string, string>();
  for (const { id, inputs } of nodes) for (const input of inputs) lastReader.set(input, id);
  const alive = new Map<string, number>();
  let total = 0;
  for (const node of nodes) {
    if (!shapes.has(node.id)) continue; // counted when its size is known
    const bytes = resultBytes(node, shapes, tensors);
    if (total + bytes > allowed)
      throw tooLarge(`the results up to node ${node.id} (${node.op})`, total + bytes, allowed, node.id);
    const own = operatorOf(node).isGiven ? 0 : 4 * elementCount(shapes.get(node.id)!);
    alive.set(node.id, own);
    total += own;
    for (const id of [...new Set(node.inputs), node.id]) {
      if (kept.includes(id) || (lastReader.get(id) ?? id) !== node.id) continue;
      total -= alive.get(id) ?? 0;
      alive.delete(id);
    }
  }
}

/**
 * The same of one node whose size a run has told.
 *
 * @param allowed bytes
 */
export function expectRoomFor(
  node: GraphNode,
  shapes: ReadonlyMap<string, Shape>,
  tensors: Tensors,
  allowed: number,
): void {
  const bytes = resultBytes(node, shapes, tensors);
  if (bytes > allowed) throw tooLarge(`the result of node ${node.id} (${node.op})`, bytes, allowed, node.id);
}

/** Of the inputs, and of all weights that are there. */
export function givenBytes(graph: Graph, shapes: ReadonlyMap<string, Shape>, tensors: Tensors) {
  let weights = 0;
  for (const { shape } of tensors.values()) weights += 4 * elementCount(shape);
  const input = inputsOf(graph).reduce((sum, { id }) => sum + 4 * elementCount(shapes.get(id)!), 0);
  return { input, weights };
}

/** What a node takes while it runs. */
function resultBytes(node: GraphNode, shapes: ReadonlyMap<string, Shape>, tensors: Tensors): number {
  const { isGiven, workspace } = operatorOf(node);
  if (isGiven) return 0;
  const [input = []] = node.inputs.map((id) => shapes.get(id)!);
  const beside = workspace?.(node, input, (key) => tensors.get(key)!.shape) ?? 0;
  return 4 * (elementCount(shapes.get(node.id)!) + beside);
}
