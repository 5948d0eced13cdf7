import { totalmem } from 'node:os';
import { RepfuseError } from '../errors';

/** Bytes that a run may take: as many times those of its input and its weights, but `least` in any case, and never more than `most`. */
export interface MemoryLimit {
  readonly most: number;
  readonly least: number;
  readonly timesInput: number;
  readonly timesWeights: number;
}

/** A super-resolution network of 64 channels that makes four times as many rows and columns of one channel takes 1024 times its input. */
const TIMES_INPUT = 4096;
/** A generator makes images of a few numbers: its weights tell how large it is. */
const TIMES_WEIGHTS = 256;
const MIN_ALLOWED = 128 * 2 ** 20;
/** The part of the memory that the process may use which a run may take. */
const SHARE = 0.9;

/**
 * The limit of an option in bytes. Default: nine tenths of the memory that this process may use (its cgroup's, or the machine's), in proportion to
 * what is given to it: a file of some hundred bytes asks for gigabytes only by mistake or malice.
 */
export function resolveMemoryLimit(option: number | undefined): MemoryLimit {
  if (option !== undefined) {
    return { most: option, least: option, timesInput: 1, timesWeights: 1 };
  }
  const constrained = process.constrainedMemory?.() || Number.POSITIVE_INFINITY; // 0: not known
  return {
    most: Math.floor(SHARE * Math.min(totalmem(), constrained)),
    least: MIN_ALLOWED,
    timesInput: TIMES_INPUT,
    timesWeights: TIMES_WEIGHTS,
  };
}

/** Bytes that a run may take whose input and weights have so many. */
export function allowedBytes(
  { most, least, timesInput, timesWeights }: MemoryLimit,
  { input, weights }: { readonly input: number; readonly weights: number },
): number {
  return Math.min(most, Math.max(least, timesInput * input + timesWeights * weights));
}

/** The error of a node that would take more than it may. */
export function tooLarge(subject: string, bytes: number, limit: number, node: string): RepfuseError {
  return new RepfuseError(
    'ERR_REPFUSE_MEMORY',
    `Expected at most ${limit} bytes for ${subject} but it would take ${bytes}`,
    { node, bytes, limit },
  );
}
