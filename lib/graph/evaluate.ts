import { checkArgument, checkOptions } from '../arguments/check';
import { show } from '../arguments/show';
import { type ErrorCode, RepfuseError } from '../errors';
import { throwIfAborted } from '../native/call';
import { allowedBytes, resolveMemoryLimit } from '../native/memory';
import { type AsyncOpOptions, normalizePixels, type OpOptions } from '../ops';
import { ASYNC_OP_OPTIONS, OP_OPTIONS } from '../ops/run';
import { checkTensors, TENSOR } from '../tensor/schemas';
import { batchOf, formatShape, isTensor, Tensor } from '../tensor/tensor';
import { type Graph, type GraphNode, nodesFor } from './graph';
import { expectRoomForAll, givenBytes } from './memory';
import { namingNode } from './naming-node';
import { parseGraph } from './parse';
import { BLOCKING, ON_POOL, runNode } from './run-node';
import { inferShapes } from './shapes';

/**
 * Runs a graph, node by node, in float32 (operators as in `ops`): those that lead to its result. Results are freed after their last use.
 *
 * @param tensors weights by key; F16 and BF16 are widened, F64 rounded
 * @param input [N, C, H, W], float32, already normalised (see `normalizeInput`)
 * @throws ERR_REPFUSE_GRAPH naming the node that does not fit; ERR_REPFUSE_MEMORY naming the one with which the results would take more than
 *   nine tenths of the process's memory, or than 128 MiB and 4096 times the input and 256 times the weights; ERR_REPFUSE_INVALID_ARGUMENT or ERR_REPFUSE_SHAPE for the
 *   input; ERR_REPFUSE_NOT_FUSABLE or ERR_REPFUSE_NOT_FINITE naming the node of a BatchNorm that cannot be evaluated
 */
export function evaluate(
  given: Graph,
  tensors: ReadonlyMap<string, Tensor>,
  input: Tensor,
  options: OpOptions = {},
): Tensor {
  const graph = parseGraph(given);
  const checked = checkOptions('evaluate', OP_OPTIONS, options);
  const weights = checkTensors('tensors', tensors);
  const nodes = nodesFor(graph.nodes, [graph.output]);
  check(graph, nodes, weights, input, [graph.output]);
  const results = new Results(graph.input, nodes, input, [graph.output]);
  for (const node of nodes) {
    try {
      results.set(node, runNode(BLOCKING, node, results.inputsOf(node), weights, checked));
    } catch (error) {
      throw atNode(node, error);
    }
  }
  return results.value(graph.output);
}

/**
 * `evaluate` on the pool: the event loop stays free, and the signal is looked at between nodes and inside them. The input is
 * copied, so it may be changed at once; leave the weights alone until the promise settles.
 */
export async function evaluateAsync(
  given: Graph,
  tensors: ReadonlyMap<string, Tensor>,
  input: Tensor,
  options: OpOptions & AsyncOpOptions = {},
): Promise<Tensor> {
  const graph = parseGraph(given);
  const checked = checkOptions('evaluateAsync', ASYNC_OP_OPTIONS, options);
  const values = await evaluateValues(graph, checkTensors('tensors', tensors), input, [graph.output], checked);
  return values.get(graph.output)!;
}

/** Any values of a graph, by the ids of their nodes; else as `evaluateAsync`. */
export async function evaluateValues(
  graph: Graph,
  tensors: ReadonlyMap<string, Tensor>,
  input: Tensor,
  ids: readonly string[],
  options: OpOptions & AsyncOpOptions = {},
): Promise<ReadonlyMap<string, Tensor>> {
  throwIfAborted(options.signal);
  const nodes = nodesFor(graph.nodes, ids);
  check(graph, nodes, tensors, input, ids);
  const copy = Tensor.f32(input.shape, Float32Array.from(input.data as Float32Array));
  const results = new Results(graph.input, nodes, copy, ids);
  for (const node of nodes) {
    throwIfAborted(options.signal);
    try {
      results.set(node, await runNode(ON_POOL, node, results.inputsOf(node), tensors, options));
    } catch (error) {
      throwIfAborted(options.signal);
      throw atNode(node, error);
    }
  }
  return new Map(ids.map((id) => [id, results.value(id)]));
}

/**
 * Raw pixels [N, C, H, W] as the network wants them: (x * scale - mean) / std, per channel; a copy or the input itself.
 *
 * @throws ERR_REPFUSE_SHAPE if the images are not of the graph's input shape
 */
export function normalizeInput(graph: Graph, input: Tensor): Tensor {
  const { inputShape, normalization } = parseGraph(graph);
  checkArgument('input', TENSOR, input);
  if (inputShape !== undefined && formatShape(input.shape.slice(1)) !== formatShape(inputShape)) {
    throw new RepfuseError(
      'ERR_REPFUSE_SHAPE',
      `Expected images ${batchOf(inputShape)} but received ${formatShape(input.shape)}`,
    );
  }
  return normalization === undefined ? input : normalizePixels(input, normalization);
}

/** @param nodes those that will run; @param kept ids of those whose results stay */
function check(
  graph: Graph,
  nodes: readonly GraphNode[],
  tensors: ReadonlyMap<string, Tensor>,
  input: Tensor,
  kept: readonly string[],
): void {
  if (!isTensor(input) || input.dtype !== 'F32') {
    throw new RepfuseError(
      'ERR_REPFUSE_INVALID_ARGUMENT',
      `Expected a float32 tensor for the input but received ${isTensor(input) ? input.dtype : show(input)}`,
      { argument: 'input' },
    );
  }
  const shapes = inferShapes(graph, input.shape, tensors);
  const limit = allowedBytes(resolveMemoryLimit(undefined), givenBytes(graph, shapes, tensors));
  expectRoomForAll(nodes, shapes, tensors, kept, limit);
}

/** What a node of a file can be at fault for. */
const OF_NODES: readonly ErrorCode[] = ['ERR_REPFUSE_NOT_FUSABLE', 'ERR_REPFUSE_NOT_FINITE', 'ERR_REPFUSE_MEMORY'];

/** The error of an operator, with the node that it ran for where that is at fault. */
function atNode(node: GraphNode, error: unknown): unknown {
  const isOfNode = error instanceof RepfuseError && OF_NODES.includes(error.code) && error.details.node === undefined;
  return isOfNode ? namingNode(node, error) : error;
}

/** Intermediate results, each dropped after its last reader. */
class Results {
  private readonly values: Map<string, Tensor>;
  private readonly readers = new Map<string, number>();

  constructor(id: string, nodes: readonly GraphNode[], input: Tensor, kept: readonly string[]) {
    this.values = new Map([[id, input]]);
    for (const id of [...nodes.flatMap(({ inputs }) => inputs), ...kept]) {
      this.readers.set(id, (this.readers.get(id) ?? 0) + 1);
    }
  }

  inputsOf({ inputs }: GraphNode): Tensor[] {
    const values = inputs.map((id) => this.values.get(id)!);
    for (const id of inputs) this.release(id);
    return values;
  }

  set(node: GraphNode, value: Tensor): void {
    this.values.set(node.id, value);
  }

  value(id: string): Tensor {
    return this.values.get(id)!;
  }

  private release(id: string): void {
    const left = this.readers.get(id)! - 1;
    this.readers.set(id, left);
    if (left === 0) this.values.delete(id);
  }
}
