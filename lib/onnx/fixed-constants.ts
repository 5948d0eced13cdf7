import { eventLoopPause } from '../native/event-loop';
import type { TensorData } from '../tensor/dtype';
import type { Tensor } from '../tensor/tensor';
import { Budget } from './evaluation/budget';
import { canEvaluate, evaluateNode } from './evaluation/operators';
import type { Graph, Node, Tensor as TensorProto } from './schema/onnx_pb';
import { tensorOf } from './values';
import { valuesRead, Wiring } from './wiring';

/** A result of more bytes is not kept when all that read it are constants themselves. */
const LARGE = 1 << 20;
/** So many values that were not kept are made again for one that is asked for. */
const MAX_AGAIN = 100;

/**
 * The values of a graph that are the same for every input of any size: initializers, Constant nodes, and what is computed from those, in the order
 * of the nodes, within a budget. A value beyond it is not known.
 */
export class FixedConstants {
  private readonly initializers: ReadonlyMap<string, TensorProto>;
  private readonly stored = new Map<string, Tensor | undefined>(); // initializers that were asked for
  private readonly made: Map<string, Made>;
  /** What is left of what the model may take; what folds and reads it takes of the same. */
  readonly budget: Budget;
  private readonly work: Generator<void, void, void>;
  /** Beyond the budget, or malformed. */
  private readonly failed: Set<string>;
  private again = 0;
  /** Values that lie in the same memory. */
  private readonly holders = new Map<TensorData, number>();

  /** @param earlier what is known of a graph in which every value of this one is the same, if it is there */
  constructor(graph: Graph, earlier?: FixedConstants) {
    this.initializers = new Map(graph.initializer.map((tensor) => [tensor.name, tensor]));
    this.made = new Map(earlier?.made);
    this.failed = new Set(earlier?.failed);
    this.budget = earlier?.budget ?? budgetFor(graph.initializer);
    this.work = this.evaluateAll(graph);
  }

  /** Evaluates all, so that nothing that is asked later takes long. @throws as `get`; the signal's reason */
  async prepare(signal?: AbortSignal): Promise<void> {
    const pause = eventLoopPause(signal);
    await pause();
    while (this.work.next().done !== true) await pause();
  }

  /** The tensor that a value always is, or undefined. @throws ERR_REPFUSE_FORMAT, ERR_REPFUSE_GRAPH for what is malformed */
  get(value: string): Tensor | undefined {
    if (this.initializers.has(value)) return this.initializer(value);
    const made = this.finished().get(value);
    if (made === undefined || made.tensor !== undefined) return made?.tensor;
    if (this.again >= MAX_AGAIN) return undefined;
    this.again++;
    const { node } = made;
    const inputs = node.input.map((name) => (name === '' ? undefined : this.get(name)));
    this.again--;
    const isWhole = inputs.every((tensor, i) => tensor !== undefined || node.input[i] === '');
    return isWhole ? evaluateNode(node, inputs, this.budget)?.[node.output.indexOf(value)] : undefined;
  }

  /** Whether nothing more will be known of a value: it is one of these, or none although all that it is computed from is. */
  settles(value: string): boolean {
    return this.has(value) || this.failed.has(value);
  }

  has(value: string): boolean {
    return this.initializers.has(value) ? this.initializer(value) !== undefined : this.finished().has(value);
  }

  shapeOf(value: string): readonly number[] | undefined {
    return this.initializers.has(value) ? this.initializer(value)?.shape : this.finished().get(value)?.shape;
  }

  private initializer(value: string): Tensor | undefined {
    if (!this.stored.has(value)) this.stored.set(value, tensorOf(this.initializers.get(value)!));
    return this.stored.get(value);
  }

  private finished(): ReadonlyMap<string, Made> {
    while (this.work.next().done !== true);
    return this.made;
  }

  private *evaluateAll(graph: Graph): Generator<void, void, void> {
    const wiring = new Wiring(graph);
    const isFixed = (name: string) => name === '' || this.initializers.has(name) || this.made.has(name);
    const unread = new Map<string, number>();
    for (const node of graph.node) {
      if (!canEvaluate(node) || !node.input.every(isFixed)) continue;
      yield;
      const isNew = node.output.some((name) => name !== '' && !this.made.has(name) && !this.failed.has(name));
      if (!isNew || !this.evaluate(node)) continue;
      for (const name of valuesRead(node)) {
        const count = (unread.get(name) ?? wiring.readersOf(name)) - 1;
        unread.set(name, count);
        if (count === 0 && !wiring.outputs.has(name)) this.drop(name);
      }
    }
  }

  private evaluate(node: Node): boolean {
    const inputs = node.input.map((name) =>
      this.initializers.has(name) ? this.initializer(name) : this.made.get(name)?.tensor,
    );
    if (inputs.some((tensor, i) => tensor === undefined && node.input[i] !== '')) return false;
    const results = evaluateNode(node, inputs, this.budget);
    if (results === undefined) {
      for (const name of node.output) if (name !== '') this.failed.add(name);
      return false;
    }
    for (const [i, name] of node.output.entries()) {
      if (name === '') continue;
      const tensor = results[i]!;
      this.made.set(name, { node, shape: tensor.shape, tensor });
      this.holders.set(tensor.data, (this.holders.get(tensor.data) ?? 0) + 1);
    }
    return true;
  }

  /** Nobody will ask for a value, in all likelihood. */
  private drop(name: string): void {
    const made = this.made.get(name);
    if (made?.tensor === undefined || made.tensor.bytes < LARGE) return;
    const { data } = made.tensor;
    made.tensor = undefined;
    const left = this.holders.get(data)! - 1;
    this.holders.set(data, left);
    if (left === 0) this.budget.release(data);
  }
}

interface Made {
  readonly node: Node;
  readonly shape: readonly number[];
  /** undefined where it was not kept. */
  tensor: Tensor | undefined;
}

/** By the data that is there: a part of a file that many tensors refer to counts once. */
function budgetFor(initializers: readonly TensorProto[]): Budget {
  const buffers = new Set(initializers.map(({ rawData }) => rawData.buffer));
  const there = [...buffers].reduce((sum, { byteLength }) => sum + byteLength, 0);
  let [typed, raw] = [0, 0];
  for (const { rawData, floatData, doubleData, int32Data, int64Data } of initializers) {
    typed += floatData.length + doubleData.length + int32Data.length + int64Data.length;
    raw += rawData.length;
  }
  return new Budget(4 * typed + Math.min(raw, there));
}
