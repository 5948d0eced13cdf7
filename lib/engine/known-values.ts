import { type Graph, outputsOf } from '../graph';
import { inputsOf, nodesFor } from '../graph/graph';
import { operatorOf } from '../graph/operators';
import { asFloat32 } from '../tensor/half';
import type { Tensor } from '../tensor/tensor';
import { channelCounts } from './channels';

/** What is known of a graph's values before it runs, by id. */
export class KnownValues {
  /** The given graph without the nodes from which no path leads to an output. */
  readonly graph: Graph;
  private readonly channels: ReadonlyMap<string, number>;
  private readonly ranks: ReadonlyMap<string, number>;
  private readonly readers = new Map<string, number>();

  /** @throws ERR_REPFUSE_INVALID_ARGUMENT if neither the graph nor a tensor tells the input's channels */
  constructor(
    given: Graph,
    private readonly tensors: ReadonlyMap<string, Tensor>,
  ) {
    this.channels = channelCounts(given, tensors);
    const graph = { ...given, nodes: nodesFor(given.nodes, outputsOf(given)) };
    this.graph = graph;
    const ranks = new Map(inputsOf(graph).map(({ id, shape }) => [id, shape.length]));
    for (const node of graph.nodes) {
      const inputs = node.inputs.map((id) => ranks.get(id)!);
      ranks.set(node.id, operatorOf(node).rank?.(node, inputs, (key) => tensors.get(key)!.shape) ?? inputs[0]!);
    }
    this.ranks = ranks;
    // Outputs twice: they are never read by one node alone.
    for (const id of [...graph.nodes.flatMap(({ inputs }) => inputs), ...outputsOf(graph), ...outputsOf(graph)]) {
      this.readers.set(id, (this.readers.get(id) ?? 0) + 1);
    }
  }

  /** undefined where no tensor tells them. */
  channelsOf(id: string): number | undefined {
    return this.channels.get(id);
  }

  rankOf(id: string): number {
    return this.ranks.get(id)!;
  }

  /** Whether an input is best read as images: of known channels, and not first turned (it may be NHWC). */
  isImageInput(id: string): boolean {
    const isTurned = this.graph.nodes.some(({ op, inputs }) => op === 'transpose' && inputs[0] === id);
    return this.rankOf(id) === 4 && this.channelsOf(id) !== undefined && !isTurned;
  }

  /** Whether one input of one node is the value, and it is no output. */
  hasOneReader(id: string): boolean {
    return this.readers.get(id) === 1;
  }

  /** A tensor, as it is. */
  readonly tensor = (key: string): Tensor => this.tensors.get(key)!;

  /** A tensor, as float32. */
  readonly weight = (key: string): Tensor => asFloat32(this.tensors.get(key)!);
}
