import { access, constants, stat } from 'node:fs/promises';
import { basename, dirname } from 'node:path';
import { version } from '../../package.json';
import { expectAbsent } from '../checkpoint/files/new-file';
import { type Input, inputOf, pathOf, type Source } from '../checkpoint/files/source';
import type { OpenCheckpoint } from '../checkpoint/open-checkpoint';
import { withCheckpoint } from '../checkpoint/read-checkpoint';
import { writeSafetensors } from '../checkpoint/safetensors/write-safetensors';
import type { TensorSource } from '../checkpoint/tensor-source';
import { type OutputFormat, writeStateDict } from '../checkpoint/write-checkpoint';
import { RepfuseError } from '../errors';
import { deployGraph, exportOnnx, type Graph, graphMetadata, nodeKeys } from '../graph';
import { checkOptions } from '../options';
import type { Tensor } from '../tensor/tensor';
import { deployTensors } from './deploy-tensors';
import { checkFindOptions } from './find-blocks';
import { BlockFusing, UnfusableBlock } from './fuse-blocks';
import { startHashing } from './hash-file';
import { checkValues, examine, INSPECT_OPTIONS, type InspectOptions } from './inspect';
import { expectTensors } from './model-graph';
import { checkOutputOptions, OUTPUT_OPTIONS, type OutputOptions, outputForm } from './output-form';
import type { BlockReport, ConvertReport } from './report';
import type { OutputLosses } from './round-source';
import { type VerifyReport, verify } from './verify/verify';

export interface ConvertProgress {
  readonly phase: 'read' | 'fuse' | 'write' | 'verify';
  /** Bytes while reading and writing, blocks while fusing and verifying. */
  readonly done: number;
  readonly total: number;
  /** The block being fused or verified. */
  readonly block?: string;
}

export interface ConvertOptions extends Omit<InspectOptions, 'onProgress'>, OutputOptions {
  /** Overwrite an existing output. Default false. */
  readonly force?: boolean | undefined;
  /** Read both files back and compare them block by block (see `verify`). Default false. */
  readonly verify?: boolean | undefined;
  /** Put the SHA-256 of the input into the output's metadata. Default true; a file takes longer to hash than to convert. */
  readonly hash?: boolean | undefined;
  /** Wait until the output is on the disk, so that it survives a loss of power. Default false. */
  readonly durable?: boolean | undefined;
  /** Report the range of each block's weights before and after fusing. Default false. */
  readonly ranges?: boolean | undefined;
  /** Throw ERR_REPFUSE_NO_BLOCKS if no block was fused. Default false. */
  readonly requireChange?: boolean | undefined;
  readonly threads?: number | undefined;
  readonly onProgress?: ((progress: ConvertProgress) => void) | undefined;
}

/**
 * Converts a checkpoint to its deploy form: every block's branches fused into one convolution, exactly (float64 inside, rounded
 * once), all other tensors byte for byte unless another type is asked for, written to a temporary file that is then renamed. With a
 * graph the output is a model file (safetensors), which `evaluate` and `repfuse run` can run.
 *
 * Needs no model code: stride, padding and activation do not enter the fused numbers; BatchNorm eps does, and is reported with
 * its source. If any block cannot be fused, nothing is written. Blocks are read, fused and written one after the other: memory for
 * a few of the largest is all that is taken.
 *
 * @returns what became of every block; `output` is null when there was nothing to convert
 * @throws ERR_REPFUSE_BLOCK listing every block that is partial, ambiguous or unsupported (`keepBlocks` settles one);
 *   ERR_REPFUSE_EXISTS; ERR_REPFUSE_RANGE for a value that the output's type cannot hold; ERR_REPFUSE_NO_BLOCKS (`requireChange`); ERR_REPFUSE_GRAPH; ERR_REPFUSE_INVALID_ARGUMENT;
 *   the errors of `readCheckpoint`; the signal's reason: no file is then half written, but one that was being verified stays
 */
export async function convert(
  input: Source,
  target: string | URL,
  options: ConvertOptions = {},
): Promise<ConvertReport> {
  const output = pathOf(target, 'output');
  checkOptions('convert', options, CONVERT_OPTIONS);
  checkConvertOptions(output, options);
  const started = performance.now();
  await checkOutput(inputOf(input, 'input'), output, options.force === true);
  const report = await fuseAndWrite(input, output, options);
  // The tensors are gone by now: verification has two files to read.
  const verification =
    options.verify === true && report.output !== null ? await verifyOutput(input, output, options) : null;
  return { ...report, milliseconds: performance.now() - started, verification };
}

