import { checkOptions } from '../arguments/check';
import { membersOf, optional, type Schema, SIGNAL, THREADS } from '../arguments/schemas';
import { show } from '../arguments/show';
import { RepfuseError } from '../errors';
import type { NativeArguments, NativeOperator } from '../native/addon';
import { callNative, callNativeAsync } from '../native/call';
import { resolveThreads } from '../native/threads';
import { type Float32Tensor, formatShape, isTensor, type Tensor } from '../tensor/tensor';

/** Options of every operator. */
export interface OpOptions {
  /** Threads of this call; default `REPFUSE_NUM_THREADS`, else min(CPU affinity, cgroup quota). Never changes the result. */
  readonly threads?: number | undefined;
}

/** Options of the asynchronous twins. */
export interface AsyncOpOptions {
  /** Rejects with the signal's reason; work already begun stops between two shares. */
  readonly signal?: AbortSignal | undefined;
}

export const OP_OPTIONS = membersOf<OpOptions>()({ threads: optional(THREADS) });
export const ASYNC_OP_OPTIONS = membersOf<OpOptions & AsyncOpOptions>()({
  threads: optional(THREADS),
  signal: optional(SIGNAL),
});
export const NO_OTHER_OPTIONS = [OP_OPTIONS, ASYNC_OP_OPTIONS] as const;

/** A checked call: what to run, on which arguments, into which tensor. */
export interface PreparedOp {
  readonly operator: NativeOperator;
  readonly args: NativeArguments;
  readonly output: Float32Tensor;
}

/** Completes the arguments of a call with its output and thread count. */
export function prepare(
  operator: NativeOperator,
  args: NativeArguments,
  output: Float32Tensor,
  { threads }: OpOptions,
): PreparedOp {
  return { operator, args: { ...args, output: output.data, threads: resolveThreads(threads) }, output };
}

/** What follows an operator's own arguments: options, which may be left out where none is required. */
type Options<O> = Record<never, never> extends O ? [options?: O] : [options: O];

/** An operator on the calling thread, and its twin on the pool. */
export interface EagerOp<A extends readonly unknown[], O extends OpOptions> {
  /** The checked call, for those who run it among others. */
  readonly prepare: (...args: [...A, ...Options<O>]) => PreparedOp;
  readonly run: (...args: [...A, ...Options<O>]) => Float32Tensor;
  readonly runAsync: (...args: [...A, ...Options<O & AsyncOpOptions>]) => Promise<Float32Tensor>;
}

/**
 * @param name as messages say it; `nameAsync` is the twin's
 * @param prepare checks the arguments, and gets options that are checked
 * @param schemas of the options of both
 */
export function eagerOp<A extends readonly unknown[], O extends OpOptions>(
  name: string,
  prepare: (options: O, ...args: A) => PreparedOp,
  schemas: readonly [Schema<O>, Schema<O & AsyncOpOptions>],
): EagerOp<A, O> {
  const at = prepare.length - 1; // where the options stand: behind the arguments
  const prepareWith = (options: O, given: readonly unknown[]) =>
    prepare(options, ...(given.slice(0, at) as unknown as A));
  const prepareChecked = (...given: readonly unknown[]) =>
    prepareWith(checkOptions(name, schemas[0], given[at]), given);
  return {
    prepare: prepareChecked,
    run: (...given) => run(prepareChecked(...given)),
    runAsync: async (...given) => {
      const options = checkOptions(`${name}Async`, schemas[1], given[at]);
      return runAsync(prepareWith(options, given), options);
    },
  };
}

/** Runs on the calling thread, helped by the pool. */
export function run({ operator, args, output }: PreparedOp): Float32Tensor {
  callNative(operator, args);
  return output;
}

/** Runs on the pool: inputs are copied first, so they may be changed while the call is under way. */
export async function runAsync(
  { operator, args, output }: PreparedOp,
  { signal }: AsyncOpOptions,
): Promise<Float32Tensor> {
  await callNativeAsync(operator, args, { signal });
  return output;
}

/** @throws ERR_REPFUSE_INVALID_ARGUMENT unless a float32 tensor; ERR_REPFUSE_SHAPE unless of `rank` axes (default: any), none empty. */
export function expectF32(tensor: Tensor, name: string, rank?: number): Float32Tensor {
  if (!isTensor(tensor) || tensor.dtype !== 'F32') {
    throw new RepfuseError(
      'ERR_REPFUSE_INVALID_ARGUMENT',
      `Expected a float32 tensor for ${name} but received ${isTensor(tensor) ? tensor.dtype : show(tensor)}`,
      { argument: name },
    );
  }
  if (tensor.shape.length !== (rank ?? tensor.shape.length) || tensor.shape.includes(0)) {
    throw new RepfuseError(
      'ERR_REPFUSE_SHAPE',
      `Expected ${rank === undefined ? 'no empty axis' : `${rank} non-empty axes`} for ${name} but received ${formatShape(tensor.shape)}`,
      { argument: name },
    );
  }
  return tensor as Float32Tensor;
}

/** @throws ERR_REPFUSE_SHAPE unless the tensor has this very shape. */
export function expectShape(tensor: Tensor, name: string, shape: readonly number[]): Float32Tensor {
  const floats = expectF32(tensor, name, shape.length);
  if (shape.some((dim, axis) => dim !== tensor.shape[axis])) {
    throw new RepfuseError(
      'ERR_REPFUSE_SHAPE',
      `Expected ${formatShape(shape)} for ${name} but received ${formatShape(tensor.shape)}`,
    );
  }
  return floats;
}

/** [N, C, H, W] of a checked activation. */
export function sizesOf(input: Tensor): readonly [number, number, number, number] {
  return expectF32(input, 'input', 4).shape as unknown as readonly [number, number, number, number];
}
