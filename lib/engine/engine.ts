import { types } from 'node:util';
import { checkArgument, checkOptions } from '../arguments/check';
import { isListOf, type Schema, value } from '../arguments/schemas';
import { show } from '../arguments/show';
import { RepfuseError } from '../errors';
import { checkModel, expectTensors, type Graph, type Model, outputsOf } from '../graph';
import { throwIfAborted } from '../native/call';
import { loadAddon } from '../native/load';
import { resolveMemoryLimit } from '../native/memory';
import { resolveThreads } from '../native/threads';
import { printable } from '../printable';
import type { DType } from '../tensor/dtype';
import { toFloat32 } from '../tensor/half';
import { TENSOR, type TensorStub } from '../tensor/schemas';
import { batchOf, type Float32Tensor, formatShape, INSPECT, isTensor, Tensor } from '../tensor/tensor';
import { compileGraph } from './compile';
import { type EngineStep, explainSteps } from './explain';
import { InputCopies } from './input-copies';
import { ITERATED, iterate } from './iterate';
import { type ImageShape, NativeEngine } from './native-engine';
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
  /** Weights as they came, to be packed for further shapes. */
  readonly sourceWeights: number;
  /** Weights in the order in which kernels read them; Winograd's are larger. */
  readonly packedWeights: number;
  /** Values of all plans, and of runs that overlap. */
  readonly activations: number;
  readonly workspace: number;
}

