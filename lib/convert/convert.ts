import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { basename } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { version } from '../../package.json';
import { addBranches, fromBranch, materializeAsync } from '../algebra';
import type { StateDict } from '../checkpoint/state-dict';
import { expectAbsent, writeSafetensors } from '../checkpoint/write-safetensors';
import { RepfuseError } from '../errors';
import type { DetectedBlock } from '../families';
import { deployGraph, type Graph, graphMetadata } from '../graph';
import { nodeKeys } from '../graph/graph';
import { throwIfAborted } from '../native/call';
import { toFloat32 } from '../tensor/half';
import type { Tensor } from '../tensor/tensor';
import { nonFiniteTensor } from './describe-block';
import { type Examination, examine, type InspectOptions } from './inspect';
import type { BlockReport, ConvertReport, Range } from './report';
import { type VerifyReport, verify } from './verify';

export interface ConvertProgress {
  readonly phase: 'read' | 'fuse' | 'write' | 'verify';
  readonly done: number;
  readonly total: number;
  /** The block being fused. */
  readonly block?: string;
}

export interface ConvertOptions extends Omit<InspectOptions, 'onProgress'> {
  /** Overwrite an existing output. Default false. */
  readonly force?: boolean | undefined;
  /** Read both files back and compare them block by block (see `verify`). Default false. */
  readonly verify?: boolean | undefined;
  /** Throw ERR_REPFUSE_NO_BLOCKS if no block was fused. Default false. */
  readonly requireChange?: boolean | undefined;
  readonly threads?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: ConvertProgress) => void) | undefined;
}

/** A deploy tensor that was in the file beside complete training tensors counts as equal within this, relative to the peak. */
const STALE_TOLERANCE = 1e-5;

/**
 * Converts a checkpoint to its deploy form: every block's branches fused into one convolution, exactly (float64 inside, rounded
 * once), all other tensors byte for byte, written as safetensors to a temporary file that is then renamed.
 *
 * Needs no model code: stride, padding and activation do not enter the fused numbers; BatchNorm eps does, and is reported with
 * its source. If any block cannot be fused, nothing is written.
 *
 * @returns what became of every block; `output` is null when there was nothing to convert
 * @throws ERR_REPFUSE_BLOCK listing every block that is partial, ambiguous or unsupported; ERR_REPFUSE_EXISTS;
 *   ERR_REPFUSE_NO_BLOCKS (`requireChange`); ERR_REPFUSE_GRAPH; ERR_REPFUSE_ABORTED; the errors of `readCheckpoint`
 */
export async function convert(input: string, output: string, options: ConvertOptions = {}): Promise<ConvertReport> {
  const started = performance.now();
  const { force = false, signal, onProgress } = options;
  if (!force) await expectAbsent(output);
  const examination = await examine(input, options);
  const { checkpoint, graph, report } = examination;
  refuseProblems(report.blocks, input);
  const anyFused = report.blocks.some(({ status }) => status === 'converted');
  if (!anyFused && options.requireChange === true) {
    throw new RepfuseError('ERR_REPFUSE_NO_BLOCKS', `Expected blocks to fuse in ${input} but 0 blocks were folded`, {
      file: input,
    });
  }
  const done = (changes: Partial<ConvertReport>): ConvertReport => ({
    ...report,
    output: null,
    verification: null,
    milliseconds: performance.now() - started,
    ...changes,
  });
  if (report.blocks.length === 0) return done({});

  const blocks = await fuseAll(examination, options);
  const tensors = deployTensors(examination);
  const deployed = graph === undefined ? undefined : deployedGraph(graph, examination, tensors);
  const metadata = anyFused ? await provenance(input, report.blocks) : checkpoint.metadata;
  await writeSafetensors(output, tensors, {
    metadata: { ...metadata, ...(deployed === undefined ? {} : graphMetadata(deployed)) },
    force,
    signal,
    onProgress,
  });
  let verification: VerifyReport | null = null;
  if (options.verify === true) {
    onProgress?.({ phase: 'verify', done: 0, total: 1 });
    verification = await verify(input, output, { ...options, graph: options.graph });
    onProgress?.({ phase: 'verify', done: 1, total: 1 });
  }
  return done({ output, blocks, verification });
}

function refuseProblems(blocks: readonly BlockReport[], file: string): void {
  const bad = blocks.filter(({ status }) => ['partial', 'ambiguous', 'unsupported'].includes(status));
  if (bad.length === 0) return;
  throw blockError(
    file,
    bad.map(({ prefix, status, reason }) => ({ prefix, status, reason: reason ?? '' })),
  );
}

function blockError(
  file: string,
  blocks: readonly { prefix: string; status: string; reason: string }[],
  cause?: unknown,
): RepfuseError {
  const lines = blocks.map(({ prefix, status, reason }) => `  ${prefix || '(root)'}: ${status}: ${reason}`);
  return new RepfuseError(
    'ERR_REPFUSE_BLOCK',
    [
      `${file}: ${blocks.length} of its blocks cannot be fused, nothing was written (keepBlocks leaves a block as it is):`,
      ...lines,
    ].join('\n'),
    { file, blocks },
    { cause },
  );
}

