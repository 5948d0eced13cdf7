import type { ReadCheckpointOptions } from '../../checkpoint/read-checkpoint';
import type { GraphOptions } from '../../nets/graph-for';
import type { FindOptions } from '../find-blocks';
import type { TensorProblem } from './compare-tensors';
import type { BlockVerification } from './verify-block';

/** A value of both models: an output of the whole, beside what the given model's operators make of it one by one, or a region run alone. */
export interface OnnxValueCheck {
  readonly value: string;
  /** An output of the model, or a region of nodes that were folded. */
  readonly of: 'output' | 'region';
  /**
   * Errors of the given and the folded form, each compiled by the engine: of an output max |difference| over the peak, of a region the largest
   * |difference| over the sum of magnitudes of the terms of that result.
   */
  readonly given: number;
  readonly folded: number;
  /** Allowed error of the folded form. */
  readonly bound: number;
  readonly equal: boolean;
  /** Why it could not be compared. */
  readonly problem?: string;
}

export interface OnnxVerification {
  /** Shape of the seeded input, of several the first; none where the whole models were not run. */
  readonly input: readonly number[];
  /** Why the whole models were not run: then only their regions were. */
  readonly notRun: string | null;
  /** Allowed error of outputs where nothing cancels, relative to the peak. */
  readonly bound: number;
  /** The outputs, then what every folded region makes. An output that a region makes stands as the region only where that differs. */
  readonly values: readonly OnnxValueCheck[];
  readonly equal: boolean;
}

/** `graph` and `arch` are those of the first file, or of the checkpoint beside an ONNX model. */
export interface VerifyOptions extends FindOptions, GraphOptions, Omit<ReadCheckpointOptions, 'onProgress'> {
  /** Bound on the error of every block relative to the peak. Default: what rounding makes of a block of its size and type. */
  readonly tolerance?: number | undefined;
  /** Seed of the inputs. Default 1. */
  readonly seed?: number | undefined;
  readonly threads?: number | undefined;
  readonly onProgress?: ((progress: VerifyProgress) => void) | undefined;
}

export interface VerifyProgress {
  readonly phase: 'verify';
  /** Blocks. */
  readonly done: number;
  readonly total: number;
  readonly block?: string;
}

export interface NetworkVerification {
  readonly equal: boolean;
  readonly maxAbsolute: number;
  /** Relative to the peak of the output. */
  readonly relative: number;
  /** What `relative` may be: the sum of the blocks' bounds, as errors add up. */
  readonly bound: number;
  readonly problem?: string;
}

/** What `verify` found. Only two checkpoints have blocks; two ONNX models tell the rest of `OnnxVerification` too. */
export interface VerifyReport extends Partial<Omit<OnnxVerification, 'equal'>> {
  readonly equal: boolean;
  /** The option: what every block's `relative` may be; null where each block has its own bound. */
  readonly tolerance: number | null;
  /** Worst first. */
  readonly blocks: readonly BlockVerification[];
  /** Both networks end to end on two seeded images, where both have a graph and its input shape is known. */
  readonly network: NetworkVerification | null;
  /** Tensors outside the blocks that differ, or that one file lacks. */
  readonly otherTensors: readonly TensorProblem[];
  readonly notes: readonly string[];
}
