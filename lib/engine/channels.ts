import { RepfuseError } from '../errors';
import type { Graph, GraphNode } from '../graph';
import type { Tensor } from '../tensor/tensor';

/**
 * Channels of the input and of every node's result, by id; of vectors their features, where a tensor tells them.
 *
 * @throws ERR_REPFUSE_INVALID_ARGUMENT if neither the graph nor a tensor tells the input's
 */
export function channelCounts(graph: Graph, tensors: ReadonlyMap<string, Tensor>): ReadonlyMap<string, number> {
  const channels = new Map([[graph.input, graph.inputShape?.[0] ?? inputChannels(graph, tensors)]]);
  for (const node of graph.nodes) {
    const [input] = node.inputs;
    const told = readChannels(node, tensors);
    if (input !== undefined && !channels.has(input) && told !== undefined) channels.set(input, told);
    const made = madeChannels(node, tensors, channels);
    if (made !== undefined) channels.set(node.id, made);
  }
  return channels;
}

function madeChannels(
  node: GraphNode,
  tensors: ReadonlyMap<string, Tensor>,
  channels: ReadonlyMap<string, number>,
): number | undefined {
  const input = channels.get(node.inputs[0] ?? '');
  switch (node.op) {
    case 'conv2d':
    case 'linear':
      return tensors.get(node.weight)?.shape[0];
    case 'conv_transpose2d':
      return (tensors.get(node.weight)?.shape[1] ?? 0) * node.groups || undefined;
    case 'concat': {
      const parts = node.inputs.map((id) => channels.get(id));
      if (node.axis !== 1) return input;
      return parts.includes(undefined) ? undefined : parts.reduce((sum, part) => sum! + part!, 0);
    }
    case 'depth_to_space':
      return input === undefined ? undefined : input / (node.block[0] * node.block[1]);
    default:
      return keepsChannels(node) ? input : undefined; // those who read it tell, where it matters
  }
}

/** Whether a node's result has the channels of its first input. */
function keepsChannels(node: GraphNode): boolean {
  switch (node.op) {
    case 'pad':
      return node.before[1] === 0 && node.after[1] === 0;
    case 'concat':
      return node.axis !== 1;
    case 'binary':
    case 'constant':
    case 'conv2d':
    case 'conv_transpose2d':
    case 'depth_to_space':
    case 'flatten':
    case 'linear':
    case 'matmul':
    case 'reduce_mean':
    case 'reshape':
    case 'slice':
    case 'squeeze':
    case 'transpose':
    case 'unsqueeze':
      return false;
    default:
      return true;
  }
}

/** What the nodes that read the input, or what keeps its channels, say of them. */
function inputChannels({ input, nodes }: Graph, tensors: ReadonlyMap<string, Tensor>): number {
  const same = new Set([input]);
  for (const node of nodes) {
    const [first, second] = node.inputs;
    if (!same.has(first!) && !(node.op === 'add' && same.has(second!))) continue;
    const told = readChannels(node, tensors);
    if (told !== undefined) return told;
    if (keepsChannels(node)) same.add(node.id);
  }
  throw new RepfuseError(
    'ERR_REPFUSE_INVALID_ARGUMENT',
    'Expected inputShape in the graph, of whose tensors none tells the channels of its input, but received none',
  );
}

function readChannels(node: GraphNode, tensors: ReadonlyMap<string, Tensor>): number | undefined {
  switch (node.op) {
    case 'conv2d':
      return (tensors.get(node.weight)?.shape[1] ?? 0) * node.groups || undefined;
    case 'linear':
      return tensors.get(node.weight)?.shape[1];
    case 'conv_transpose2d':
      return tensors.get(node.weight)?.shape[0];
    case 'identity_conv1x1':
      return tensors.get(node.weight)?.shape[0];
    case 'batch_norm':
    case 'bn_pad':
      return tensors.get(`${node.prefix}.running_mean`)?.size;
    case 'squeeze_excite':
      return tensors.get(`${node.reduce}.weight`)?.shape[1];
    default:
      return undefined;
  }
}
