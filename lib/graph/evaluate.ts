import { checkArgument, checkOptions } from '../arguments/check';
import { type ErrorCode, RepfuseError } from '../errors';
import { throwIfAborted } from '../native/call';
import { allowedBytes, resolveMemoryLimit } from '../native/memory';
import { type AsyncOpOptions, normalizePixels, type OpOptions } from '../ops';
import { ASYNC_OP_OPTIONS, OP_OPTIONS } from '../ops/run';
import { checkTensors, TENSOR } from '../tensor/schemas';
import { batchOf, elementCount, formatShape, Tensor } from '../tensor/tensor';
import { asOutput, bindInputs, type InputTensors } from './edges';
import { type Graph, type GraphNode, inputsOf, nodesFor } from './graph';
import { expectRoomFor, expectRoomForAll, givenBytes } from './memory';
import { namingNode } from './naming-node';
import { withSizes } from './open-sizes';
import { nodeError, type Shape } from './operators/operator';
import { parseGraph } from './parse';
import { BLOCKING, ON_POOL, runNode } from './run-node';
import { inferShapes, nodeShape } from './shapes';

/**
 * Runs a graph, node by node, in float32 (operators as in `ops`): those that lead to its result. Results are freed after their last use.
 *
 * @param tensors weights by key; F16 and BF16 are widened, F64 rounded
 * @param input [N, C, H, W], float32, already normalised (see `normalizeInput`); of several inputs, or others, what the graph's `inputs` say, by name
 * @returns of the type that the graph says
 * @throws ERR_REPFUSE_GRAPH naming the node that does not fit; ERR_REPFUSE_MEMORY naming the one with which the results would take more than
 *   nine tenths of the process's memory, or than 128 MiB and 4096 times the inputs and 256 times the weights; ERR_REPFUSE_INVALID_ARGUMENT or ERR_REPFUSE_SHAPE for an
 *   input; ERR_REPFUSE_RANGE for integers that float32 does not hold; ERR_REPFUSE_NOT_FUSABLE or ERR_REPFUSE_NOT_FINITE naming the node of a
 *   BatchNorm that cannot be evaluated
 */
export function evaluate(
  given: Graph,
  tensors: ReadonlyMap<string, Tensor>,
  input: InputTensors,
  options: OpOptions = {},
): Tensor {
  const graph = parseGraph(given);
  const checked = checkOptions('evaluate', OP_OPTIONS, options);
  const { nodes, inputs, allowed } = check(graph, checkTensors('tensors', tensors), input, [graph.output]);
  const results = runNodes(nodes, inputs, tensors, [graph.output], { ...checked, allowed });
  return asOutput(graph, graph.output, results.get(graph.output)!);
}

/**
 * `evaluate` on the pool: the event loop stays free, and the signal is looked at between nodes and inside them. The inputs are
 * copied, so they may be changed at once; leave the weights alone until the promise settles.
 */
export async function evaluateAsync(
  given: Graph,
  tensors: ReadonlyMap<string, Tensor>,
  input: InputTensors,
  options: OpOptions & AsyncOpOptions = {},
): Promise<Tensor> {
  const graph = parseGraph(given);
  const checked = checkOptions('evaluateAsync', ASYNC_OP_OPTIONS, options);
  const values = await evaluateValues(graph, checkTensors('tensors', tensors), input, [graph.output], checked);
  return asOutput(graph, graph.output, values.get(graph.output)!);
}

/** Any values of a graph, as float32, by the ids of their nodes; else as `evaluateAsync`. */
export async function evaluateValues(
  graph: Graph,
  tensors: ReadonlyMap<string, Tensor>,
  input: InputTensors,
  ids: readonly string[],
  options: OpOptions & AsyncOpOptions = {},
): Promise<ReadonlyMap<string, Tensor>> {
  throwIfAborted(options.signal);
  const { nodes, inputs, allowed } = check(graph, tensors, input, ids);
  const copies = [...inputs].map(([id, { shape, data }]) => {
    return [id, Tensor.f32(shape, Float32Array.from(data as Float32Array))] as const;
  });
  return evaluateNodes(nodes, new Map(copies), tensors, ids, { ...options, allowed });
}

interface NodesOptions extends OpOptions {
  /** Bytes that a result may take whose size only the run tells. */
  readonly allowed: number;
}

/**
 * Runs nodes, whose order is checked, on values that are there.
 *
 * @param kept ids of the values that are asked for
 * @throws as `evaluate`
 */
