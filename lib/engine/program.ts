import type { Materialized } from '../algebra';
import type { Epilogue } from '../graph/operators/operator';
import type { NativeStep } from '../ops/tensor-op';
import { Tensor } from '../tensor/tensor';

/** One operator of a program. What its kind does not use is left out. */
export interface ProgramStep extends Omit<NativeStep, 'activation' | 'alpha' | 'beta'> {
  /** Name of the graph's node, or of the last of those that became one. */
  readonly name: string;
  /**
   * Values: the program's inputs, then what each step makes. A convolution adds its second input before the activation, unless one of `follows`
   * does.
   */
  readonly inputs: readonly number[];
  activation?: string;
  alpha?: number;
  beta?: number;
  /** What comes after the activation, in its order. */
  follows?: readonly FollowUp[];
  /** In place of weight and bias: a convolution that has yet to be computed. Throws with the name of its node. */
  readonly fuse?: Fuse;
}

export type Fuse = (options: FuseOptions) => Promise<Materialized>;

export interface FuseOptions {
  readonly signal?: AbortSignal | undefined;
  /** Where the weight of so many elements goes. Default: a new array. */
  readonly into?: ((elements: number) => Float32Array) | undefined;
}

/** Something that a step does to its result: a function of each value, the sum with its last input, or a factor and an addend for each channel. */
export type FollowUp = Epilogue | { readonly sums: true } | { readonly fuse: Fuse };

/** A factor and an addend for each channel, float32. */
export interface ScaleAndShift {
  readonly scale: Tensor;
  readonly shift: Tensor;
}

/** @throws as `fuse` of a step */
export async function scaleAndShift(fuse: Fuse, signal: AbortSignal | undefined): Promise<ScaleAndShift> {
  const { weight, bias } = await fuse({ signal });
  return { scale: Tensor.f32([weight.size], weight.data as Float32Array), shift: bias };
}

/** A network in the form in which it is handed to the native engine. */
export interface Program {
  /** Channels of each input that lies as images; 0 of a tensor. */
  readonly inputs: readonly number[];
  readonly steps: readonly ProgramStep[];
  readonly outputs: readonly number[];
  /** The steps whose sizes the inputs' shapes tell, for inputs of those; left out where there are none. @throws ERR_REPFUSE_GRAPH naming the node */
  readonly settled?: (shapes: readonly (readonly number[])[]) => readonly SettledStep[];
}

/** Sizes of one step. */
export interface SettledStep extends Pick<NativeStep, 'ints'> {
  /** Its place among the steps. */
  readonly node: number;
  /** Of a resize. */
  readonly sizes?: readonly number[];
}
