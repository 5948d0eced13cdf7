import type { Graph, GraphNode } from '../graph';
import type { Tensor } from '../tensor/tensor';
import { type Shapes, shapesOfOne } from './shapes-of-one';
import { sliceOfChannels } from './slice-of-channels';

/**
 * A graph in which every so many-th channel of an image is a slice of it, where it is written as one of a leading axis: channels in groups, turned
 * before all else by way of tensors (the channel shuffle of ShuffleNetV2 that returns its halves). The values are the same.
 */
export function stridedChannels(graph: Graph, tensors: ReadonlyMap<string, Tensor>): Graph {
  const makers = new Map(graph.nodes.map((node) => [node.id, node]));
  const found = new Map<GraphNode, Taken>();
  for (const node of graph.nodes) {
    const taken = takenBy(node, makers);
    if (taken !== undefined) found.set(node, taken);
  }
  const shapes = found.size === 0 ? undefined : shapesOfOne(graph, tensors);
  if (shapes === undefined) return graph;
  const nodes = graph.nodes.map((node) => {
    const taken = found.get(node);
    if (taken === undefined || !isOfChannels(taken, shapes)) return node;
    const groups = shapes.get(taken.grouped)![1]!;
    return sliceOfChannels(node.id, taken.image, { first: taken.place, step: groups });
  });
  return { ...graph, nodes };
}

/** A place along the first axis of what is made of an image. */
interface Taken {
  readonly place: number;
  readonly image: string;
  /** Of groups, turned, and split into images again. */
  readonly grouped: string;
  readonly images: string;
  readonly part: string;
}

function takenBy(node: GraphNode, makers: ReadonlyMap<string, GraphNode>): Taken | undefined {
  const before = ({ inputs }: GraphNode) => makers.get(inputs[0] ?? '');
  if (node.op !== 'squeeze' || node.axes.join() !== '0') return undefined;
  const part = before(node);
  if (part?.op !== 'slice' || part.steps.some((step) => step !== 1)) return undefined;
  const [images, place] = [before(part), part.starts[0]];
  const turned = images?.op === 'reshape' ? before(images) : undefined;
  if (turned?.op !== 'transpose' || turned.perm.join() !== '1,0,2') return undefined;
  const grouped = before(turned);
  if (grouped?.op !== 'reshape' || typeof place !== 'number' || place < 0) return undefined;
  return { place, image: grouped.inputs[0]!, grouped: grouped.id, images: images!.id, part: part.id };
}

function isOfChannels({ image, grouped, images, part }: Taken, shapes: Shapes): boolean {
  const [n = 0, channels = 0, height = 0, width = 0] = shapes.get(image) ?? [];
  const groups = shapes.get(grouped)?.[1] ?? 0;
  const each = channels / groups;
  const is = (id: string, ...shape: readonly number[]) => shapes.get(id)?.join() === shape.join();
  return (
    is(image, n, channels, height, width) &&
    is(grouped, n * each, groups, height * width) &&
    is(images, groups, n, each, height, width) &&
    is(part, 1, n, each, height, width)
  );
}
