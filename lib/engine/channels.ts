import { RepfuseError } from '../errors';
import { type Graph, type GraphNode, inputsOf } from '../graph';
import { channelsRead, inputChannels } from '../graph/input-channels';
import { operatorOf } from '../graph/operators';
import type { Inputs } from '../graph/operators/operator';
import type { Tensor } from '../tensor/tensor';

/**
 * Channels of the inputs and of every node's result, by id; of vectors their features, where a tensor tells them.
 *
 * @throws ERR_REPFUSE_INVALID_ARGUMENT if neither the graph nor a tensor tells those of its one image batch
 */
export function channelCounts(graph: Graph, tensors: ReadonlyMap<string, Tensor>): ReadonlyMap<string, number> {
  const channels = new Map<string, number>();
  for (const { id, shape } of inputsOf(graph)) {
    const told =
      typeof shape[1] === 'number'
        ? shape[1]
        : shape.length === 4
          ? inputChannels(id, graph.nodes, tensors)
          : undefined;
    if (told !== undefined) channels.set(id, told);
    else if (graph.inputs === undefined) throw untold();
  }
  for (const node of graph.nodes) {
    const [input] = node.inputs;
    const told = channelsRead(node, tensors);
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
  const operator = operatorOf(node);
  const inputs = node.inputs.map((id) => channels.get(id));
  if (operator.keepsChannels?.(node)) return inputs[0];
  // Of others those who read it tell, where it matters.
  return operator.channels?.(node, inputs as unknown as Inputs<number | undefined>, (key) => tensors.get(key)?.shape);
}

function untold(): RepfuseError {
  return new RepfuseError(
    'ERR_REPFUSE_INVALID_ARGUMENT',
    'Expected inputShape in the graph, of whose tensors none tells the channels of its input, but received none',
  );
}
