import { type ReadCheckpointOptions, readCheckpoint } from '../checkpoint/read-checkpoint';
import type { Checkpoint, StateDict } from '../checkpoint/state-dict';
import { type DetectedBlock, detectBlocks, type FamilyRule } from '../families';
import { evaluateAsync, type Graph, parseGraph, readGraphMetadata } from '../graph';
import { throwIfAborted } from '../native/call';
import { addAsync, type Branch, conv2dAsync, runBranchAsync } from '../ops';
import { toFloat32 } from '../tensor/half';
import { seededUniform, uniformValues } from '../tensor/random';
import { elementCount, formatShape, Tensor } from '../tensor/tensor';

/** Largest difference between float32 runs of equal networks, relative to the peak of the output, that still counts as equal. */
const DEFAULT_TOLERANCE = 1e-5;

export interface VerifyOptions extends Omit<ReadCheckpointOptions, 'onProgress'> {
  readonly eps?: number | undefined;
  readonly rules?: readonly FamilyRule[] | undefined;
  /** Bound on max |difference| / max |output|. Default 1e-5, some ten times what float32 rounding gives. */
  readonly tolerance?: number | undefined;
  /** Seed of the inputs. Default 1. */
  readonly seed?: number | undefined;
  /** Training graph of the first file, as parsed JSON. Default: the one in its metadata, if any. */
  readonly graph?: unknown;
  readonly threads?: number | undefined;
}

export interface BlockVerification {
  readonly prefix: string;
  readonly family: string;
  readonly equal: boolean;
  /** max |branches - fused convolution|, absolute and relative to max |branches|. */
  readonly maxAbsolute: number;
  readonly relative: number;
  /** [n, channel, row, column] of the largest difference. */
  readonly at: readonly number[];
  /** Why no comparison was possible. */
  readonly problem?: string;
}

export interface VerifyReport {
  readonly equal: boolean;
  readonly tolerance: number;
  /** Worst first. */
  readonly blocks: readonly BlockVerification[];
  /** Both networks end to end on one seeded input, where both have a graph with an input shape. */
  readonly network: { readonly equal: boolean; readonly relative: number; readonly maxAbsolute: number } | null;
  /** Tensors outside the blocks that differ, or that one file lacks. */
  readonly otherTensors: readonly { readonly key: string; readonly problem: string }[];
}

/**
 * Compares a training checkpoint with a deploy checkpoint. For each block the branches of the first, run as they stand with
 * their running statistics (never batch statistics), against the fused convolution of the second, on a seeded input larger
 * than the kernel, borders included. The error is max |difference| relative to max |output|, so a network scaled by 1000 gets
 * the same verdict. Tensors outside the blocks must be equal byte for byte.
 *
 * Both forms are run with the same eps: a wrong eps cannot be seen from two state dicts.
 *
 * @returns the report; inequality is no error
 * @throws the errors of `readCheckpoint`; ERR_REPFUSE_ABORTED
 */
export async function verify(train: string, deploy: string, options: VerifyOptions = {}): Promise<VerifyReport> {
  const { tolerance = DEFAULT_TOLERANCE, seed = 1, signal } = options;
  const a = await readCheckpoint(train, options);
  const b = await readCheckpoint(deploy, { signal });
  const blocks = detectBlocks(a.tensors, {
    eps: options.eps,
    ...(options.rules === undefined ? {} : { rules: options.rules }),
  });
  const results: BlockVerification[] = [];
  for (const block of blocks) {
    throwIfAborted(signal);
    const result = await verifyBlock(block, a.tensors, b.tensors, seed, options);
    results.push({ ...result, equal: result.problem === undefined && result.relative <= tolerance });
  }
  results.sort((x, y) => y.relative - x.relative || (x.prefix < y.prefix ? -1 : 1));
  const otherTensors = compareOthers(blocks, a.tensors, b.tensors);
  const network = await verifyNetwork(a, b, seed, tolerance, options);
  const equal = results.every((block) => block.equal) && otherTensors.length === 0 && (network?.equal ?? true);
  return { equal, tolerance, blocks: results, network, otherTensors };
}

type Unjudged = Omit<BlockVerification, 'equal'>;

async function verifyBlock(
  block: DetectedBlock,
  a: StateDict,
  b: StateDict,
  seed: number,
  { threads, signal }: VerifyOptions,
): Promise<Unjudged> {
  const { prefix, family, deployKeys, kernel } = block;
  const failed = (problem: string): Unjudged => ({
    prefix,
    family,
    maxAbsolute: Number.POSITIVE_INFINITY,
    relative: Number.POSITIVE_INFINITY,
    at: [],
    problem,
  });
  if (block.problem !== undefined) return failed(block.problem.reason);
  const weight = b.get(deployKeys.weight);
  const bias = b.get(deployKeys.bias);
  if (weight === undefined || bias === undefined)
    return failed(`the second file has no ${deployKeys[weight === undefined ? 'weight' : 'bias']}`);
  const shape = [block.outChannels, block.inPerGroup, ...kernel];
  if (formatShape(weight.shape) !== formatShape(shape))
    return failed(`${deployKeys.weight} is ${formatShape(weight.shape)} instead of ${formatShape(shape)}`);

  const groups = block.groups ?? 1;
  const inputShape = [1, block.inPerGroup * groups, 2 * kernel[0] + 3, 2 * kernel[1] + 4];
  const input = seededInput(inputShape, seed);
  const run = { threads, signal };
  const conv = { stride: 1, padding: [Math.floor(kernel[0] / 2), Math.floor(kernel[1] / 2)] as const, groups };
  const fused = await conv2dAsync(input, asF32(weight), asF32(bias), { ...run, ...conv });
  const expected =
    block.form === 'deploy'
      ? await conv2dAsync(input, asF32(a.get(deployKeys.weight)!), asF32(a.get(deployKeys.bias)!), { ...run, ...conv })
      : await sumOfBranches(block, input, run);
  return { prefix, family, ...largestDifference(expected, fused) };
}

