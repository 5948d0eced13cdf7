import { types } from 'node:util';
import { checkArgument, checkOptions } from '../arguments/check';
import { RepfuseError } from '../errors';
import {
  asOutput,
  bindInputs,
  bindShapes,
  checkModel,
  expectShapes,
  expectTensors,
  type Graph,
  type InputShapes,
  type InputTensors,
  inputsOf,
  type Model,
  outputsOf,
} from '../graph';
import { shapesForOne } from '../graph/edges';
import { throwIfAborted } from '../native/call';
import { loadAddon } from '../native/load';
import { type MemoryLimit, resolveMemoryLimit } from '../native/memory';
import { resolveThreads } from '../native/threads';
import { printable } from '../printable';
import { TENSOR, type TensorStub } from '../tensor/schemas';
import { type Float32Tensor, formatShape, INSPECT, Tensor } from '../tensor/tensor';
import { compileGraph } from './compile';
import { SplitGraph } from './data-sizes';
import { type EngineStep, explainSteps } from './explain';
import { InputCopies } from './input-copies';
import { ITERATED, iterate } from './iterate';
import { NativeEngine, type NativeRun } from './native-engine';
import {
  ENGINE_OPTIONS,
  type EngineOptions,
  RUN_ALL_OPTIONS,
  RUN_OPTIONS,
  RUN_SYNC_OPTIONS,
  type RunAsyncOptions,
  type RunOptions,
  STREAM_OPTIONS,
  type StreamOptions,
} from './options';
import { OutputShapes } from './output-shapes';
import { RunQueue } from './run-queue';
import { type EngineValue, valuesOf } from './values';

/** Bytes that an engine holds. */
export interface EngineMemory {
  /** Weights as they came, or what the packed ones lack of them, to be packed for further shapes. */
  readonly sourceWeights: number;
  /** Weights in the order in which kernels read them; Winograd's are larger. */
  readonly packedWeights: number;
  /** Values of all plans, and of runs that overlap. */
  readonly activations: number;
  readonly workspace: number;
}

/**
 * A network compiled for this machine: re-parameterizable branches merged where that is exact, BatchNorms, activations and sums folded
 * into the convolutions before them, weights packed once, a plan for each shape of the inputs.
 *
 * `run` works on threads of its own: the event loop stays free, and none of libuv's are taken. Runs may overlap; they start in the order
 * of the calls. Results are bit-equal from run to run and for any number of threads.
 */
export class Engine implements Disposable, AsyncDisposable {
  private native: NativeEngine | undefined;
  private readonly queue: RunQueue;
  private readonly copies = new InputCopies();
  private values: ReturnType<typeof valuesOf> | undefined;
  /** Runs on the pool that have not ended. */
  private underWay = 0;

  private constructor(
    native: NativeEngine,
    private readonly graph: Graph,
    private readonly split: SplitGraph,
    private readonly stubs: ReadonlyMap<string, TensorStub>,
    private readonly inChannels: number,
    private readonly frontShapes: OutputShapes,
    private readonly memoryLimit: MemoryLimit,
    readonly threads: number,
  ) {
    if (types.isProxy(native) || !(native instanceof NativeEngine)) {
      throw new RepfuseError(
        'ERR_REPFUSE_INVALID_ARGUMENT',
        'Expected Engine.create for making an Engine but its constructor was called',
      );
    }
    this.native = native;
    this.queue = new RunQueue(Math.max(1, Math.floor(loadAddon().info().defaultThreads / threads)));
  }

