import type { Materialized } from '../algebra';
import type { NativeStep } from '../ops/tensor-op';

/** One operator of a program. What its kind does not use is left out. */
export interface ProgramStep extends Omit<NativeStep, 'activation' | 'alpha' | 'beta'> {
  /** Name of the graph's node, or of the last of those that became one. */
  readonly name: string;
  /** Values: the program's inputs, then what each step makes. A convolution adds its second input before the activation. */
  readonly inputs: readonly number[];
  activation?: string;
  alpha?: number;
  beta?: number;
  /** In place of weight and bias: a convolution that has yet to be computed. Throws with the name of its node. */
  readonly fuse?: (options: { readonly signal?: AbortSignal | undefined }) => Promise<Materialized>;
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
