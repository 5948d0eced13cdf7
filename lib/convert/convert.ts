import { basename } from 'node:path';
import { version } from '../../package.json';
import { checkOptions, expectNone } from '../arguments/check';
import { BOOLEAN, optional, optionsOf, THREADS } from '../arguments/schemas';
import { inputOf, pathOf, type Source } from '../checkpoint/files/source';
import type { OpenCheckpoint } from '../checkpoint/open-checkpoint';
import { withInput } from '../checkpoint/read-checkpoint';
import { writeSafetensors } from '../checkpoint/safetensors/write-safetensors';
import type { TensorSource } from '../checkpoint/tensor-source';
import { type OutputFormat, writeStateDict } from '../checkpoint/write-checkpoint';
import { RepfuseError } from '../errors';
import { deployGraph, exportOnnx, type Graph, graphMetadata, nodeKeys } from '../graph';
import { throwIfAborted } from '../native/call';
import { printable } from '../printable';
import type { Tensor } from '../tensor/tensor';
import { deployTensors } from './deploy-tensors';
import { checkFindOptions } from './find-blocks';
import { foldAndWrite } from './fold-onnx';
import { BlockFusing, UnfusableBlock } from './fuse-blocks';
import { InputDigest } from './hash-file';
import { checkValues, examine, INSPECT_OPTIONS, type InspectOptions } from './inspect';
import { expectTensors } from './model-graph';
import { makeFolder, type OutputPlace, outputPlace } from './output-place';
import { checkOutputOptions, checkSpec, OUTPUT_OPTIONS, type OutputOptions, outputSpec } from './output-spec';
import type { BlockReport, ConvertProgress, ConvertReport } from './report';
import type { OutputLosses } from './round-source';
import { verifyFolding } from './verify/models';
import type { VerifyReport } from './verify/report';
import { verify } from './verify/verify';

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
  /** ONNX: merge even where one convolution costs more than its parts did. Default false. */
  readonly grow?: boolean | undefined;
  readonly threads?: number | undefined;
  readonly onProgress?: ((progress: ConvertProgress) => void) | undefined;
}

/**
 * Converts a file: an ONNX model as `foldOnnx` does, and a checkpoint to its deploy form: every block's branches fused into one convolution, exactly (float64 inside, rounded
 * once), all other tensors byte for byte unless another type is asked for, written to a temporary file that is then renamed. With a
 * graph the output is a model file (safetensors), which `evaluate` and `repfuse run` can run.
 *
 * Needs no model code: stride, padding and activation do not enter the fused numbers; BatchNorm eps does, and is reported with
 * its source. If any block cannot be fused, nothing is written. Blocks are read, fused and written one after the other: memory for
 * a few of the largest is all that is taken.
 *
 * Which of the two a file is shows its content. Where nothing is to be fused the output is a copy.
 *
 * @param output a file, or a folder, where it gets the input's name with the ending of its format
 * @returns what became of every block, or of an ONNX model's nodes
 * @throws ERR_REPFUSE_BLOCK listing every block that is partial, ambiguous or unsupported (`keepBlocks` settles one);
 *   ERR_REPFUSE_EXISTS; ERR_REPFUSE_RANGE for a value that the output's type cannot hold; ERR_REPFUSE_NO_BLOCKS (`requireChange`); ERR_REPFUSE_GRAPH; ERR_REPFUSE_INVALID_ARGUMENT;
 *   the errors of `readCheckpoint`; the signal's reason: no file is then half written, but one that was being verified stays
 */
export async function convert(input: Source, target: string | URL, given: ConvertOptions = {}): Promise<ConvertReport> {
  inputOf(input, 'input');
  const output = pathOf(target, 'output');
  return await convertTo(input, output, checkConvertOptions(checkOptions('convert', OPTIONS, given)), () => {});
}

/** As `convert` with options that are checked, and the digest of the input wherever it was wanted, in whatever format the output is. */
export async function convertAndHash(
  input: Source,
  output: string,
  options: ConvertOptions,
): Promise<{ readonly report: ConvertReport; readonly sha256: string | null }> {
  let digest: InputDigest | undefined;
  const { hash = true, format = 'safetensors', signal } = options;
  try {
    const report = await convertTo(input, output, options, (own) => {
      digest = own;
      if (hash && format !== 'safetensors') own.start(); // where it is not wanted before the end it is made meanwhile
    });
    return { report, sha256: hash ? (report.sha256 ?? (await unlessAborted(digest!, signal))) : null };
  } finally {
    digest?.stop();
  }
}

async function unlessAborted(digest: InputDigest, signal: AbortSignal | undefined): Promise<string> {
  throwIfAborted(signal);
  const stop = () => digest.stop();
  signal?.addEventListener('abort', stop, { once: true });
  try {
    return await digest.value;
  } finally {
    signal?.removeEventListener('abort', stop);
  }
}