  /**
   * Compiles a network. The weights are copied: leave them alone until the promise settles, then change or drop them as you like. Where the graph tells its inputs' sizes, the plan for one
   * image is compiled at once, otherwise with the first run of each shape.
   *
   * @throws ERR_REPFUSE_GRAPH naming the node that does not fit; ERR_REPFUSE_MEMORY naming the one that would take too much (see `memoryLimit`);
   *   ERR_REPFUSE_NOT_FUSABLE or ERR_REPFUSE_NOT_FINITE naming the node of a BatchNorm that cannot be evaluated; ERR_REPFUSE_INVALID_ARGUMENT;
   *   the signal's reason
   */
  static async create(model: Model, options: EngineOptions = {}): Promise<Engine> {
    const checked = checkOptions('Engine.create', ENGINE_OPTIONS, options);
    const { plans = 8, precision = 'f32', algorithm = 'auto', batchInvariant = false, merge = true, signal } = checked;
    const threads = resolveThreads(checked.threads);
    const memory = resolveMemoryLimit(checked.memoryLimit);
    throwIfAborted(signal);
    const { graph, tensors } = checkModel(model);
    const shapes = shapesForOne(graph);
    const stubs = withoutData(tensors);
    for (const node of graph.nodes) expectTensors(node, stubs);
    const split = new SplitGraph(graph, tensors);
    const frontShapes = new OutputShapes(split.front, stubs, memory);
    if (shapes !== undefined) frontShapes.of(shapes); // else sizes are looked at in a run
    const program = compileGraph(split.front, tensors);
    const leastMemory = checked.memory === 'least';
    const native = await NativeEngine.build(
      program,
      { algorithm, precision, batchInvariant, leastMemory, merge, plans, memory },
      signal,
    );
    if (shapes !== undefined) await native.prepare(shapes, threads, { signal });
    return new Engine(native, graph, split, stubs, program.inputs[0]!, frontShapes, memory, threads);
  }

  /** What a run takes. */
  get inputs(): readonly EngineValue[] {
    return this.#values().inputs;
  }

  /** What a run gives: the first is `run`'s result, all of them are `runAll`'s. */
  get outputs(): readonly EngineValue[] {
    return this.#values().outputs;
  }

  /** Names of the classes that the first output tells apart, where the model has them. */
  get labels(): readonly string[] | undefined {
    return this.graph.labels;
  }

