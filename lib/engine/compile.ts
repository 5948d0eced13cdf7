import { Merging } from '../algebra/merge';
import { effortOf } from '../algebra/weight-size';
import type { RepfuseError } from '../errors';
import type { Graph, GraphNode } from '../graph';
import { namingNode } from '../graph/naming-node';
import { operatorOf } from '../graph/operators';
import type { Tensor } from '../tensor/tensor';
import { channelShuffle } from './channel-shuffle';
import { joinedChannels } from './joined-channels';
import { KnownValues } from './known-values';
import type { Program } from './program';
import { isConvolution, ProgramBuilder } from './program-builder';
import { sideBySide } from './side-by-side';
import { spreadLast } from './spread-last';
import { stridedChannels } from './strided-channels';

/**
 * A graph as a program: whatever is an affine map of one value (convolutions, BatchNorms, average pooling, frames, arithmetic with constants,
 * their sums and concatenations) becomes one convolution where `algebra` says that this is exact and where it does not cost more than its
 * parts; activations and the sum with another value go into the convolution before them.
 *
 * @throws ERR_REPFUSE_NOT_FUSABLE or ERR_REPFUSE_NOT_FINITE naming the node of a BatchNorm that cannot be evaluated
 */
export function compileGraph(given: Graph, givenTensors: ReadonlyMap<string, Tensor>): Program {
  const selected = channelShuffle(stridedChannels(given, givenTensors), givenTensors);
  const spread = spreadLast(joinedChannels(selected, givenTensors), givenTensors);
  const { graph, tensors } = sideBySide(spread.graph, spread.tensors);
  const known = new KnownValues(graph, tensors);
  let room = [...tensors.values()].reduce((sum, { size }) => sum + ROOM_FOR_ELEMENT * size, ROOM);
  const merging: Merging<GraphNode> = new Merging({
    nameOf: ({ id }) => id,
    hasOneReader: (id) => known.hasOneReader(id),
    channelsOf: (id) => known.channelsOf(id),
    excess(conv) {
      room -= effortOf(conv);
      return room < 0 ? 'its merge is beyond the budget of a network of this size' : undefined;
    },
    refused: throwIfUnusable,
    makeMerged: (map) => builder.addConvolution(map),
    makeAlone: (node) => builder.add(node),
  });
  const affords = (numbers: number) => {
    if (room < numbers) return false;
    room -= numbers;
    return true;
  };
  const builder: ProgramBuilder = new ProgramBuilder(known, merging, affords);
  for (const node of known.graph.nodes) {
    const { affine, stages } = operatorOf(node);
    const [input = ''] = node.inputs;
    const map = stages && ({ kind: 'stages', input, stages: stages(node, known.tensor) } as const);
    const op = map ?? (room > 0 ? affine?.(node, builder.imageChannels(input), known.weight) : undefined);
    if (op === undefined || !merging.take(node, node.id, op)) builder.add(node);
  }
  return builder.finish();
}

/** What the descriptions of all maps may take (`effortOf`): of any network, and more for each element of its weights. */
const ROOM = 1 << 24;
const ROOM_FOR_ELEMENT = 4;

/** What says that two maps are to stay two. */
const LEFT_APART: ReadonlySet<string> = new Set(['ERR_REPFUSE_INEXACT', 'ERR_REPFUSE_RANGE', 'ERR_REPFUSE_SHAPE']);

/** Throws the refusal of a map that has to be one. */
function throwIfUnusable(node: GraphNode, error: RepfuseError, isAlone: boolean): void {
  if (isConvolution(node) && (isAlone || !LEFT_APART.has(error.code))) throw namingNode(node, error);
}