/**
 * A network compiled for this machine: re-parameterizable branches merged where that is exact, BatchNorms, activations and sums folded
 * into the convolutions before them, weights packed once, a plan for each input shape.
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
    private readonly stubs: ReadonlyMap<string, TensorStub>,
    private readonly inChannels: number,
    private readonly outputShapes: OutputShapes,
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
   * Compiles a network. The weights are copied: change or drop them as you like. Where the graph tells its input's size, the plan for one
   * image is compiled at once, otherwise with the first run of each shape.
   *
   * @throws ERR_REPFUSE_GRAPH naming the node that does not fit; ERR_REPFUSE_MEMORY naming the one that would take too much (see `memoryLimit`);
   *   ERR_REPFUSE_NOT_FUSABLE or ERR_REPFUSE_NOT_FINITE naming the node of a BatchNorm that cannot be evaluated; ERR_REPFUSE_INVALID_ARGUMENT;
   *   the signal's reason
   */
  static async create(model: Model, options: EngineOptions = {}): Promise<Engine> {
    const checked = checkOptions('Engine.create', ENGINE_OPTIONS, options);
    const { plans = 8, precision = 'f32', algorithm = 'auto', batchInvariant = false, signal } = checked;
    const threads = resolveThreads(checked.threads);
    const memory = resolveMemoryLimit(checked.memoryLimit);
    throwIfAborted(signal);
    const { graph, tensors } = checkModel(model);
    const shape = graph.inputShape === undefined ? undefined : ([1, ...graph.inputShape] as const);
    const stubs = withoutData(tensors);
    const outputShapes = new OutputShapes(graph, stubs, memory);
    if (shape !== undefined) outputShapes.of(shape);
    else for (const node of graph.nodes) expectTensors(node, stubs); // sizes are looked at in a run
    const program = compileGraph(graph, tensors);
    const native = await NativeEngine.build(program, { algorithm, precision, batchInvariant, plans, memory }, signal);
    if (shape !== undefined) await native.prepare(shape, threads, { signal });
    return new Engine(native, graph, stubs, program.inChannels, outputShapes, threads);
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
   * Runs on threads of the engine's own. The input is copied first: it may be changed at once.
   *
   * @param input float32, or a half type (widened), [N, C, H, W], normalised as the network wants it (see `normalizeInput`); any N, H and W that the network allows
   * @returns the graph's output (of several the first, see `runAll`): `out`, or a new tensor
   * @throws ERR_REPFUSE_GRAPH or ERR_REPFUSE_SHAPE if the input does not fit; ERR_REPFUSE_MEMORY; ERR_REPFUSE_INVALID_ARGUMENT; ERR_REPFUSE_DISPOSED;
   *   the signal's reason
   */
  async run(input: Tensor, options: RunAsyncOptions = {}): Promise<Float32Tensor> {
    const { out, signal } = checkOptions('run', RUN_OPTIONS, options);
    throwIfAborted(signal);
    return (await this.#start(this.#prepareRun(input, out), out === undefined, signal))[0]!;
  }

  /** `run` for a graph of several outputs: all of them, by id, in new tensors. */
  async runAll(
    input: Tensor,
    options: Pick<RunAsyncOptions, 'signal'> = {},
  ): Promise<ReadonlyMap<string, Float32Tensor>> {
    const { signal } = checkOptions('runAll', RUN_ALL_OPTIONS, options);
    throwIfAborted(signal);
    const outputs = await this.#start(this.#prepareRun(input, undefined), true, signal);
    return new Map(outputsOf(this.graph).map((id, i) => [id, outputs[i]!]));
  }

  async #start(
    { native, shape, values, outputs }: PreparedRun,
    ownsOutputs: boolean,
    signal: AbortSignal | undefined,
  ): Promise<readonly Float32Tensor[]> {
    const run = { shape, input: this.copies.acquire(values), outputs: outputs.map(({ data }) => data), ownsOutputs };
    this.underWay++;
    try {
      await this.queue.run(signal, () => native.runAsync(run, this.threads, signal));
    } finally {
      this.underWay--;
      this.copies.release(run.input);
      if (this.native === undefined && this.underWay === 0) native.dispose();
    }
    return outputs;
  }

  /** `run` on the calling thread, helped by the others: the event loop waits. */
  runSync(input: Tensor, options?: RunOptions): Float32Tensor {
    const out = options === undefined ? undefined : checkOptions('runSync', RUN_SYNC_OPTIONS, options).out;
    const { native, shape, values, outputs } = this.#prepareRun(input, out);
    native.run(
      shape,
      values,
      outputs.map(({ data }) => data),
      this.threads,
    );
    return outputs[0]!;
  }

  /**
   * Runs inputs as they come, and hands results out in the same order. No more inputs are asked for than `concurrency` while results are
   * not taken. Leaving the loop, or an error, ends the source and waits for what runs.
   *
   * @throws as `run`; what the source throws
   */
  async *stream(
    inputs: Iterable<Tensor> | AsyncIterable<Tensor>,
    options: StreamOptions = {},
  ): AsyncGenerator<Float32Tensor, void, void> {
    const { concurrency = 2, signal } = checkOptions('stream', STREAM_OPTIONS, options);
    const source = iterate(inputs);
    const running: Promise<Float32Tensor>[] = [];
    let ended = false;
    try {
      for (;;) {
        while (!ended && running.length < concurrency) {
          throwIfAborted(signal);
          const { done, value } = checkArgument('the next of inputs', ITERATED, await source.next());
          if (done) ended = true;
          else {
            const result = this.run(value, { signal });
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

  /** [N, C, H, W] or [N, features] of the result (of several the first) for an input of that shape. @throws as `run` */
  outputShape(shape: readonly number[]): readonly number[] {
    return this.outputShapes.of(checkArgument('shape', SHAPE, shape))[0]!;
  }

  /**
   * The plan for an input shape, step by step: kernels, what they were estimated to take and what the fastest run took.
   *
   * @param shape [N, C, H, W]; default one image of the graph's input shape
   * @throws as `run`
   */
  explain(shape: readonly number[] | undefined = this.#defaultShape()): readonly EngineStep[] {
    const native = this.#alive();
    const checked = this.#checkShape(checkArgument('shape', SHAPE, shape));
    return explainSteps(native.explain(checked, this.threads), this.threads);
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

  #prepareRun(input: Tensor, out: Tensor | undefined): PreparedRun {
    const native = this.#alive();
    if (!isTensor(input) || !INPUT_TYPES.includes(input.dtype)) {
      throw new RepfuseError(
        'ERR_REPFUSE_INVALID_ARGUMENT',
        `Expected a float32 tensor (or F16, BF16) for the input but received ${isTensor(input) ? input.dtype : show(input)}`,
        { argument: 'input' },
      );
    }
    const shape = this.#checkShape(input.shape);
    const [first, ...others] = this.outputShapes.of(shape) as [readonly number[], ...(readonly number[])[]];
    const outputs = [
      out === undefined ? Tensor.f32(first) : this.#checkOut(out, first),
      ...others.map((each) => Tensor.f32(each)),
    ];
    return { native, shape, values: toFloat32(input), outputs };
  }

  #checkOut(out: Tensor, shape: readonly number[]): Float32Tensor {
    checkArgument('out', TENSOR, out);
    const isFloat = out.dtype === 'F32';
    if (isFloat && formatShape(out.shape) === formatShape(shape)) return out as Float32Tensor;
    const expected = isFloat ? formatShape(shape) : `a float32 tensor ${formatShape(shape)}`;
    throw new RepfuseError(
      'ERR_REPFUSE_SHAPE',
      `Expected ${expected} for out but received ${isFloat ? formatShape(out.shape) : out.dtype}`,
      { option: 'out' },
    );
  }

  #checkShape(shape: readonly number[]): ImageShape {
    const { inputShape } = this.graph;
    const fits = inputShape === undefined || formatShape(shape.slice(1)) === formatShape(inputShape);
    if (shape.length === 4 && fits) return shape as unknown as ImageShape;
    throw new RepfuseError(
      'ERR_REPFUSE_SHAPE',
      `Expected images ${batchOf(inputShape ?? ['C', 'H', 'W'])} but received ${formatShape(shape)}`,
    );
  }

  #defaultShape(): readonly number[] {
    const { inputShape } = this.graph;
    if (inputShape !== undefined) return [1, ...inputShape];
    throw new RepfuseError(
      'ERR_REPFUSE_INVALID_ARGUMENT',
      'Expected an input shape, since the graph tells none, but received none',
    );
  }
}

/** A checked run. */
interface PreparedRun {
  readonly native: NativeEngine;
  readonly shape: ImageShape;
  readonly values: Float32Array;
  readonly outputs: readonly Float32Tensor[];
}

const INPUT_TYPES: readonly DType[] = ['F32', 'F16', 'BF16'];

const SHAPE: Schema<readonly number[]> = value('an array of positive integers', (given) =>
  isListOf(given, (dim) => Number.isSafeInteger(dim) && (dim as number) > 0),
);
/** What shapes are inferred from; the elements themselves may go. */
function withoutData(tensors: ReadonlyMap<string, Tensor>): Map<string, TensorStub> {
  return new Map([...tensors].map(([key, { dtype, shape }]) => [key, { dtype, shape }]));
}
