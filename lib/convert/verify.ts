import { checkOptions } from '../blocks/options';
import { type ReadCheckpointOptions, readCheckpoint } from '../checkpoint/read-checkpoint';
import type { Checkpoint, StateDict } from '../checkpoint/state-dict';
import { RepfuseError } from '../errors';
import type { DetectedBlock } from '../families';
import { evaluateAsync, type Graph, parseGraph, readGraphMetadata } from '../graph';
import { throwIfAborted } from '../native/call';
import { seededUniform, uniformValues } from '../tensor/random';
import { elementCount, formatShape, Tensor } from '../tensor/tensor';
import { compareOtherTensors, type TensorProblem } from './compare-tensors';
import { type Difference, differenceOf, peakOf } from './difference';
import { checkFindOptions, FIND_OPTIONS, type FindOptions, findBlocks } from './find-blocks';
import { compareBlock, misfitOf } from './verify-block';

/** 84 times the float32 unit 2^-23: ten times what rounding makes of two equal forms, a fifth of a weight that is off by 1e-3. */
const DEFAULT_TOLERANCE = 1e-5;

export interface VerifyOptions extends FindOptions, Omit<ReadCheckpointOptions, 'onProgress'> {
  /** Bound on the error relative to the peak. Default 1e-5. */
  readonly tolerance?: number | undefined;
  /** Seed of the inputs. Default 1. */
  readonly seed?: number | undefined;
  /** Training graph of the first file, as parsed JSON. Default: the one in its metadata, if any. */
  readonly graph?: unknown;
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

export interface BlockVerification {
  readonly prefix: string;
  readonly family: string;
  readonly equal: boolean;
  /** max |branches - fused convolution|. */
  readonly maxAbsolute: number;
  /** The same relative to the peak: the largest value that a branch or the sum of the branches takes. */
  readonly relative: number;
  /** [image, channel, row, column] of the largest difference. */
  readonly at: readonly number[];
  /** Why no comparison was possible; the errors are then Infinity. */
  readonly problem?: string;
}

export interface NetworkVerification {
  readonly equal: boolean;
  readonly maxAbsolute: number;
  /** Relative to the peak of the output. */
  readonly relative: number;
  readonly problem?: string;
}

export interface VerifyReport {
  readonly equal: boolean;
  /** What a block's `relative` may be; end to end that times the number of blocks, as errors add up. */
  readonly tolerance: number;
  /** Worst first. */
  readonly blocks: readonly BlockVerification[];
  /** Both networks end to end on two seeded images, where both have a graph and its input shape is known. */
  readonly network: NetworkVerification | null;
  /** Tensors outside the blocks that differ, or that one file lacks. */
  readonly otherTensors: readonly TensorProblem[];
  readonly notes: readonly string[];
}

/**
 * Compares a training checkpoint with a deploy checkpoint. For each block, the branches of the first as they stand, with their
 * running statistics (never batch statistics), against the fused convolution of the second, on seeded images, borders included.
 * The verdict is on max |difference| / peak, so that a network scaled by 1000 gets the same one. Tensors outside the blocks must
 * be equal byte for byte.
 *
 * Both forms are run with the same eps: a wrong eps cannot be seen from two state dicts.
 *
 * @returns the report; inequality is no error
 * @throws the errors of `readCheckpoint`; ERR_REPFUSE_INVALID_ARGUMENT; ERR_REPFUSE_GRAPH; ERR_REPFUSE_ABORTED
 */
export async function verify(train: string, deploy: string, options: VerifyOptions = {}): Promise<VerifyReport> {
  checkOptions('verify', options, OPTIONS);
  const { seed = 1, signal, onProgress } = options;
  const tolerance = checkTolerance(options.tolerance);
  checkFindOptions(options);
  const { keyPath, prefix } = options;
  onProgress?.({ phase: 'verify', done: 0, total: 1 }); // how many blocks there are shows only once the file is read
  const a = await readCheckpoint(train, { keyPath, prefix, signal });
  const b = await readCheckpoint(deploy, { signal });
  const graph = options.graph === undefined ? readGraphMetadata(a.metadata) : parseGraph(options.graph);
  const found = findBlocks(a, graph, options);
  const blocks: BlockVerification[] = [];
  for (const block of found) {
    throwIfAborted(signal);
    onProgress?.({ phase: 'verify', done: blocks.length, total: found.length, block: block.prefix });
    blocks.push(await verifyBlock(block, a.tensors, b.tensors, tolerance, seed, options));
  }
  blocks.sort((x, y) => y.relative - x.relative || (x.prefix < y.prefix ? -1 : 1));
  const otherTensors = compareOtherTensors(found, a.tensors, b.tensors);
  const notes: string[] = [];
  const network = await verifyNetwork(a, graph, b, tolerance * Math.max(1, found.length), seed, options, notes);
  onProgress?.({ phase: 'verify', done: found.length, total: found.length });
  const equal = blocks.every((block) => block.equal) && otherTensors.length === 0 && (network?.equal ?? true);
  return { equal, tolerance, blocks, network, otherTensors, notes };
}

const OPTIONS = [
  ...FIND_OPTIONS,
  'graph',
  'keyPath',
  'onProgress',
  'prefix',
  'seed',
  'signal',
  'threads',
  'tolerance',
] as const satisfies readonly (keyof VerifyOptions)[];

function checkTolerance(tolerance = DEFAULT_TOLERANCE): number {
  if (Number.isFinite(tolerance) && tolerance >= 0) return tolerance;
  throw new RepfuseError(
    'ERR_REPFUSE_INVALID_ARGUMENT',
    `Expected a number of at least 0 for tolerance but received ${tolerance}`,
  );
}

const UNKNOWN: Difference = { maxAbsolute: Number.POSITIVE_INFINITY, relative: Number.POSITIVE_INFINITY, at: [] };

async function verifyBlock(
  block: DetectedBlock,
  a: StateDict,
  b: StateDict,
  tolerance: number,
  seed: number,
  { threads, signal }: VerifyOptions,
): Promise<BlockVerification> {
  const { prefix, family } = block;
  const problem = block.problem?.reason ?? misfitOf(block, b);
  if (problem !== undefined) return { prefix, family, equal: false, ...UNKNOWN, problem };
  try {
    const difference = await compareBlock(block, a, b, seed, { threads, signal });
    return { prefix, family, equal: difference.relative <= tolerance, ...difference };
  } catch (error) {
    return { prefix, family, equal: false, ...UNKNOWN, problem: problemOf(error) };
  }
}

/** The message of an error that tells of the files; others are thrown on. */
function problemOf(error: unknown): string {
  const told = ['ERR_REPFUSE_NOT_FUSABLE', 'ERR_REPFUSE_NOT_FINITE', 'ERR_REPFUSE_SHAPE', 'ERR_REPFUSE_GRAPH'];
  if (error instanceof RepfuseError && told.includes(error.code)) return error.message;
  throw error;
}

async function verifyNetwork(
  a: Checkpoint,
  first: Graph | undefined,
  b: Checkpoint,
  tolerance: number,
  seed: number,
  { threads, signal }: VerifyOptions,
  notes: string[],
): Promise<NetworkVerification | null> {
  const second = readGraphMetadata(b.metadata);
  const inputShape = second?.inputShape ?? first?.inputShape;
  if (first === undefined && second === undefined) return null;
  if (first === undefined || second === undefined || inputShape === undefined) {
    const lacking =
      inputShape === undefined ? 'no graph has an inputShape' : `the ${first ? 'second' : 'first'} file has no graph`;
    notes.push(`not compared end to end: ${lacking}`);
    return null;
  }
  const shape = [2, ...inputShape];
  const input = Tensor.f32(shape, uniformValues(seededUniform(seed), elementCount(shape), -1, 1));
  try {
    const expected = await evaluateAsync(first, a.tensors, input, { threads, signal });
    const got = await evaluateAsync(second, b.tensors, input, { threads, signal });
    if (formatShape(expected.shape) !== formatShape(got.shape)) {
      const problem = `the outputs are ${formatShape(expected.shape)} and ${formatShape(got.shape)}`;
      return { equal: false, maxAbsolute: UNKNOWN.maxAbsolute, relative: UNKNOWN.relative, problem };
    }
    const { maxAbsolute, relative } = differenceOf(expected, got, peakOf(expected));
    return { equal: relative <= tolerance, maxAbsolute, relative };
  } catch (error) {
    const { maxAbsolute, relative } = UNKNOWN;
    return { equal: false, maxAbsolute, relative, problem: problemOf(error) };
  }
}
