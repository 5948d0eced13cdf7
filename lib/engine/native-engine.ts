import { RepfuseError } from '../errors';
import type { EngineHandle, NativeEngineMemory, NativeEngineStep, NativeStatus } from '../native/addon';
import { type AsyncCallOptions, callNative, callNativeAsync, throwIfAborted, throwIfFailed } from '../native/call';
import { loadAddon } from '../native/load';
import type { MemoryLimit } from '../native/memory';
import { nodeArguments } from '../ops/tensor-op';
import { type FuseOptions, type Program, type ProgramStep, type SettledStep, scaleAndShift } from './program';
import { WeightScratch } from './weight-scratch';

/** Of one input. */
export type Shape = readonly number[];

/** How a convolution may be computed, in the words of native/src/addon/engine.cc. */
export const ALGORITHMS = ['auto', 'direct', 'winograd2', 'winograd4x2', 'winograd4', 'products', 'float64'] as const;
export type Algorithm = (typeof ALGORITHMS)[number];

export const PRECISIONS = ['f32', 'fast', 'bf16'] as const;
export type Precision = (typeof PRECISIONS)[number];

/**
 * What a convolution may lose in each precision, whatever its finite data, of the largest sum of magnitudes of its terms (|bias| + sum |weight| |input|)
 * at any place of the kernel that meets the image; docs/precision.md says why, and what typical data lose.
 */
export const PRECISION_BOUNDS: Readonly<Record<Precision, number>> = { f32: 5e-5, fast: 1e-4, bf16: 1e-2 };

export interface NativeEngineOptions {
  readonly algorithm: Algorithm;
  readonly precision: Precision;
  readonly batchInvariant: boolean;
  readonly leastMemory: boolean;
  readonly merge: boolean;
  readonly plans: number;
  readonly memory: MemoryLimit;
}

/** One run. */
export interface NativeRun {
  readonly shapes: readonly Shape[];
  readonly inputs: readonly Float32Array[];
  readonly outputs: readonly Float32Array[];
  readonly ownsOutputs: boolean;
}

/** Shapes whose sizes are remembered. */
const MAX_REMEMBERED = 64;

/** The native engine of one program. */
export class NativeEngine {
  /** What shapes tell of steps. */
  private readonly sizes = new Map<string, readonly SettledStep[]>();

  /** @param nodes the name of the node of each step */
  private constructor(
    private readonly handle: EngineHandle,
    private readonly nodes: readonly string[],
    private readonly settled: Program['settled'],
  ) {}

  /**
   * Hands a program over, its convolutions fused on the pool, its weights copied, step by step so that the event loop is never held up for long.
   *
   * @throws ERR_REPFUSE_NOT_FINITE naming the node whose fused values are not finite; the signal's reason
   */
  static async build(
    program: Program,
    options: NativeEngineOptions,
    signal: AbortSignal | undefined,
  ): Promise<NativeEngine> {
    const addon = loadAddon();
    const names = program.steps.map(({ name }) => name);
    const engine = new NativeEngine(addon.engineBuilder(), names, program.settled);
    let copied = 0;
    const { steps } = program;
    const scratch = new WeightScratch();
    const fusing = { signal, into: (elements: number) => scratch.take(elements) };
    let next = steps.length === 0 ? undefined : completed(steps[0]!, fusing);
    for (let i = 0; next !== undefined; i++) {
      const step = await next;
      next = i + 1 === steps.length ? undefined : completed(steps[i + 1]!, fusing); // while this one is copied
      next?.catch(() => {}); // whoever waits for it is told
      throwIfFailed(`engineAdd of ${step.name}`, addon.engineAdd(engine.handle, stepArguments(step)));
      copied += step.weight?.bytes ?? 0;
      if (copied < COPIED_AT_ONCE) continue;
      copied = 0;
      await new Promise((resolve) => setImmediate(resolve));
      throwIfAborted(signal);
    }
    const { inputs, outputs } = program;
    try {
      throwIfFailed('engineBuild', addon.engineBuild(engine.handle, { ...options, inputs, outputs }));
    } catch (error) {
      throw engine.atNode(error);
    }
    engine.account();
    return engine;
  }

