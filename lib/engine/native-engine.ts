import type { EngineHandle, NativeEngineMemory, NativeEngineStep, NativeStatus } from '../native/addon';
import { type AsyncCallOptions, callNative, callNativeAsync, throwIfAborted, throwIfFailed } from '../native/call';
import { loadAddon } from '../native/load';
import type { Program, ProgramStep } from './program';

export type ImageShape = readonly [number, number, number, number];

/** How a convolution may be computed, in the words of native/src/addon/engine.cc. */
export const ALGORITHMS = ['auto', 'direct', 'winograd2', 'winograd4', 'products', 'float64'] as const;
export type Algorithm = (typeof ALGORITHMS)[number];

export const PRECISIONS = ['f32', 'fast', 'bf16'] as const;
export type Precision = (typeof PRECISIONS)[number];

export interface NativeEngineOptions {
  readonly algorithm: Algorithm;
  readonly precision: Precision;
  readonly batchInvariant: boolean;
  readonly plans: number;
}

/** One asynchronous run. */
export interface NativeRun {
  readonly shape: ImageShape;
  readonly input: Float32Array;
  readonly output: Float32Array;
  readonly ownsOutput: boolean;
}

/** The native engine of one program. */
export class NativeEngine {
  private constructor(private readonly handle: EngineHandle) {}

  /**
   * Hands a program over, its convolutions fused on the pool, its weights copied, step by step so that the event loop is never held up for long.
   *
   * @throws ERR_REPFUSE_ABORTED; ERR_REPFUSE_NOT_FINITE naming the node whose fused values are not finite
   */
  static async build(
    program: Program,
    options: NativeEngineOptions,
    signal: AbortSignal | undefined,
  ): Promise<NativeEngine> {
    const addon = loadAddon();
    const engine = new NativeEngine(addon.engineBuilder(program.inChannels));
    let copied = 0;
    for (const { fuse, ...step } of program.steps) {
      const complete = fuse === undefined ? step : { ...step, ...(await fuse({ signal })) };
      throwIfFailed('engineAdd', addon.engineAdd(engine.handle, stepArguments(complete)));
      copied += complete.weight?.bytes ?? 0;
      if (copied < COPIED_AT_ONCE) continue;
      copied = 0;
      await new Promise((resolve) => setImmediate(resolve));
      throwIfAborted(signal);
    }
    throwIfFailed('engineBuild', addon.engineBuild(engine.handle, { ...options, output: program.output }));
    return engine;
  }

  prepare(shape: ImageShape, threads: number, options: AsyncCallOptions): Promise<void> {
    return callNativeAsync('enginePrepare', { engine: this.handle, shape, threads }, options);
  }

  run(shape: ImageShape, input: Float32Array, output: Float32Array, threads: number): void {
    const owned = { ownsInput: false, ownsOutput: false };
    callNative('engineRun', { engine: this.handle, shape, input, output, threads, ...owned });
  }

  /** `input` must be left alone until the promise settles; so must `output` where `ownsOutput` says so, else it is written in the end. */
  runAsync(
    { shape, input, output, ownsOutput }: NativeRun,
    threads: number,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    const args = { engine: this.handle, shape, input, output, threads, ownsInput: true, ownsOutput };
    return callNativeAsync('engineRun', args, { signal });
  }

  explain(shape: ImageShape, threads: number): readonly NativeEngineStep[] {
    return expectAnswer('engineExplain', loadAddon().engineExplain({ engine: this.handle, shape, threads }));
  }

  memory(): NativeEngineMemory {
    return expectAnswer('engineMemory', loadAddon().engineMemory(this.handle));
  }

  dispose(): void {
    loadAddon().engineDispose(this.handle);
  }
}

/** Bytes of weights between two turns of the event loop. */
const COPIED_AT_ONCE = 8 << 20;

function stepArguments(step: Omit<ProgramStep, 'fuse'>) {
  const { kind, name, inputs, activation, weight, bias, groups = 1, padding = [0, 0, 0, 0] } = step;
  const { stride = [1, 1], dilation = [1, 1], ceilMode = false, countIncludePad = true } = step;
  return {
    kind,
    name,
    inputs,
    activation,
    weight: weight?.data ?? null,
    bias: bias?.data ?? null,
    outChannels: weight?.shape[0] ?? 0,
    groups,
    kernel: step.kernel ?? (weight?.shape.length === 4 ? weight.shape.slice(2) : [1, 1]),
    stride,
    padding,
    dilation,
    ceilMode,
    countIncludePad,
  };
}

function expectAnswer<T extends object>(operator: string, answer: T | NativeStatus): T {
  if ('code' in answer) throwIfFailed(operator, answer);
  return answer as T;
}