  #values() {
    this.values ??= valuesOf(this.graph, this.stubs, this.inChannels);
    return this.values;
  }

  /** @internal What `console.log` prints. */
  [INSPECT](): string {
    const list = (values: readonly EngineValue[]) =>
      values
        .map(({ name, shape }) => `${printable(name)} [${(shape ?? ['...']).map((size) => size ?? '?').join(', ')}]`)
        .join(', ');
    const state = this.native === undefined ? ', disposed of' : '';
    return `Engine (${list(this.inputs)} -> ${list(this.outputs)}, ${this.threads} threads${state})`;
  }

  /**
   * Runs on threads of the engine's own. The inputs are copied first: they may be changed at once.
   *
   * @param input float32, or a half type (widened), [N, C, H, W], normalised as the network wants it (see `normalizeInput`); any N, H and W
   *   that the network allows. Of a network of several inputs, or of others, what `inputs` says, by name: an object, or a Map
   * @returns the graph's output (of several the first, see `runAll`): `out`, or a new tensor, of the type that `outputs` says
   * @throws ERR_REPFUSE_GRAPH or ERR_REPFUSE_SHAPE if an input does not fit; ERR_REPFUSE_MEMORY; ERR_REPFUSE_INVALID_ARGUMENT naming the input that
   *   is missing, unknown or of another type; ERR_REPFUSE_RANGE for integers beyond 2^24, which float32 does not hold; ERR_REPFUSE_DISPOSED;
   *   the signal's reason
   */
  async run<Result extends Tensor = Float32Tensor>(
    input: InputTensors,
    options: RunAsyncOptions = {},
  ): Promise<Result> {
    const { out, signal } = checkOptions('run', RUN_OPTIONS, options);
    throwIfAborted(signal);
    const outputs = await this.#start(this.#prepareRun(input, out), signal);
    return outputs.get(this.graph.output) as Result;
  }

  /** `run` for a graph of several outputs: all of them, by id, in new tensors. */
  async runAll<Result extends Tensor = Float32Tensor>(
    input: InputTensors,
    options: Pick<RunAsyncOptions, 'signal'> = {},
  ): Promise<ReadonlyMap<string, Result>> {
    const { signal } = checkOptions('runAll', RUN_ALL_OPTIONS, options);
    throwIfAborted(signal);
    return (await this.#start(this.#prepareRun(input, undefined), signal)) as ReadonlyMap<string, Result>;
  }

  async #start(
    { native, run, inputs, results }: PreparedRun,
    signal: AbortSignal | undefined,
  ): Promise<ReadonlyMap<string, Tensor>> {
    const copies = run.inputs.map((values) => this.copies.acquire(values));
    this.underWay++;
    try {
      await this.queue.run(signal, () => native.runAsync({ ...run, inputs: copies }, this.threads, signal));
      const given = this.split.isWhole ? inputs : copiesOf(inputs, copies);
      return this.#outputs(
        await this.split.finish(given, results, this.memoryLimit, { threads: this.threads, signal }),
      );
    } finally {
      this.underWay--;
      for (const copy of copies) this.copies.release(copy);
      if (this.native === undefined && this.underWay === 0) native.dispose();
    }
  }

  /** `run` on the calling thread, helped by the others: the event loop waits. */
  runSync<Result extends Tensor = Float32Tensor>(input: InputTensors, options?: RunOptions): Result {
    const out = options === undefined ? undefined : checkOptions('runSync', RUN_SYNC_OPTIONS, options).out;
    const { native, run, inputs, results } = this.#prepareRun(input, out);
    native.run(run, this.threads);
    const made = this.split.finishSync(inputs, results, this.memoryLimit, this.threads);
    return this.#outputs(made).get(this.graph.output) as Result;
  }

  #outputs(made: ReadonlyMap<string, Tensor>): ReadonlyMap<string, Tensor> {
    return new Map(outputsOf(this.graph).map((id) => [id, asOutput(this.graph, id, made.get(id)!)]));
  }

  /**
   * Runs inputs as they come, and hands results out in the same order. No more inputs are asked for than `concurrency` while results are
   * not taken. Leaving the loop, or an error, ends the source and waits for what runs.
   *
   * @throws as `run`; what the source throws
   */
  async *stream<Result extends Tensor = Float32Tensor>(
    inputs: Iterable<InputTensors> | AsyncIterable<InputTensors>,
    options: StreamOptions = {},
  ): AsyncGenerator<Result, void, void> {
    const { concurrency = 2, signal } = checkOptions('stream', STREAM_OPTIONS, options);
    const source = iterate(inputs);
    const running: Promise<Result>[] = [];
    let ended = false;
    try {
      for (;;) {
        while (!ended && running.length < concurrency) {
          throwIfAborted(signal);
          const { done, value } = checkArgument('the next of inputs', ITERATED, await source.next());
          if (done) ended = true;
          else {
            const result = this.run<Result>(value, { signal });
            result.catch(() => {}); // told when it is its turn
            running.push(result);
          }
        }
        const next = running.shift();
        if (next === undefined) return;
        yield await next;
      }
    } finally {
      await Promise.allSettled(running);
      if (!ended) await source.return?.();
    }
  }

  /**
   * Shape of the result (of several the first) for an input of that shape, or shapes by name.
   *
   * @throws as `run`; ERR_REPFUSE_SHAPE where only a run tells
   */
  outputShape(shape: InputShapes): readonly number[] {
    const { output } = this.graph;
    const known = this.frontShapes.of(bindShapes(this.graph, shape)).get(output);
    if (known !== undefined && !this.split.isOpen(output)) return known;
    throw new RepfuseError('ERR_REPFUSE_SHAPE', `The size of ${output} depends on the data: only a run tells it`);
  }

  /**
   * The plan for an input shape, step by step: kernels, what they were estimated to take and what the fastest run took.
   *
   * @param shape [N, C, H, W], of several inputs by name; default one image of the graph's input shape
   * @throws as `run`
   */
  explain(shape: InputShapes | undefined = this.#defaultShapes()): readonly EngineStep[] {
    const native = this.#alive();
    const shapes = bindShapes(this.graph, shape);
    expectShapes(this.graph, shapes);
    return explainSteps(native.explain(shapes, this.threads), this.threads);
  }

  /** Bytes that the engine holds at present. */
  get memory(): EngineMemory {
    return this.#alive().memory();
  }

  /** Frees everything; runs under way end as they would have. Again does nothing. */
  dispose(): void {
    if (this.underWay === 0) this.native?.dispose();
    this.native = undefined;
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.dispose();
  }

  #alive(): NativeEngine {
    if (this.native !== undefined) return this.native;
    throw new RepfuseError('ERR_REPFUSE_DISPOSED', 'The engine has been disposed of');
  }

  #prepareRun(input: InputTensors, out: Tensor | undefined): PreparedRun {
    const native = this.#alive();
    const tensors = bindInputs(this.graph, input);
    const shapes = tensors.map(({ shape }) => shape);
    expectShapes(this.graph, shapes);
    const { output } = this.graph;
    const results = new Map<string, Tensor>();
    for (const [id, shape] of this.frontShapes.of(shapes))
      results.set(id, out !== undefined && id === output ? this.#checkOut(out, shape) : Tensor.f32(shape));
    if (out !== undefined && results.get(output) !== out) throw this.#needsNew();
    const values = (given: Iterable<Tensor>) => [...given].map(({ data }) => data as Float32Array);
    const run = { shapes, inputs: values(tensors), outputs: values(results.values()), ownsOutputs: out === undefined };
    return { native, run, inputs: new Map(inputsOf(this.graph).map(({ id }, i) => [id, tensors[i]!])), results };
  }

  #checkOut(out: Tensor, shape: readonly number[]): Float32Tensor {
    checkArgument('out', TENSOR, out);
    const { output, outputTypes } = this.graph;
    if ((outputTypes?.[output] ?? 'F32') !== 'F32' || this.split.isOpen(output)) throw this.#needsNew();
    const isFloat = out.dtype === 'F32';
    if (isFloat && formatShape(out.shape) === formatShape(shape)) return out as Float32Tensor;
    const expected = isFloat ? formatShape(shape) : `a float32 tensor ${formatShape(shape)}`;
    throw new RepfuseError(
      'ERR_REPFUSE_SHAPE',
      `Expected ${expected} for out but received ${isFloat ? formatShape(out.shape) : out.dtype}`,
      { option: 'out' },
    );
  }

  #needsNew(): RepfuseError {
    return new RepfuseError(
      'ERR_REPFUSE_INVALID_ARGUMENT',
      'Expected no `out` for a result that is not float32, or whose size depends on the data',
      { option: 'out' },
    );
  }

  #defaultShapes(): InputShapes {
    const shapes = shapesForOne(this.graph);
    if (shapes !== undefined) return new Map(inputsOf(this.graph).map(({ id }, i) => [id, shapes[i]!]));
    throw new RepfuseError(
      'ERR_REPFUSE_INVALID_ARGUMENT',
      'Expected an input shape, since the graph tells none, but received none',
    );
  }
}

/** A checked run. */
interface PreparedRun {
  readonly native: NativeEngine;
  readonly run: NativeRun;
  /** By name. */
  readonly inputs: ReadonlyMap<string, Tensor>;
  /** Of the native part, by id; the run fills them. */
  readonly results: ReadonlyMap<string, Tensor>;
}

/** Inputs over memory that the caller does not have. */
function copiesOf(inputs: ReadonlyMap<string, Tensor>, copies: readonly Float32Array[]): ReadonlyMap<string, Tensor> {
  return new Map([...inputs].map(([id, { shape }], i) => [id, Tensor.f32(shape, copies[i]!)]));
}

/** What shapes are inferred from; the elements themselves may go. */
function withoutData(tensors: ReadonlyMap<string, Tensor>): Map<string, TensorStub> {
  return new Map([...tensors].map(([key, { dtype, shape }]) => [key, { dtype, shape }]));
}
