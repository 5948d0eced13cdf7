import { types } from 'node:util';
import { checkArgument, checkOptions } from '../arguments/check';
import {
  BOOLEAN,
  integer,
  isListOf,
  oneOf,
  optional,
  optionsOf,
  type Schema,
  SIGNAL,
  THREADS,
  unchecked,
  value,
} from '../arguments/schemas';
import { show } from '../arguments/show';
import { RepfuseError } from '../errors';
import { checkModel, expectRoomForEach, expectTensors, type Graph, inferShapes, type Model, outputsOf } from '../graph';
import { callNative, throwIfAborted } from '../native/call';
import { loadAddon } from '../native/load';
import { type MemoryLimit, resolveMemoryLimit } from '../native/memory';
import { resolveThreads } from '../native/threads';
import type { DType } from '../tensor/dtype';
import { toFloat32 } from '../tensor/half';
import { TENSOR } from '../tensor/schemas';
import { batchOf, formatShape, isTensor, Tensor } from '../tensor/tensor';
import { compileGraph } from './compile';
import { InputCopies } from './input-copies';
import { ALGORITHMS, type Algorithm, type ImageShape, NativeEngine, PRECISIONS, type Precision } from './native-engine';
import { RunQueue } from './run-queue';

export interface EngineOptions {
  /** Threads of a run; default `REPFUSE_NUM_THREADS`, else min(CPU affinity, cgroup quota). Never changes the result. */
  readonly threads?: number | undefined;
  /**
   * What a convolution may lose, whatever its finite data, of the largest sum of magnitudes of its terms (`PRECISION_BOUNDS`): `'f32'`
   * (default) 5e-5, `'fast'` 1e-4, `'bf16'` 1e-2. Typical data lose 3e-6, 2e-5, 1e-2 of the peak of the result. A
   * CPU that multiplies bf16 may split float32 into three bf16 terms (six products), two (three products), or round it to one; float32 is
   * always allowed to answer. `explain` tells which did.
   */
  readonly precision?: Precision | undefined;
  /** An image's result does not depend on the batch it comes in. Default false: kernels are chosen for the whole batch. */
  readonly batchInvariant?: boolean | undefined;
  /**
   * How convolutions are computed, where that can be had: as is estimated to be fastest (`'auto'`, default), directly, by Winograd's F(2, 3) or
   * F(4, 3) (3x3 of stride 1), by products of bf16 terms, or with all sums in float64, each rounded once: slow, what the others are
   * measured against.
   */
  readonly algorithm?: Algorithm | undefined;
  /** Input shapes whose compiled plans are kept, those used last. Default 8. */
  readonly plans?: number | undefined;
  /**
   * Bytes that one run may take: activations with their borders, workspaces, packed weights. Runs that overlap take as much each. Default: nine
   * tenths of the memory that this process may use (its cgroup's, or the machine's), and no more than 4096 times the bytes of the input and 256
   * times those of the weights together, unless that is less than 128 MiB: a small file has no business to ask for gigabytes.
   */
  readonly memoryLimit?: number | undefined;
  /** Stops the compilation, which rejects with its reason. */
  readonly signal?: AbortSignal | undefined;
}

export interface RunOptions {
  /** Where the result goes: a float32 tensor of its shape. Default: a new one. */
  readonly out?: Tensor | undefined;
}

export interface RunAsyncOptions extends RunOptions {
  /** Stops the run within one layer; it rejects with the signal's reason. */
  readonly signal?: AbortSignal | undefined;
}

export interface StreamOptions {
  /** Inputs under way at a time. Default 2: one runs while the next is fetched. */
  readonly concurrency?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Bytes that an engine holds. */
export interface EngineMemory {
  /** As they came, to be packed for further shapes. */
  readonly sourceWeights: number;
  /** In the order in which kernels read them; Winograd's are larger. */
  readonly packedWeights: number;
  /** Of all plans and of runs that overlap. */
  readonly activations: number;
  readonly workspace: number;
}

/** One step of a plan, as `explain` tells it. */
export interface EngineStep {
  /** Of the graph's node. */
  readonly layer: string;
  readonly kernel: string;
  /** Shape of the result: [N, C, H, W], [N, features], or of any tensor. */
  readonly output: readonly number[];
  /** Multiply-accumulates of the plain definition. */
  readonly macs: number;
  /** Of the packed weights. */
  readonly weightBytes: number;
  /** Seconds on one thread by the table of rates; null where there is no choice of kernels. */
  readonly estimate: number | null;
  /** Seconds of the fastest run so far; null before the first. */
  readonly seconds: number | null;
  /** Achieved multiply-accumulates (of the plain definition: Winograd's can exceed 1) over the peak that `peak` names; null before a run. */
  readonly shareOfPeak: number | null;
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
  /** Of all outputs, by input shape: inferring them takes as long as a small layer. */
  private readonly outputShapes = new Map<string, readonly (readonly number[])[]>();
  /** Runs on the pool that have not ended. */
  private underWay = 0;

