/** What a native operator returns when it did not succeed; see `Code` in native/include/repfuse/status.h. */
export interface NativeStatus {
  readonly code: number;
  readonly message: string;
  readonly where: number;
}

/** An asynchronous call under way; `promise` resolves with null on success. */
export interface NativeCall {
  readonly id: number;
  readonly promise: Promise<NativeStatus | null>;
}

export type Isa = 'scalar' | 'avx2' | 'avx512' | 'avx512bf16' | 'amx';

export interface NativeInfo {
  /** The level whose kernels run. */
  readonly isa: Isa;
  readonly isasAvailable: readonly Isa[];
  /** Names of the micro-kernels in force: of `conv2d` and `linear`, of the engine, and of its products of bf16 (null: the level has none). */
  readonly kernels: { readonly gemm: string; readonly blocked: string; readonly products: string | null };
  /** min(CPU affinity, ceil(cgroup CPU quota)). */
  readonly defaultThreads: number;
  /** Pool threads started so far in this process. */
  readonly poolThreads: number;
  readonly cpuQuota: number | null;
  readonly pendingJobs: number;
}

/** The argument object of a native operator: plain numbers, shapes, typed arrays, and nothing else. */
export type NativeArguments = Readonly<Record<string, unknown>>;

/** Names of the operators; each has a twin `nameAsync(args, borrow)`. */
export type NativeOperator =
  | 'add'
  | 'avgPool2d'
  | 'conv2d'
  | 'copyProbe'
  | 'enginePrepare'
  | 'engineRun'
  | 'fmaProbe'
  | 'frame'
  | 'fuse'
  | 'gate'
  | 'globalAvgPool'
  | 'hardswish'
  | 'linear'
  | 'maxPool2d'
  | 'narrow'
  | 'normalize'
  | 'relu'
  | 'sigmoid'
  | 'silu'
  | 'softmax'
  | 'tensorOp';

/** A native engine, or its builder. */
export interface EngineHandle {
  readonly __engine: unique symbol;
}

/** A step of a plan; estimate, seconds and error are 0 where there is none. */
export interface NativeEngineStep {
  readonly layer: string;
  readonly kernel: string;
  readonly epilogue: string;
  readonly output: readonly number[];
  readonly macs: number;
  readonly weightBytes: number;
  readonly estimate: number;
  readonly seconds: number;
  readonly error: number;
}

export interface NativeEngineMemory {
  readonly sourceWeights: number;
  readonly packedWeights: number;
  readonly activations: number;
  readonly workspace: number;
}

/** The typed shape of repfuse.node. */
export type Addon = {
  engineBuilder(): EngineHandle;
  engineAdd(engine: EngineHandle, step: NativeArguments): NativeStatus | null;
  engineBuild(engine: EngineHandle, options: NativeArguments): NativeStatus | null;
  engineExplain(args: NativeArguments): readonly NativeEngineStep[] | NativeStatus;
  engineMemory(engine: EngineHandle): NativeEngineMemory | NativeStatus;
  /** Tells V8 how much memory the engine holds at present. */
  engineAccount(engine: EngineHandle): NativeStatus | null;
  engineDispose(engine: EngineHandle): NativeStatus | null;
  tensorOpShape(args: NativeArguments): readonly number[] | NativeStatus;
  info(): NativeInfo;
  setIsa(name: string): boolean;
  cancel(id: number): void;
  /** A hint for memory that has just been allocated: huge pages take fewer faults. */
  adviseHugePages(bytes: Uint8Array): void;
} & { readonly [Name in NativeOperator]: (args: NativeArguments) => NativeStatus | null } & {
  readonly [Name in NativeOperator as `${Name}Async`]: (
    args: NativeArguments,
    borrow?: boolean,
  ) => NativeCall | NativeStatus;
};

/** The arrays that tensors hold, and that the addon takes. */
export type TensorData =
  | Float64Array
  | Float32Array
  | Uint16Array
  | BigInt64Array
  | BigUint64Array
  | Int32Array
  | Uint32Array
  | Int16Array
  | Int8Array
  | Uint8Array;
