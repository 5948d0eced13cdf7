import { BOOLEAN, integer, oneOf, optional, optionsOf, SIGNAL, THREADS, unchecked } from '../arguments/schemas';
import type { Tensor } from '../tensor/tensor';
import { ALGORITHMS, type Algorithm, PRECISIONS, type Precision } from './native-engine';

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
   * How convolutions are computed, where that can be had: as is estimated to be fastest (`'auto'`, default), directly, by Winograd's F(2, 3),
   * F(4x2, 3) or F(4, 3) (3x3 of stride 1), by products of bf16 terms, or with all sums in float64, each rounded once: slow, what the others are
   * measured against.
   */
  readonly algorithm?: Algorithm | undefined;
  /**
   * What kernels may be chosen for: `'auto'` (default) lets Winograd's packed weights, which are larger, grow to 2.2 times the weights as
   * they came and 8 MiB, where that gains most time for a byte; `'least'` takes those whose packed weights are no larger than that. `algorithm` has the last word.
   */
  readonly memory?: 'auto' | 'least' | undefined;
  /**
   * Convolutions whose values between them no one else reads run as one step, some rows or channels at a time. Default true; false measures what that
   * gains. It changes no result.
   */
  readonly merge?: boolean | undefined;
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

export const ENGINE_OPTIONS = optionsOf<EngineOptions>()({
  algorithm: optional(oneOf(ALGORITHMS)),
  batchInvariant: optional(BOOLEAN),
  memory: optional(oneOf(['auto', 'least'])),
  memoryLimit: optional(integer()),
  merge: optional(BOOLEAN),
  plans: optional(integer()),
  precision: optional(oneOf(PRECISIONS)),
  signal: optional(SIGNAL),
  threads: optional(THREADS),
});
export const RUN_OPTIONS = optionsOf<RunAsyncOptions>()({
  out: unchecked<Tensor | undefined>(),
  signal: optional(SIGNAL),
});
export const RUN_ALL_OPTIONS = optionsOf<Pick<RunAsyncOptions, 'signal'>>()({ signal: optional(SIGNAL) });
export const RUN_SYNC_OPTIONS = optionsOf<RunOptions>()({ out: unchecked<Tensor | undefined>() });
export const STREAM_OPTIONS = optionsOf<StreamOptions>()({
  concurrency: optional(integer()),
  signal: optional(SIGNAL),
});