/** @param onDigest is told, once the input is open, of what hashes it, and has to stop that if it starts it */
async function convertTo(
  input: Source,
  output: string,
  options: ConvertOptions,
  onDigest: (digest: InputDigest) => void,
): Promise<ConvertReport> {
  const started = performance.now();
  const report = await withInput(input, options, async (opened) => {
    const { kind, name, source } = opened;
    const place = await outputPlace(inputOf(input), output, kind, options);
    // What is in memory is not read again.
    const digest = new InputDigest(source.bytes ?? input);
    onDigest(digest);
    if (kind === 'checkpoint') {
      expectNone({ grow: options.grow }, `${name}, which is no ONNX model`, name);
      return await fuseAndWrite(input, await opened.checkpoint(), place, digest, options);
    }
    const others = Object.fromEntries(CHECKPOINT_OPTIONS.map((option) => [option, options[option]]));
    expectNone(others, `${name}, an ONNX model, which tells all of its branches itself`, name);
    return await foldAndWrite(input, source, place, options);
  });
  // The tensors are gone by now: verification has two files to read.
  const verification = options.verify === true ? await verifyOutput(input, report, options) : null;
  return { ...report, milliseconds: performance.now() - started, verification };
}

export const CONVERT_OPTIONS = {
  ...INSPECT_OPTIONS,
  ...OUTPUT_OPTIONS,
  durable: optional(BOOLEAN),
  force: optional(BOOLEAN),
  grow: optional(BOOLEAN),
  hash: optional(BOOLEAN),
  ranges: optional(BOOLEAN),
  requireChange: optional(BOOLEAN),
  threads: optional(THREADS),
  verify: optional(BOOLEAN),
} as const;
const OPTIONS = optionsOf<ConvertOptions>()(CONVERT_OPTIONS);

/** Options that mean nothing for an ONNX model. */
export const CHECKPOINT_OPTIONS = [
  'arch',
  'dtype',
  'eps',
  'families',
  'format',
  'graph',
  'keepBlocks',
  'keyless',
  'keyPath',
  'keys',
  'prefix',
  'ranges',
  'rules',
] as const satisfies readonly (keyof ConvertOptions)[];

/** Options that fit together. @throws ERR_REPFUSE_INVALID_ARGUMENT, ERR_REPFUSE_RULE */
export function checkConvertOptions<Options extends Omit<ConvertOptions, 'onProgress'>>(options: Options): Options {
  checkOutputOptions(options, options.graph !== undefined || options.arch !== undefined);
  return checkFindOptions(options);
}

async function fuseAndWrite(
  source: Source,
  opened: OpenCheckpoint,
  place: OutputPlace,
  digest: InputDigest,
  options: ConvertOptions,
): Promise<Omit<ConvertReport, 'milliseconds' | 'verification'>> {
  const input = inputOf(source).name;
  const { found, graph, report } = examine(opened, options);
  const leftOut = checkSpec(place, options, options.graph !== undefined || options.arch !== undefined, graph);
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
  const spec = outputSpec(place.format, options);
  const deployed =
    graph &&
    deployGraph(
      graph,
      converted.map(({ block }) => ({ ...block, deployKeys: spec.keysOf(block) })),
    );
  const fusing = new BlockFusing(found, opened, spec, options);
  fusing.tell(converted[0]?.block.prefix ?? '');
  const losses: OutputLosses = { flushed: 0, leftOut: [] };
  const tensors = deployTensors(opened, found, fusing, spec, losses, options.threads);
  if (deployed !== undefined) expectTensors(deployed, tensors);
  if (place.newFolder !== undefined) await makeFolder(place.newFolder);
  const { file: output } = place;
  const about = provenance(input, report.blocks, deployed);
  const writing =
    spec.format === 'onnx'
      ? writeAsOnnx(output, deployed!, tensors, options)
      : write(digest, output, spec.format, tensors, opened, about, options);
  const sha256 = await writing.catch(async (error) => {
    if (error instanceof UnfusableBlock) refuseProblems(await fusing.reports(), input, options);
    throw error;
  });
  const notes = [...report.notes, ...outputNotes(converted.length, leftOut, losses, spec.format)];
  return { ...report, notes, blocks: await fusing.reports(), output, sha256 };
}

/** What is to be said of the output: that it is a copy, what it has no place for, what a type of less range took away. */
function outputNotes(
  fused: number,
  graphLeftOut: string | undefined,
  { flushed, leftOut }: OutputLosses,
  format: string,
): string[] {
  const notes: string[] = [];
  if (fused === 0) notes.push('nothing was to be fused: the output is a copy of the weights');
  if (graphLeftOut !== undefined) notes.push(graphLeftOut);
  if (flushed > 0) notes.push(`${flushed} values other than 0 became 0: they are too small for the output's type`);
  if (leftOut.length > 0) notes.push(`left out, as ${format} cannot hold their type: ${leftOut.join(', ')}`);
  return notes;
}

/** Writes the output. Where it has a place for the digest of the input that is computed meanwhile, and put in last. @returns the digest */
async function write(
  digest: InputDigest,
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
  digest.start();
  try {
    await writeSafetensors(output, tensors, {
      ...settings,
      metadata: { ...metadata, [DIGEST_KEY]: '0'.repeat(64) },
      sealWith: async () => ({ [DIGEST_KEY]: await digest.value }),
    });
    return await digest.value;
  } finally {
    digest.stop();
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
      `${printable(file)}: ${blocks.length} of its blocks cannot be fused, nothing was written${advice}:`,
      ...blocks.map(
        ({ prefix, status, reason }) => `  ${printable(prefix) || '(root)'}: ${status}: ${printable(reason)}`,
      ),
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

async function verifyOutput(
  input: Source,
  { output, folded }: Pick<ConvertReport, 'output' | 'folded'>,
  options: ConvertOptions,
): Promise<VerifyReport> {
  if (folded !== undefined) return await verifyFolding(input, output, folded, options);
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
