import type { Graph, GraphNode } from '../graph';
import type { Tensor } from '../tensor/tensor';
import { type Shapes, shapesOfOne } from './shapes-of-one';

/**
 * A graph in which a channel shuffle (channels in groups, turned, and in a row again: ShuffleNet) is a selection of channels, and so are the slices of it:
 * written as reshapes and a transposition they would leave the layout of images. The values are the same.
 */
export function channelShuffle(graph: Graph, tensors: ReadonlyMap<string, Tensor>): Graph {
  const makers = new Map(graph.nodes.map((node) => [node.id, node]));
  const isCandidate = (node: GraphNode) => node.op === 'reshape' && turnedBy(node, makers) !== undefined;
  const shapes = graph.nodes.some(isCandidate) ? shapesOfOne(graph, tensors) : undefined;
  if (shapes === undefined) return graph;
  const shuffles = new Map<string, Shuffle>();
  const nodes = graph.nodes.map((node) => {
    const shuffle = node.op === 'reshape' ? shuffleOf(node, makers, shapes) : undefined;
    if (shuffle !== undefined) {
      shuffles.set(node.id, shuffle);
      return selection(node.id, shuffle);
    }
    if (node.op !== 'slice') return node;
    const sliced = shuffles.get(node.inputs[0]!);
    const part = sliced && partOf(node, sliced, shapes);
    return part === undefined ? node : selection(node.id, part);
  });
  return { ...graph, nodes };
}

/** The channels of an image that a shuffle makes its own of. */
interface Shuffle {
  readonly image: string;
  readonly channels: readonly number[];
}

function selection(id: string, { image, channels }: Shuffle): GraphNode {
  return { id, op: 'select_channels', inputs: [image], channels } as GraphNode;
}

/** The transposition of the first two axes behind the batch, which the reshape is of, if there is one. */
function turnedBy({ inputs }: GraphNode, makers: ReadonlyMap<string, GraphNode>): GraphNode | undefined {
  const turned = makers.get(inputs[0] ?? '');
  const swaps = turned?.op === 'transpose' && /^0,2,1,3(,4)?$/.test(turned.perm.join());
  return swaps ? turned : undefined;
}

function shuffleOf(node: GraphNode, makers: ReadonlyMap<string, GraphNode>, shapes: Shapes): Shuffle | undefined {
  const grouped = makers.get(turnedBy(node, makers)?.inputs[0] ?? '');
  if (grouped?.op !== 'reshape') return undefined;
  const image = grouped.inputs[0]!;
  const [shape, inGroups, whole] = [image, grouped.id, node.id].map((id) => shapes.get(id) ?? []) as [
    number[],
    number[],
    number[],
  ];
  const [n, groups = 0, each = 0, ...pixels] = inGroups;
  const [, count, height = 0, width = 0] = shape;
  const isOfChannels = shape.length === 4 && shape[0] === n && groups * each === count;
  const keepsPixels = pixels.reduce((area, size) => area * size, 1) === height * width;
  if (!isOfChannels || !keepsPixels || whole.join() !== shape.join()) return undefined;
  const channels = Array.from({ length: count }, (_, made) => (made % groups) * each + Math.floor(made / groups));
  return { image, channels };
}

/** A slice of neighbouring channels of a shuffle. */
function partOf(
  node: Extract<GraphNode, { op: 'slice' }>,
  { image, channels }: Shuffle,
  shapes: Shapes,
): Shuffle | undefined {
  const [whole, shape] = [node.inputs[0]!, node.id].map((id) => shapes.get(id)!) as [
    readonly number[],
    readonly number[],
  ];
  const first = node.starts[1];
  const others = shape.every((size, axis) => axis === 1 || (size === whole[axis] && node.steps[axis] === 1));
  if (typeof first !== 'number' || first < 0 || node.steps[1] !== 1 || !others) return undefined;
  return { image, channels: channels.slice(first, first + shape[1]!) };
}