/** @throws ERR_REPFUSE_INVALID_ARGUMENT for an option that is none of its kind */
export function checkConvertOptions(output: string, options: ConvertOptions): void {
  checkFindOptions(options);
  checkOutputOptions(output, options, options.graph !== undefined || options.arch !== undefined);
}

async function fuseAndWrite(
  source: Source,
  output: string,
  options: ConvertOptions,
): Promise<Omit<ConvertReport, 'milliseconds' | 'verification'>> {
  const input = inputOf(source).name;
  return await withCheckpoint(source, options, async (opened) => {
    const { found, graph, report } = examine(opened, options);
    if (report.blocks.some(isProblem)) {
      const blocks: BlockReport[] = [];
      for (const item of found) blocks.push(await checkValues(item, opened)); // all problems are told at once
      refuseProblems(blocks, input, options);
    }
    const converted = found.filter((item) => item.report.status === 'convertible');
    if (options.requireChange === true && converted.length === 0) {
      throw new RepfuseError('ERR_REPFUSE_NO_BLOCKS', `Expected blocks to fuse in ${input} but 0 blocks were folded`, {
        file: input,
      });
    }
    if (found.length === 0 && !asksForFile(options)) return { ...report, output: null, sha256: null };

    const form = outputForm(output, options);
    const deployed =
      graph &&
      deployGraph(
        graph,
        converted.map(({ block }) => ({ ...block, deployKeys: form.keysOf(block) })),
      );
    const fusing = new BlockFusing(found, opened, form, options);
    fusing.tell(converted[0]?.block.prefix ?? '');
    const losses: OutputLosses = { flushed: 0, leftOut: [] };
    const tensors = deployTensors(opened, found, fusing, form, losses, options.threads);
    if (deployed !== undefined) expectTensors(deployed, tensors);
    const about = provenance(input, report.blocks, deployed);
    const writing =
      form.format === 'onnx'
        ? writeAsOnnx(output, deployed!, tensors, options)
        : write(source, output, form.format, tensors, opened, about, options);
    const sha256 = await writing.catch(async (error) => {
      if (error instanceof UnfusableBlock) refuseProblems(await fusing.reports(), input, options);
      throw error;
    });
    return {
      ...report,
      ...withLosses(report.notes, losses, form.format),
      blocks: await fusing.reports(),
      output,
      sha256,
    };
  });
}

/** Without blocks a file is written only where it would differ from the input by what was asked for. */
function asksForFile({ graph, arch, format, dtype }: ConvertOptions): boolean {
  return graph !== undefined || arch !== undefined || format !== undefined || dtype !== undefined;
}

/** Writes the output. Where it has a place for the digest of the input that is computed meanwhile, and put in last. @returns the digest */
async function write(
  input: Source,
  output: string,
  format: OutputFormat,
  tensors: ReadonlyMap<string, TensorSource>,
  { checkpoint }: OpenCheckpoint,
  about: Readonly<Record<string, string>>,
  { hash = true, force, durable, signal, onProgress }: ConvertOptions,
): Promise<string | null> {
  const settings = { force, durable, signal, onProgress };
  if (format !== 'safetensors') {
    await writeStateDict(output, format, tensors, settings);
    return null;
  }
  const metadata = { ...checkpoint.metadata, ...about };
  if (!hash || about[VERSION_KEY] === undefined) {
    await writeSafetensors(output, tensors, { ...settings, metadata });
    return null;
  }
  const hashing = startHashing(input);
  try {
    await writeSafetensors(output, tensors, {
      ...settings,
      metadata: { ...metadata, [DIGEST_KEY]: '0'.repeat(64) },
      sealWith: async () => ({ [DIGEST_KEY]: await hashing.digest }),
    });
    return await hashing.digest;
  } finally {
    hashing.stop();
  }
}

