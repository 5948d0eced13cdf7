import { RepfuseError } from '../errors';
import type { DetectedBlock } from '../families';
import { type Conv2dNode, type Graph, type GraphNode, nodeKeys } from './graph';

/** What the rewriting needs to know of a block that is fused. */
export type FusedBlock = Pick<DetectedBlock, 'prefix' | 'anchorKey' | 'trainKeys' | 'deployKeys'>;

/**
 * The graph of the deploy form: every fused block's branches replaced by one convolution, which keeps the id of the sum that it
 * replaces. Geometry is that of the block's main convolution.
 *
 * @throws ERR_REPFUSE_GRAPH naming the block whose nodes are not one affine piece of the graph with one input and one output
 */
export function deployGraph(graph: Graph, blocks: readonly FusedBlock[]): Graph {
  return blocks.reduce(replaceBlock, graph);
}

function replaceBlock(graph: Graph, block: FusedBlock): Graph {
  const members = membersOf(graph, block);
  if (members.size === 0) throw wrong(block, 'none of its tensors occurs in the graph');
  const inside = graph.nodes.filter(({ id }) => members.has(id));
  const inputs = new Set(inside.flatMap((node) => node.inputs).filter((id) => !members.has(id)));
  const readOutside = new Set([
    ...graph.nodes.filter(({ id }) => !members.has(id)).flatMap((node) => node.inputs),
    graph.output,
  ]);
  const outputs = inside.filter(({ id }) => readOutside.has(id));
  if (inputs.size !== 1 || outputs.length !== 1) {
    throw wrong(block, `its nodes have ${inputs.size} inputs and ${outputs.length} outputs instead of one each`);
  }
  const main = inside.find((node): node is Conv2dNode => node.op === 'conv2d' && node.weight === block.anchorKey);
  if (main === undefined) throw wrong(block, `its main convolution ${block.anchorKey} does not occur in the graph`);
  const { stride, padding, dilation, groups } = main;
  const { weight, bias } = block.deployKeys;
  const fused: Conv2dNode = {
    id: outputs[0]!.id,
    op: 'conv2d',
    inputs: [...inputs],
    weight,
    bias,
    stride,
    padding,
    dilation,
    groups,
  };
  const nodes = graph.nodes.flatMap((node) => (node.id === fused.id ? [fused] : members.has(node.id) ? [] : [node]));
  return { ...graph, nodes };
}

/**
 * The nodes of a block: those that read its tensors, the sums of members, and pooling or cropping that only members read.
 */
function membersOf(graph: Graph, { trainKeys }: FusedBlock): Set<string> {
  const own = new Set(trainKeys);
  const reads = (node: GraphNode) => nodeKeys(node).some((key) => own.has(key));
  const members = new Set(graph.nodes.filter(reads).map(({ id }) => id));
  for (const node of [...graph.nodes].reverse()) {
    if (node.op !== 'avg_pool2d' && node.op !== 'crop') continue;
    const readers = graph.nodes.filter(({ inputs }) => inputs.includes(node.id));
    if (readers.length > 0 && node.id !== graph.output && readers.every(({ id }) => members.has(id)))
      members.add(node.id);
  }
  for (const node of graph.nodes) {
    if (node.op === 'add' && node.inputs.every((id) => members.has(id))) members.add(node.id);
  }
  return members;
}

function wrong({ prefix }: FusedBlock, problem: string): RepfuseError {
  return new RepfuseError('ERR_REPFUSE_GRAPH', `Block ${prefix || '(root)'}: ${problem}`, { block: prefix });
}
