import { expectRoomForEach, type Graph, inferShapes, inputsOf, outputsOf } from '../graph';
import type { MemoryLimit } from '../native/memory';
import type { TensorStub } from '../tensor/schemas';
import { formatShape } from '../tensor/tensor';

/** Shapes that are remembered: inferring them takes as long as a small layer. */
const MAX_REMEMBERED = 64;

/** The shapes of a network's outputs by those of its inputs. */
export class OutputShapes {
  private readonly known = new Map<string, ReadonlyMap<string, readonly number[]>>();

  constructor(
    private readonly graph: Graph,
    private readonly stubs: ReadonlyMap<string, TensorStub>,
    private readonly limit: MemoryLimit,
  ) {}

  /**
   * @param inputs in the graph's order
   * @throws ERR_REPFUSE_GRAPH, ERR_REPFUSE_SHAPE where an input does not fit; ERR_REPFUSE_MEMORY where a run would take too much
   */
  of(inputs: readonly (readonly number[])[]): ReadonlyMap<string, readonly number[]> {
    const key = inputs.map(formatShape).join();
    const known = this.known.get(key);
    if (known !== undefined) return known;
    const given = new Map(inputsOf(this.graph).map(({ id }, i) => [id, inputs[i]!]));
    const shapes = inferShapes(this.graph, given, this.stubs);
    expectRoomForEach(this.graph, shapes, this.stubs, this.limit);
    const inferred = new Map(outputsOf(this.graph).map((id) => [id, shapes.get(id)!]));
    if (this.known.size >= MAX_REMEMBERED) this.known.clear();
    this.known.set(key, inferred);
    return inferred;
  }
}
