import type { NativeEngineStep } from '../native/addon';
import { peakMacs } from './peak';

/** One step of a plan, as `explain` tells it. */
export interface EngineStep {
  /** Name of the graph's node. */
  readonly layer: string;
  /** `view`: nothing to do, as the result lies where its inputs do. */
  readonly kernel: string;
  /** What it does to its result before it is written, in order, such as `sum, relu`; of several layers in one step for each. Empty: nothing. */
  readonly epilogue: string;
  /** Shape of the result: [N, C, H, W], [N, features], or of any tensor. */
  readonly output: readonly number[];
  /** Multiply-accumulates of the plain definition. */
  readonly macs: number;
  /** Bytes of its packed weights. */
  readonly weightBytes: number;
  /** Seconds on one thread by the table of rates; null where there is no choice of kernels. */
  readonly estimate: number | null;
  /** Seconds of the fastest run so far; null before the first, and of a view. */
  readonly seconds: number | null;
  /**
   * The rounding error expected of its kernel, in float32, as times that of a direct convolution: Winograd's transforms lose more, by how
   * much depends on the weights. Null of what is no convolution.
   */
  readonly error: number | null;
  /** The part of the machine's peak that it reached, by the multiply-accumulates of the plain definition: Winograd's can exceed 1. Null before a run. */
  readonly shareOfPeak: number | null;
}

/** The steps of a plan beside what `threads` threads of this machine could do. */
export function explainSteps(steps: readonly NativeEngineStep[], threads: number): readonly EngineStep[] {
  const peak = peakMacs() * threads;
  return steps.map(({ estimate, seconds, error, ...step }) => ({
    ...step,
    estimate: estimate === 0 ? null : estimate,
    seconds: seconds === 0 ? null : seconds,
    error: error === 0 ? null : error,
    shareOfPeak: seconds === 0 || step.macs === 0 ? null : step.macs / seconds / peak,
  }));
}