/** Fuses every block, each in the buffer of its largest branch; the deploy tensors join the state dict. */
async function fuseAll({ checkpoint, found }: Examination, options: ConvertOptions): Promise<BlockReport[]> {
  const { tensors } = checkpoint;
  const owners = bufferOwners(tensors);
  const reports: BlockReport[] = [];
  const total = found.filter(({ report }) => report.status === 'converted').length;
  let done = 0;
  for (const { block, report } of found) {
    if (report.status !== 'converted') {
      reports.push(report);
      continue;
    }
    throwIfAborted(options.signal);
    options.onProgress?.({ phase: 'fuse', done, total, block: block.prefix });
    const before = rangeOf(tensors.get(block.anchorKey)!);
    const placeholder = block.form === 'mixed' ? tensors.get(block.deployKeys.weight) : undefined;
    const { weight, bias } = await fuse(block, tensors, owners, checkpoint.file, options);
    const stale = placeholder !== undefined && differs(weight, placeholder);
    tensors.set(block.deployKeys.weight, weight);
    tensors.set(block.deployKeys.bias, bias);
    reports.push({
      ...report,
      ...(stale
        ? {
            status: 'stale-placeholder' as const,
            reason: 'the deploy tensor in the file was stale: fused anew from the training tensors',
          }
        : placeholder === undefined
          ? {}
          : { reason: 'the deploy tensor in the file agrees with the training tensors' }),
      weightRange: { before, after: rangeOf(weight) },
    });
    done++;
    options.onProgress?.({ phase: 'fuse', done, total, block: block.prefix });
  }
  return reports;
}

async function fuse(
  block: DetectedBlock,
  tensors: StateDict,
  owners: ReadonlyMap<ArrayBufferLike, number>,
  file: string,
  { threads }: ConvertOptions,
): Promise<{ weight: Tensor; bias: Tensor }> {
  // A buffer that another tensor shares must not be overwritten.
  const shared = block.trainKeys.some((key) => owners.get(tensors.get(key)!.data.buffer)! > 1);
  try {
    const sum = addBranches(block.branches.map((branch) => fromBranch(branch)));
    return await materializeAsync(sum, shared ? { threads } : { into: 'largest-branch', threads });
  } catch (error) {
    if (!(error instanceof RepfuseError) || error.code === 'ERR_REPFUSE_NO_NATIVE') throw error;
    const tensor = error.code === 'ERR_REPFUSE_NOT_FINITE' ? nonFiniteTensor(block, tensors) : undefined;
    const reason =
      tensor === undefined ? error.message : `${tensor}: expected finite values but it holds NaN or infinity (Inf)`;
    throw blockError(file, [{ prefix: block.prefix, status: 'unsupported', reason }], error);
  }
}

function bufferOwners(tensors: StateDict): Map<ArrayBufferLike, number> {
  const owners = new Map<ArrayBufferLike, number>();
  for (const { data } of tensors.values()) owners.set(data.buffer, (owners.get(data.buffer) ?? 0) + 1);
  return owners;
}

function differs(fused: Tensor, present: Tensor): boolean {
  if (fused.size !== present.size) return true;
  const [a, b] = [fused.data as Float32Array, toFloat32(present)];
  let worst = 0;
  let peak = 0;
  for (let i = 0; i < a.length; i++) {
    worst = Math.max(worst, Math.abs(a[i]! - b[i]!));
    peak = Math.max(peak, Math.abs(a[i]!));
  }
  return !(worst <= STALE_TOLERANCE * peak);
}

function rangeOf(tensor: Tensor): Range {
  let min = Number.POSITIVE_INFINITY;
  let max = Number.NEGATIVE_INFINITY;
  for (const value of toFloat32(tensor)) {
    if (value < min) min = value;
    if (value > max) max = value;
  }
  return { min, max };
}

/** The output's tensors in file order: a fused block's two where its first tensor was, none of its training tensors. */
function deployTensors({ checkpoint: { tensors }, found }: Examination): StateDict {
  const fused = found.filter(({ report }) => report.status === 'converted').map(({ block }) => block);
  const blockOf = new Map(
    fused.flatMap((block) =>
      [...block.trainKeys, block.deployKeys.weight, block.deployKeys.bias].map((key) => [key, block] as const),
    ),
  );
  const result: StateDict = new Map();
  for (const [key, tensor] of tensors) {
    const block = blockOf.get(key);
    if (block === undefined) {
      result.set(key, tensor);
      continue;
    }
    for (const part of [block.deployKeys.weight, block.deployKeys.bias]) result.set(part, tensors.get(part)!);
  }
  return result;
}

/** The deploy graph of a training graph; a deploy graph stays as it is. Every tensor that it names must be in the output. */
function deployedGraph(graph: Graph, { found }: Examination, tensors: StateDict): Graph {
  const blocks = found.filter(({ report }) => report.status === 'converted').map(({ block }) => block);
  const named = new Set(graph.nodes.flatMap(nodeKeys));
  const deployed = deployGraph(
    graph,
    blocks.filter(({ trainKeys }) => trainKeys.some((key) => named.has(key))),
  );
  const missing = deployed.nodes.flatMap(nodeKeys).filter((key) => !tensors.has(key));
  if (missing.length > 0) {
    throw new RepfuseError(
      'ERR_REPFUSE_GRAPH',
      `Expected every tensor of the graph in the output but ${missing.join(', ')} is missing`,
      { missing },
    );
  }
  return deployed;
}

async function provenance(input: string, blocks: readonly BlockReport[]): Promise<Record<string, string>> {
  const hash = createHash('sha256');
  await pipeline(createReadStream(input), hash);
  const eps = Object.fromEntries(blocks.map(({ prefix, eps: { value, source } }) => [prefix, `${value} (${source})`]));
  const distinct = [...new Set(Object.values(eps))];
  return {
    'repfuse.version': version,
    'repfuse.source': basename(input),
    'repfuse.source_sha256': hash.digest('hex'),
    'repfuse.families': [...new Set(blocks.map(({ family }) => family))].join(', '),
    'repfuse.eps': distinct.length === 1 ? distinct[0]! : JSON.stringify(eps),
  };
}