  /** @throws naming the node that does not fit, or whose value is the largest of those that would take more than the memory limit */
  async prepare(shapes: readonly Shape[], threads: number, options: AsyncCallOptions): Promise<void> {
    try {
      await callNativeAsync('enginePrepare', this.of(shapes, threads), options);
    } catch (error) {
      throw this.atNode(error);
    } finally {
      this.account();
    }
  }

  run({ shapes, inputs, outputs }: Omit<NativeRun, 'ownsOutputs'>, threads: number): void {
    const owned = { ownsInputs: false, ownsOutputs: false };
    try {
      callNative('engineRun', { ...this.of(shapes, threads), inputs, outputs, ...owned });
    } catch (error) {
      throw this.atNode(error);
    } finally {
      this.account();
    }
  }

  /** `inputs` must be left alone until the promise settles; so must `outputs` where `ownsOutputs` says so, else they are written in the end. */
  async runAsync(
    { shapes, inputs, outputs, ownsOutputs }: NativeRun,
    threads: number,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    const args = { ...this.of(shapes, threads), inputs, outputs, ownsInputs: true, ownsOutputs };
    try {
      await callNativeAsync('engineRun', args, { signal });
    } catch (error) {
      throw this.atNode(error);
    } finally {
      this.account();
    }
  }

  explain(shapes: readonly Shape[], threads: number): readonly NativeEngineStep[] {
    try {
      return expectAnswer('engineExplain', loadAddon().engineExplain(this.of(shapes, threads)));
    } catch (error) {
      throw this.atNode(error);
    }
  }

  /** What every call says of its shapes. */
  private of(shapes: readonly Shape[], threads: number) {
    if (this.settled === undefined) return { engine: this.handle, shapes, threads };
    const key = shapes.map((shape) => shape.join()).join(';');
    let sizes = this.sizes.get(key);
    if (sizes === undefined) {
      sizes = this.settled(shapes);
      if (this.sizes.size >= MAX_REMEMBERED) this.sizes.clear();
      this.sizes.set(key, sizes);
    }
    return { engine: this.handle, shapes, threads, sizes };
  }

  memory(): NativeEngineMemory {
    return expectAnswer('engineMemory', loadAddon().engineMemory(this.handle));
  }

  /** An error of the native side, with the name of the node that it tells of by number. */
  private atNode(error: unknown): unknown {
    if (!(error instanceof RepfuseError)) return error;
    const { code, message, details } = error;
    const node = this.nodes[details.where as number];
    if (node === undefined) return error;
    return new RepfuseError(code, `Node ${node}: ${message}`, { ...details, node }, { cause: error });
  }

  /** Plans of new shapes, and runs that overlap, take memory. V8 knows of it, so that engines that nobody has are collected. */
  private account(): void {
    throwIfFailed('engineAccount', loadAddon().engineAccount(this.handle));
  }

  dispose(): void {
    throwIfFailed('engineDispose', loadAddon().engineDispose(this.handle));
  }
}

/** Bytes of weights between two turns of the event loop. */
const COPIED_AT_ONCE = 8 << 20;

/** A step with its weights, fused. @throws as the `fuse` of a step */
async function completed({ fuse, follows = [], ...rest }: ProgramStep, fusing: FuseOptions) {
  const weights = await fuse?.(fusing);
  const parts = await Promise.all(
    follows.map(async (part) => {
      if (!('fuse' in part)) return part;
      const { scale, shift } = await scaleAndShift(part.fuse, fusing.signal);
      return { scale: scale.data, shift: shift.data };
    }),
  );
  return { ...rest, ...weights, ...(parts.length === 0 ? {} : { follows: parts }) };
}

function stepArguments({ weight, bias, ...step }: Omit<ProgramStep, 'fuse' | 'follows'>) {
  return {
    ...nodeArguments(step),
    ...(step.kernel === undefined && weight?.shape.length === 4 ? { kernel: weight.shape.slice(2) } : {}),
    weight: weight?.data ?? null,
    bias: bias?.data ?? null,
    outChannels: weight?.shape[0] ?? 0,
  };
}

function expectAnswer<T extends object>(operator: string, answer: T | NativeStatus): T {
  if ('code' in answer) throwIfFailed(operator, answer);
  return answer as T;
}
