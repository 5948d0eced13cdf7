import { evaluateNodes, type Graph, type GraphNode, inputsOf, nodeKeys, outputsOf, runNodes } from '../graph';
import { nodesFor } from '../graph/graph';
import { namedSizes, settledNode } from '../graph/open-sizes';
import { operatorOf } from '../graph/operators';
import { filledPart } from '../graph/run-node';
import { allowedBytes, type MemoryLimit } from '../native/memory';
import type { Tensor } from '../tensor/tensor';

/**
 * A graph in two parts: what has a size that is known before a run, which runs natively, and what is behind results of a size that only the
 * data tell (a list of boxes), which runs node by node with the sizes that came out.
 */
export class SplitGraph {
  /** The first part. Its results are those of the graph that are in it, then what the second part reads. */
  readonly front: Graph;
  private readonly back: readonly GraphNode[];
  /** By id of the results of the first part that are as large as they can be: the axis along which they end earlier. */
  private readonly dataAxes = new Map<string, number>();
  private readonly weights: ReadonlyMap<string, Tensor>;

  constructor(
    private readonly graph: Graph,
    tensors: ReadonlyMap<string, Tensor>,
  ) {
    const outputs = outputsOf(graph);
    const open = new Set<string>();
    const back: GraphNode[] = [];
    for (const node of nodesFor(graph.nodes, outputs)) {
      const dataAxis = operatorOf(node).dataAxis?.(node);
      if (node.inputs.some((id) => open.has(id))) back.push(node);
      else if (dataAxis === undefined) continue;
      else this.dataAxes.set(node.id, dataAxis);
      open.add(node.id);
    }
    this.back = back;
    const isBehind = new Set(back.map(({ id }) => id));
    const given = new Set(inputsOf(graph).map(({ id }) => id));
    const handed = [...outputs, ...back.flatMap(({ inputs }) => inputs)];
    const results = [...new Set(handed)].filter((id) => !isBehind.has(id) && !given.has(id));
    const { outputTypes: _, ...rest } = graph;
    const nodes = graph.nodes.filter(({ id }) => !isBehind.has(id));
    this.front = this.isWhole ? graph : { ...rest, nodes, output: results[0]!, outputs: results };
    this.weights = new Map(back.flatMap(nodeKeys).map((key) => [key, tensors.get(key)!]));
  }

  /** Whether the first part is all of it. */
  get isWhole(): boolean {
    return this.dataAxes.size === 0;
  }

  /** Whether only a run tells the size of a value. */
  isOpen(id: string): boolean {
    return this.dataAxes.has(id) || this.back.some((node) => node.id === id);
  }

  /**
   * The graph's results, of those of the first part.
   *
   * @param inputs of the graph, by name
   * @param made the results of the first part
   * @throws as `evaluate`
   */
  async finish(
    inputs: ReadonlyMap<string, Tensor>,
    made: ReadonlyMap<string, Tensor>,
    memory: MemoryLimit,
    options: { readonly threads: number; readonly signal: AbortSignal | undefined },
  ): Promise<ReadonlyMap<string, Tensor>> {
    if (this.isWhole) return made;
    const allowed = this.allowed(inputs, memory);
    const values = this.valuesFor(inputs, made);
    return evaluateNodes(this.settledBack(inputs), values, this.weights, outputsOf(this.graph), {
      ...options,
      allowed,
    });
  }

  /** `finish` on the calling thread. */
  finishSync(
    inputs: ReadonlyMap<string, Tensor>,
    made: ReadonlyMap<string, Tensor>,
    memory: MemoryLimit,
    threads: number,
  ): ReadonlyMap<string, Tensor> {
    if (this.isWhole) return made;
    const allowed = this.allowed(inputs, memory);
    const values = this.valuesFor(inputs, made);
    return runNodes(this.settledBack(inputs), values, this.weights, outputsOf(this.graph), { threads, allowed });
  }

  private settledBack(inputs: ReadonlyMap<string, Tensor>): readonly GraphNode[] {
    const shapes = inputsOf(this.graph).map(({ id }) => inputs.get(id)!.shape);
    const named = namedSizes(this.graph, shapes);
    return this.back.map((node) => settledNode(node, named));
  }

  private valuesFor(inputs: ReadonlyMap<string, Tensor>, made: ReadonlyMap<string, Tensor>) {
    const filled = [...made].map(([id, value]) => {
      const axis = this.dataAxes.get(id);
      return [id, axis === undefined ? value : filledPart(value, axis)] as const;
    });
    return new Map([...inputs, ...filled]);
  }

  private allowed(inputs: ReadonlyMap<string, Tensor>, memory: MemoryLimit): number {
    const bytes = (tensors: Iterable<Tensor>) => [...tensors].reduce((sum, { size }) => sum + 4 * size, 0);
    return allowedBytes(memory, { input: bytes(inputs.values()), weights: bytes(this.weights.values()) });
  }
}