  private constructor(
    native: NativeEngine,
    private readonly graph: Graph,
    private readonly stubs: ReadonlyMap<string, Pick<Tensor, 'dtype' | 'shape'>>,
    readonly threads: number,
    private readonly memoryLimit: MemoryLimit,
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
    if (shape !== undefined) expectRoomForEach(graph, inferShapes(graph, shape, stubs), stubs, memory);
    else for (const node of graph.nodes) expectTensors(node, stubs); // sizes are looked at in a run
    const program = compileGraph(graph, tensors);
    const native = await NativeEngine.build(program, { algorithm, precision, batchInvariant, plans, memory }, signal);
    if (shape !== undefined) await native.prepare(shape, threads, { signal });
    return new Engine(native, graph, stubs, threads, memory);
  }

  /**
   * Runs on threads of the engine's own. The input is copied first: it may be changed at once.
   *
   * @param input float32, or a half type (widened), [N, C, H, W], normalised as the network wants it (see `normalizeInput`); any N, H and W that the network allows
   * @returns the graph's output (of several the first, see `runAll`): `out`, or a new tensor
   * @throws ERR_REPFUSE_GRAPH or ERR_REPFUSE_SHAPE if the input does not fit; ERR_REPFUSE_MEMORY; ERR_REPFUSE_INVALID_ARGUMENT; ERR_REPFUSE_DISPOSED;
   *   the signal's reason
   */
  async run(input: Tensor, options: RunAsyncOptions = {}): Promise<Tensor> {
    const { out, signal } = checkOptions('run', RUN_OPTIONS, options);
    throwIfAborted(signal);
    return (await this.#start(this.#prepareRun(input, out), out === undefined, signal))[0]!;
  }

  /** `run` for a graph of several outputs: all of them, by id, in new tensors. */
  async runAll(input: Tensor, options: Pick<RunAsyncOptions, 'signal'> = {}): Promise<ReadonlyMap<string, Tensor>> {
    const { signal } = checkOptions('runAll', RUN_ALL_OPTIONS, options);
    throwIfAborted(signal);
    const outputs = await this.#start(this.#prepareRun(input, undefined), true, signal);
    return new Map(outputsOf(this.graph).map((id, i) => [id, outputs[i]!]));
  }

  async #start(
    { native, shape, values, outputs }: PreparedRun,
    ownsOutputs: boolean,
    signal: AbortSignal | undefined,
  ): Promise<readonly Tensor[]> {
    const run = { shape, input: this.copies.take(values), outputs: outputs.map(dataOf), ownsOutputs };
    this.underWay++;
    try {
      await this.queue.take(signal, () => native.runAsync(run, this.threads, signal));
    } finally {
      this.underWay--;
      this.copies.give(run.input);
      if (this.native === undefined && this.underWay === 0) native.dispose();
    }
    return outputs;
  }