/** An ONNX model holds all tensors at once. */
async function writeAsOnnx(
  output: string,
  graph: Graph,
  tensors: ReadonlyMap<string, TensorSource>,
  { force, durable, signal }: ConvertOptions,
): Promise<null> {
  const loaded = new Map<string, Tensor>();
  const keys = new Set(graph.nodes.flatMap(nodeKeys));
  for (const [key, source] of tensors) if (keys.has(key)) loaded.set(key, await source.load());
  await exportOnnx(output, { graph, tensors: loaded }, { force, durable, signal });
  return null;
}

const VERSION_KEY = 'repfuse.version';
const DIGEST_KEY = 'repfuse.source_sha256';

export const CONVERT_OPTIONS = [
  ...INSPECT_OPTIONS,
  ...OUTPUT_OPTIONS,
  'durable',
  'force',
  'hash',
  'ranges',
  'requireChange',
  'threads',
  'verify',
] as const satisfies readonly (keyof ConvertOptions)[];

/** What a type of less range took away, or a format that lacks a type, is said. */
function withLosses(
  notes: readonly string[],
  { flushed, leftOut }: OutputLosses,
  format: string,
): Pick<ConvertReport, 'notes'> {
  const more: string[] = [];
  if (flushed > 0) more.push(`${flushed} values other than 0 became 0: they are too small for the output's type`);
  if (leftOut.length > 0) more.push(`left out, as ${format} cannot hold their type: ${leftOut.join(', ')}`);
  return { notes: [...notes, ...more] };
}

/** What would make the writing fail in the end is told before the work. */
async function checkOutput(input: Input, output: string, force: boolean): Promise<void> {
  if (!force) await expectAbsent(output);
  const folder = dirname(output);
  await access(folder, constants.W_OK).catch((cause) => {
    throw new RepfuseError('ERR_REPFUSE_FILE', `Cannot write ${output}: ${cause.message}`, { file: output }, { cause });
  });
  if (input.path === undefined) return;
  const [from, to] = await Promise.all([input.path, output].map((file) => stat(file).catch(() => undefined)));
  if (from !== undefined && to !== undefined && from.dev === to.dev && from.ino === to.ino) {
    throw new RepfuseError(
      'ERR_REPFUSE_INVALID_ARGUMENT',
      `Expected an output other than the input but received ${output} for both`,
      { file: output },
    );
  }
}

function isProblem({ status }: BlockReport): boolean {
  return status === 'partial' || status === 'ambiguous' || status === 'unsupported';
}

function refuseProblems(reports: readonly BlockReport[], file: string, { keepBlocks }: ConvertOptions): void {
  const blocks = reports
    .filter(isProblem)
    .map(({ prefix, status, reason }) => ({ prefix, status, reason: reason ?? '' }));
  if (blocks.length === 0) return;
  const advice = keepBlocks === undefined ? ' (`keepBlocks` leaves one as it is)' : '';
  throw new RepfuseError(
    'ERR_REPFUSE_BLOCK',
    [
      `${file}: ${blocks.length} of its blocks cannot be fused, nothing was written${advice}:`,
      ...blocks.map(({ prefix, status, reason }) => `  ${prefix || '(root)'}: ${status}: ${reason}`),
    ].join('\n'),
    { file, blocks },
  );
}

/** What the output's `__metadata__` says beside what the input's did; a copy of a deploy file says nothing new. */
function provenance(input: string, blocks: readonly BlockReport[], graph: Graph | undefined): Record<string, string> {
  const model = graph === undefined ? {} : graphMetadata(graph);
  const fused = blocks.filter(({ status }) => status === 'convertible');
  if (fused.length === 0) return model;
  const eps = Object.fromEntries(fused.map(({ prefix, eps: { value, source } }) => [prefix, `${value} (${source})`]));
  const distinct = [...new Set(Object.values(eps))];
  return {
    ...model,
    [VERSION_KEY]: version,
    'repfuse.source': basename(input),
    'repfuse.families': [...new Set(fused.map(({ family }) => family))].join(', '),
    'repfuse.eps': distinct.length === 1 ? distinct[0]! : JSON.stringify(eps),
  };
}

async function verifyOutput(input: Source, output: string, options: ConvertOptions): Promise<VerifyReport> {
  const { arch, eps, families, graph, keyless, keyPath, prefix, rules, signal, threads, onProgress } = options;
  return await verify(input, output, {
    arch,
    eps,
    families,
    graph,
    keyless,
    keyPath,
    prefix,
    rules,
    signal,
    threads,
    onProgress,
  });
}
