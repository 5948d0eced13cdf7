import { expectRoomForEach, type Graph, inferShapes, outputsOf } from '../graph';
import type { MemoryLimit } from '../native/memory';
import type { TensorStub } from '../tensor/schemas';
import { formatShape } from '../tensor/tensor';

/** Shapes that are remembered: inferring them takes as long as a small layer. */
const MAX_REMEMBERED = 64;

/** The shapes of a network's outputs by that of its input. */
export class OutputShapes {
  private readonly known = new Map<string, readonly (readonly number[])[]>();

  constructor(
    private readonly graph: Graph,
    private readonly stubs: ReadonlyMap<string, TensorStub>,
    private readonly limit: MemoryLimit,
  ) {}

  /** @throws ERR_REPFUSE_GRAPH, ERR_REPFUSE_SHAPE where the input does not fit; ERR_REPFUSE_MEMORY where a run would take too much */
  of(input: readonly number[]): readonly (readonly number[])[] {
    const key = formatShape(input);
    const known = this.known.get(key);
    if (known !== undefined) return known;
    const shapes = inferShapes(this.graph, input, this.stubs);
    expectRoomForEach(this.graph, shapes, this.stubs, this.limit);
    const inferred = outputsOf(this.graph).map((id) => shapes.get(id)!);
    if (this.known.size >= MAX_REMEMBERED) this.known.clear();
    this.known.set(key, inferred);
    return inferred;
  }
}