  /** `run` on the calling thread, helped by the others: the event loop waits. */
  runSync(input: Tensor, options?: RunOptions): Tensor {
    const out = options === undefined ? undefined : checkOptions('runSync', RUN_SYNC_OPTIONS, options).out;
    const { native, shape, values, outputs } = this.#prepareRun(input, out);
    native.run(shape, values, outputs.map(dataOf), this.threads);
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
  ): AsyncGenerator<Tensor, void, void> {
    const { concurrency = 2, signal } = checkOptions('stream', STREAM_OPTIONS, options);
    const source = iterate(inputs);
    const running: Promise<Tensor>[] = [];
    let ended = false;
    try {
      for (;;) {
        while (!ended && running.length < concurrency) {
          throwIfAborted(signal);
          const { done, value } = checkArgument('the next of inputs', STEP, await source.next());
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
    return this.#shapesFor(checkArgument('shape', SHAPE, shape))[0]!;
  }

  #shapesFor(shape: readonly number[]): readonly (readonly number[])[] {
    const key = formatShape(shape);
    const known = this.outputShapes.get(key);
    if (known !== undefined) return known;
    const shapes = inferShapes(this.graph, shape, this.stubs);
    expectRoomForEach(this.graph, shapes, this.stubs, this.memoryLimit);
    const inferred = outputsOf(this.graph).map((id) => shapes.get(id)!);
    if (this.outputShapes.size >= SHAPES_KEPT) this.outputShapes.clear();
    this.outputShapes.set(key, inferred);
    return inferred;
  }

  /**
   * The plan for an input shape, step by step: kernels, what they were estimated to take and what the fastest run took.
   *
   * @param shape [N, C, H, W]; default one image of the graph's input shape
   * @throws as `run`
   */
  explain(shape: readonly number[] | undefined = this.#defaultShape()): readonly EngineStep[] {
    const native = this.#alive();
    const peak = peakMacs() * this.threads;
    return native
      .explain(this.#checkShape(checkArgument('shape', SHAPE, shape)), this.threads)
      .map(({ estimate, seconds, ...step }) => ({
        ...step,
        estimate: estimate === 0 ? null : estimate,
        seconds: seconds === 0 ? null : seconds,
        shareOfPeak: seconds === 0 || step.macs === 0 ? null : step.macs / seconds / peak,
      }));
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
    const [first, ...others] = this.#shapesFor(shape) as [readonly number[], ...(readonly number[])[]];
    if (out !== undefined) this.#checkOut(out, first);
    const outputs = [out ?? Tensor.f32(first), ...others.map((each) => Tensor.f32(each))];
    return { native, shape, values: toFloat32(input), outputs };
  }

  #checkOut(out: Tensor, shape: readonly number[]): void {
    checkArgument('out', TENSOR, out);
    const isFloat = out.dtype === 'F32';
    if (isFloat && formatShape(out.shape) === formatShape(shape)) return;
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
  readonly outputs: readonly Tensor[];
}

function dataOf({ data }: Tensor): Float32Array {
  return data as Float32Array;
}

const SHAPES_KEPT = 64;
const INPUT_TYPES: readonly DType[] = ['F32', 'F16', 'BF16'];

const ENGINE_OPTIONS = optionsOf<EngineOptions>()({
  algorithm: optional(oneOf(ALGORITHMS)),
  batchInvariant: optional(BOOLEAN),
  memoryLimit: optional(integer()),
  plans: optional(integer()),
  precision: optional(oneOf(PRECISIONS)),
  signal: optional(SIGNAL),
  threads: optional(THREADS),
});
const RUN_OPTIONS = optionsOf<RunAsyncOptions>()({ out: unchecked<Tensor | undefined>(), signal: optional(SIGNAL) });
const RUN_ALL_OPTIONS = optionsOf<Pick<RunAsyncOptions, 'signal'>>()({ signal: optional(SIGNAL) });
const RUN_SYNC_OPTIONS = optionsOf<RunOptions>()({ out: unchecked<Tensor | undefined>() });
const STREAM_OPTIONS = optionsOf<StreamOptions>()({
  concurrency: optional(integer()),
  signal: optional(SIGNAL),
});
const SHAPE: Schema<readonly number[]> = value('an array of positive integers', (given) =>
  isListOf(given, (dim) => Number.isSafeInteger(dim) && (dim as number) > 0),
);
/** What shapes are inferred from; the elements themselves may go. */
function withoutData(tensors: ReadonlyMap<string, Tensor>): Map<string, Pick<Tensor, 'dtype' | 'shape'>> {
  return new Map([...tensors].map(([key, { dtype, shape }]) => [key, { dtype, shape }]));
}

/** @throws ERR_REPFUSE_INVALID_ARGUMENT for what gives nothing one by one */
function iterate<T>(source: Iterable<T> | AsyncIterable<T>): AsyncIterator<T> | Iterator<T> {
  const start = checkArgument('inputs', ITERABLE, source);
  const method = start[Symbol.asyncIterator] ?? start[Symbol.iterator];
  return checkArgument('the iterator of inputs', ITERATOR, method.call(start)) as Iterator<T>;
}

function isFunction(given: unknown): boolean {
  return typeof given === 'function';
}

const ITERABLE: Schema<Iterable<never> & AsyncIterable<never>> = value('an iterable of Tensors', (given) => {
  if (typeof given !== 'object' || given === null) return false;
  const { [Symbol.asyncIterator]: async, [Symbol.iterator]: sync } = given as Record<symbol, unknown>;
  return isFunction(async ?? sync);
});
const ITERATOR: Schema<Iterator<unknown>> = value('an object with a method next', (given) =>
  isFunction(Object(given).next),
);
const STEP: Schema<IteratorResult<Tensor>> = value('an object with done and value', (given) => Object(given) === given);

let peak: number | undefined;

/** Multiply-accumulates a second in the registers of one thread, measured once: the limit of any kernel. */
function peakMacs(): number {
  if (peak !== undefined) return peak;
  const flops = new Float64Array(1);
  const seconds = Array.from({ length: 3 }, () => {
    const started = performance.now();
    callNative('fmaProbe', { rounds: PROBE_ROUNDS, threads: 1, flops });
    return (performance.now() - started) / 1e3;
  });
  peak = flops[0]! / 2 / Math.min(...seconds);
  return peak;
}

/** Takes some milliseconds. */
const PROBE_ROUNDS = 1_000_000;
