import type { StateDict } from '../checkpoint/state-dict';
import { RepfuseError } from '../errors';
import type { DetectedBlock } from '../families';
import { countMacs, deployGraph, type Graph, inferShapes } from '../graph';
import { nodeKeys } from '../graph/graph';
import { Tensor } from '../tensor/tensor';

/** @throws ERR_REPFUSE_GRAPH unless every tensor of the graph is among `tensors` */
export function expectTensors(graph: Graph, tensors: ReadonlyMap<string, unknown>): void {
  const missing = [...new Set(graph.nodes.flatMap(nodeKeys))].filter((key) => !tensors.has(key));
  if (missing.length === 0) return;
  throw new RepfuseError(
    'ERR_REPFUSE_GRAPH',
    `Expected every tensor of the graph in the output but ${missing.join(', ')} is missing`,
    { missing },
  );
}

/** Multiply-accumulates of one image, before and after fusing; null without a graph or its input shape. */
export function macsOf(
  graph: Graph | undefined,
  blocks: readonly DetectedBlock[],
  tensors: StateDict,
): { readonly before: number; readonly after: number } | null {
  if (graph?.inputShape === undefined) return null;
  const shape = [1, ...graph.inputShape];
  // Only shapes matter: the fused kernels need not exist yet.
  const both = new Map(tensors);
  for (const { deployKeys, outChannels, inPerGroup, kernel } of blocks) {
    if (!both.has(deployKeys.weight)) both.set(deployKeys.weight, Tensor.f32([outChannels, inPerGroup, ...kernel]));
    if (!both.has(deployKeys.bias)) both.set(deployKeys.bias, Tensor.f32([outChannels]));
  }
  const macs = (of: Graph) => countMacs(of, inferShapes(of, shape, both), both);
  return { before: macs(graph), after: macs(deployGraph(graph, blocks)) };
}