export function runNodes(
  nodes: readonly GraphNode[],
  values: ReadonlyMap<string, Tensor>,
  tensors: ReadonlyMap<string, Tensor>,
  kept: readonly string[],
  { allowed, ...options }: NodesOptions,
): ReadonlyMap<string, Tensor> {
  const results = new Results(nodes, values, kept);
  for (const node of nodes) {
    try {
      const inputs = results.inputsOf(node);
      results.set(
        node,
        knownEmpty(node, inputs, tensors, allowed) ?? runNode(BLOCKING, node, inputs, tensors, options),
      );
    } catch (error) {
      throw atNode(node, error);
    }
  }
  return results.kept(kept);
}

/** `runNodes` on the pool; values and weights are to be left alone. */
export async function evaluateNodes(
  nodes: readonly GraphNode[],
  values: ReadonlyMap<string, Tensor>,
  tensors: ReadonlyMap<string, Tensor>,
  kept: readonly string[],
  { allowed, ...options }: NodesOptions & AsyncOpOptions,
): Promise<ReadonlyMap<string, Tensor>> {
  const results = new Results(nodes, values, kept);
  for (const node of nodes) {
    throwIfAborted(options.signal);
    try {
      const inputs = results.inputsOf(node);
      const empty = knownEmpty(node, inputs, tensors, allowed);
      results.set(node, empty ?? (await runNode(ON_POOL, node, inputs, tensors, options)));
    } catch (error) {
      throwIfAborted(options.signal);
      throw atNode(node, error);
    }
  }
  return results.kept(kept);
}

/**
 * Raw pixels [N, C, H, W] as the network wants them: (x * scale - mean) / std, per channel; a copy or the input itself.
 *
 * @throws ERR_REPFUSE_SHAPE if the images are not of the graph's input shape
 */
export function normalizeInput(graph: Graph, input: Tensor): Tensor {
  const { inputShape, anySize = false, normalization } = parseGraph(graph);
  checkArgument('input', TENSOR, input);
  const told = anySize ? input.shape.slice(1, 2) : input.shape.slice(1);
  const isRank = input.shape.length === 4 || !anySize;
  const known = inputShape?.slice(0, anySize ? 1 : 3);
  if (known !== undefined && (!isRank || formatShape(told) !== formatShape(known))) {
    throw new RepfuseError(
      'ERR_REPFUSE_SHAPE',
      `Expected images ${batchOf(anySize ? [...known, 'H', 'W'] : known)} but received ${formatShape(input.shape)}`,
    );
  }
  return normalization === undefined ? input : normalizePixels(input, normalization);
}

/** What is to run, on what, within how many bytes for what only the run tells. @param kept ids of those whose results stay */
function check(graph: Graph, tensors: ReadonlyMap<string, Tensor>, input: InputTensors, kept: readonly string[]) {
  const given = bindInputs(graph, input);
  const inputs = new Map(inputsOf(graph).map(({ id }, i) => [id, given[i]!]));
  const shapesGiven = new Map([...inputs].map(([id, { shape }]) => [id, shape]));
  const shapes = inferShapes(graph, shapesGiven, tensors);
  const nodes = nodesFor(withSizes(graph, shapesGiven).nodes, kept);
  const allowed = allowedBytes(resolveMemoryLimit(undefined), givenBytes(graph, shapes, tensors));
  expectRoomForAll(nodes, shapes, tensors, kept, allowed);
  return { nodes, inputs, allowed };
}

/**
 * The result of a node that has no elements, of which only the shape has to be known: where the data tell sizes they may tell 0.
 *
 * @throws ERR_REPFUSE_MEMORY; ERR_REPFUSE_GRAPH where an operator makes something of an empty value
 */
function knownEmpty(
  node: GraphNode,
  inputs: readonly Tensor[],
  tensors: ReadonlyMap<string, Tensor>,
  allowed: number,
): Tensor | undefined {
  const shapes = new Map<string, Shape>(inputs.map(({ shape }, i) => [node.inputs[i]!, shape]));
  const shape = nodeShape(node, shapes, tensors);
  expectRoomFor(node, shapes.set(node.id, shape), tensors, allowed);
  if (elementCount(shape) === 0) return Tensor.f32(shape);
  const empty = inputs.findIndex(({ size }) => size === 0);
  if (empty >= 0 && node.op !== 'concat') throw nodeError(node, `its input ${node.inputs[empty]} has no elements`);
  return undefined;
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

  constructor(nodes: readonly GraphNode[], values: ReadonlyMap<string, Tensor>, kept: readonly string[]) {
    this.values = new Map(values);
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

  kept(ids: readonly string[]): ReadonlyMap<string, Tensor> {
    return new Map(ids.map((id) => [id, this.values.get(id)!]));
  }

  private release(id: string): void {
    const left = this.readers.get(id)! - 1;
    this.readers.set(id, left);
    if (left === 0) this.values.delete(id);
  }
}
