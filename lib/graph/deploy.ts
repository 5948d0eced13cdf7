import { RepfuseError } from '../errors';
import type { DetectedBlock } from '../families';
import type { Stage } from '../ops';
import { Tensor } from '../tensor/tensor';
import { type Conv2dNode, type Graph, type GraphNode, nodeKeys, outputsOf } from './graph';
import { operatorOf } from './operators';

/** What the rewriting needs to know of a block that is fused. */
export type FusedBlock = Pick<
  DetectedBlock,
  'prefix' | 'anchorKey' | 'trainKeys' | 'deployKeys' | 'branches' | 'after'
>;

/**
 * The graph of the deploy form: every fused block's branches replaced by one convolution, which keeps the id of the sum that it
 * replaces. Geometry is that of the block's main convolution. Blocks of which the graph holds nothing (an auxiliary head) are
 * passed over.
 *
 * @throws ERR_REPFUSE_GRAPH naming the block whose nodes are not one piece of the graph with one input and one output, or do
 *   not sum the very branches that were fused (another eps, a branch more or less)
 */
export function deployGraph(graph: Graph, blocks: readonly FusedBlock[]): Graph {
  return blocks.reduce(replaceBlock, graph);
}

function replaceBlock(graph: Graph, block: FusedBlock): Graph {
  const members = membersOf(graph, block);
  if (members.size === 0) return graph;
  const inside = graph.nodes.filter(({ id }) => members.has(id));
  const inputs = new Set(inside.flatMap((node) => node.inputs).filter((id) => !members.has(id)));
  const readOutside = new Set([
    ...graph.nodes.filter(({ id }) => !members.has(id)).flatMap((node) => node.inputs),
    ...outputsOf(graph),
  ]);
  const outputs = inside.filter(({ id }) => readOutside.has(id));
  if (inputs.size !== 1 || outputs.length !== 1) {
    throw wrong(
      block,
      `expected one input and one output of its nodes in the graph but received ${inputs.size} and ${outputs.length}`,
    );
  }
  const main = inside.find((node): node is Conv2dNode => node.op === 'conv2d' && node.weight === block.anchorKey);
  if (main === undefined) throw wrong(block, `expected a conv2d of ${block.anchorKey} in the graph but there is none`);
  checkBranches(block, inside, outputs[0]!.id);
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
  const members = new Set(graph.nodes.filter((node) => nodeKeys(node).some((key) => own.has(key))).map(({ id }) => id));
  if (members.size === 0) return members;
  const readers = new Map<string, GraphNode[]>(graph.nodes.map(({ id }) => [id, []]));
  for (const node of graph.nodes) for (const id of node.inputs) readers.get(id)?.push(node);
  for (const { id, op } of [...graph.nodes].reverse()) {
    if ((op !== 'avg_pool2d' && op !== 'crop') || outputsOf(graph).includes(id)) continue;
    const itsReaders = readers.get(id)!;
    if (itsReaders.length > 0 && itsReaders.every((reader) => members.has(reader.id))) members.add(id);
  }
  for (const { id, op, inputs } of graph.nodes) {
    if (op === 'add' && inputs.every((input) => members.has(input))) members.add(id);
  }
  return members;
}

/** The nodes must compute the sum of the block's branches, each once: what was fused. */
function checkBranches(block: FusedBlock, inside: readonly GraphNode[], output: string): void {
  const expected = block.branches.map(({ stages }) => [...stages, ...block.after].map(describeStage).join(', ')).sort();
  // A node that is summed twice doubles its chains: more of them than branches is wrong already, however many.
  const atMost = expected.length + 1;
  const chains = new Map<string, readonly string[]>();
  for (const node of inside) {
    const before = node.inputs.map((id) => chains.get(id) ?? ['']);
    const step = describeNode(node);
    chains.set(
      node.id,
      before
        .flat()
        .slice(0, atMost)
        .map((chain) => [chain, step].filter((part) => part !== '').join(', ')),
    );
  }
  const found = [...chains.get(output)!].sort();
  if (found.join('; ') === expected.join('; ')) return;
  throw wrong(
    block,
    `expected the branches that are fused (${expected.join('; ')}) but the graph sums (${found.join('; ')}); where eps differs, the option eps must not say another than the graph`,
  );
}

/** What a stage does to the values, apart from keys and geometry. */
function describeStage(stage: Stage): string {
  switch (stage.kind) {
    case 'conv2d':
      return `conv2d${stage.plusIdentity ? ' plus identity' : ''}${stage.bias == null ? '' : ' with bias'}`;
    case 'batch_norm':
      return batchNorm(stage.eps, stage.weight != null);
    case 'avg_pool2d':
      return averagePool(stage.kernel, stage.countIncludePad || stage.padding.every(isZero));
    default:
      return stage.kind;
  }
}

function describeNode(node: GraphNode): string {
  if (node.op === 'crop') return ''; // geometry
  if (node.op === 'avg_pool2d') return averagePool(node.kernel, node.count_include_pad || node.padding.every(isZero));
  const stages = operatorOf(node).stages?.(node, () => ANY) ?? [];
  return stages.map(describeStage).join(', ');
}

/** In place of the tensors of a node, of which only their being there is told. */
const ANY = Tensor.f32([1]);

function batchNorm(eps: number, affine: boolean): string {
  return `batch_norm eps ${eps}${affine ? '' : ' without affine'}`;
}

const isZero = (side: number) => side === 0;

function averagePool(kernel: readonly number[], constantDivisor: boolean): string {
  return `avg_pool2d ${kernel.join('x')}${constantDivisor ? '' : ' that excludes its padding'}`;
}

function wrong({ prefix }: FusedBlock, problem: string): RepfuseError {
  return new RepfuseError('ERR_REPFUSE_GRAPH', `Block ${prefix || '(root)'}: ${problem}`, { block: prefix });
}