async function sumOfBranches(
  { branches }: DetectedBlock,
  input: Tensor,
  run: { threads?: number | undefined; signal?: AbortSignal | undefined },
): Promise<Tensor> {
  let sum: Tensor | undefined;
  for (const branch of branches) {
    const y = await runBranchAsync(float32Branch(branch), input, run);
    sum = sum === undefined ? y : await addAsync(sum, y, run);
  }
  return sum!;
}

/** Half-precision weights widened: operators take float32. */
function float32Branch({ name, stages }: Branch): Branch {
  return {
    name,
    stages: stages.map((stage) =>
      stage.kind === 'conv2d'
        ? { ...stage, weight: asF32(stage.weight), bias: stage.bias == null ? null : asF32(stage.bias) }
        : stage,
    ),
  };
}

async function verifyNetwork(a: Checkpoint, b: Checkpoint, seed: number, tolerance: number, options: VerifyOptions) {
  const first: Graph | undefined =
    options.graph === undefined ? readGraphMetadata(a.metadata) : parseGraph(options.graph);
  const second = readGraphMetadata(b.metadata);
  const inputShape = second?.inputShape ?? first?.inputShape;
  if (first === undefined || second === undefined || inputShape === undefined) return null;
  const { threads, signal } = options;
  const input = seededInput([2, ...inputShape], seed);
  const expected = await evaluateAsync(first, a.tensors, input, { threads, signal });
  const { relative, maxAbsolute } = largestDifference(
    expected,
    await evaluateAsync(second, b.tensors, input, { threads, signal }),
  );
  return { equal: relative <= tolerance, relative, maxAbsolute };
}

function seededInput(shape: readonly number[], seed: number): Tensor {
  return Tensor.f32(shape, uniformValues(seededUniform(seed), elementCount(shape), -1, 1));
}

function asF32(tensor: Tensor): Tensor {
  return tensor.dtype === 'F32' ? tensor : Tensor.f32(tensor.shape, toFloat32(tensor));
}

function largestDifference(
  expected: Tensor,
  got: Tensor,
): { maxAbsolute: number; relative: number; at: readonly number[] } {
  const [want, have] = [expected.data as Float32Array, got.data as Float32Array];
  let maxAbsolute = 0;
  let peak = 0;
  let index = 0;
  for (let i = 0; i < want.length; i++) {
    const difference = Math.abs(want[i]! - have[i]!);
    if (!(difference <= maxAbsolute)) {
      maxAbsolute = Number.isNaN(difference) ? Number.POSITIVE_INFINITY : difference;
      index = i;
    }
    peak = Math.max(peak, Math.abs(want[i]!));
  }
  return { maxAbsolute, relative: peak === 0 ? maxAbsolute : maxAbsolute / peak, at: unravel(index, expected.shape) };
}

function unravel(index: number, shape: readonly number[]): number[] {
  const at: number[] = [];
  let rest = index;
  for (const dim of [...shape].reverse()) {
    at.unshift(rest % dim);
    rest = Math.floor(rest / dim);
  }
  return at;
}

/** Tensors that no block owns, in either file. */
function compareOthers(
  blocks: readonly DetectedBlock[],
  a: StateDict,
  b: StateDict,
): { key: string; problem: string }[] {
  const owned = new Set(
    blocks.flatMap(({ trainKeys, deployKeys }) => [...trainKeys, deployKeys.weight, deployKeys.bias]),
  );
  const keys = new Set([...a.keys(), ...b.keys()].filter((key) => !owned.has(key)));
  const leftover = blocks.flatMap(({ trainKeys, deployKeys }) =>
    trainKeys.filter((key) => b.has(key) && key !== deployKeys.weight && key !== deployKeys.bias),
  );
  return [
    ...[...keys].flatMap((key) => {
      const problem = difference(a.get(key), b.get(key));
      return problem === undefined ? [] : [{ key, problem }];
    }),
    ...leftover.map((key) => ({ key, problem: 'a training tensor is left in the second file' })),
  ];
}

function difference(a: Tensor | undefined, b: Tensor | undefined): string | undefined {
  if (a === undefined) return 'only in the second file';
  if (b === undefined) return 'missing in the second file';
  if (a.dtype !== b.dtype || formatShape(a.shape) !== formatShape(b.shape)) {
    return `${a.dtype} ${formatShape(a.shape)} in the first file, ${b.dtype} ${formatShape(b.shape)} in the second`;
  }
  const bytes = ({ data }: Tensor) => Buffer.from(data.buffer, data.byteOffset, data.byteLength);
  return bytes(a).equals(bytes(b)) ? undefined : 'its values differ';
}
