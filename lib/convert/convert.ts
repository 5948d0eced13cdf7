import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { access, constants, stat } from 'node:fs/promises';
import { basename, dirname } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { version } from '../../package.json';
import { checkOptions } from '../blocks/options';
import type { StateDict } from '../checkpoint/state-dict';
import { expectAbsent, writeSafetensors } from '../checkpoint/write-safetensors';
import { RepfuseError } from '../errors';
import { deployGraph, type Graph, graphMetadata } from '../graph';
import { fuseBlocks } from './fuse-blocks';
import { type Examination, examine, INSPECT_OPTIONS, type InspectOptions } from './inspect';
import { expectTensors } from './model-graph';
import type { BlockReport, ConvertReport } from './report';
import { type VerifyReport, verify } from './verify';

export interface ConvertProgress {
  readonly phase: 'read' | 'fuse' | 'write' | 'verify';
  /** Bytes while reading and writing, blocks while fusing and verifying. */
  readonly done: number;
  readonly total: number;
  /** The block being fused or verified. */
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
  readonly onProgress?: ((progress: ConvertProgress) => void) | undefined;
}

/**
 * Converts a checkpoint to its deploy form: every block's branches fused into one convolution, exactly (float64 inside, rounded
 * once), all other tensors byte for byte, written as safetensors to a temporary file that is then renamed. With a graph the
 * output is a model file, which `evaluate` and `repfuse run` can run.
 *
 * Needs no model code: stride, padding and activation do not enter the fused numbers; BatchNorm eps does, and is reported with
 * its source. If any block cannot be fused, nothing is written. Takes memory for about one copy of the file.
 *
 * @returns what became of every block; `output` is null when there was nothing to convert
 * @throws ERR_REPFUSE_BLOCK listing every block that is partial, ambiguous or unsupported (`keepBlocks` settles one);
 *   ERR_REPFUSE_EXISTS; ERR_REPFUSE_NO_BLOCKS (`requireChange`); ERR_REPFUSE_GRAPH; ERR_REPFUSE_INVALID_ARGUMENT;
 *   ERR_REPFUSE_ABORTED, where `details.output` names the output if it was complete already; the errors of `readCheckpoint`
 */
export async function convert(input: string, output: string, options: ConvertOptions = {}): Promise<ConvertReport> {
  checkOptions('convert', options, CONVERT_OPTIONS);
  const started = performance.now();
  await checkOutput(input, output, options.force === true);
  const report = await fuseAndWrite(input, output, options);
  // The tensors are gone by now: verification has two files to read.
  const verification =
    options.verify === true && report.output !== null ? await verifyOutput(input, output, options) : null;
  return { ...report, milliseconds: performance.now() - started, verification };
}

async function fuseAndWrite(
  input: string,
  output: string,
  options: ConvertOptions,
): Promise<Omit<ConvertReport, 'milliseconds' | 'verification'>> {
  const examination = await examine(input, options);
  const { checkpoint, found, graph, report } = examination;
  refuseProblems(report.blocks, input);
  const converted = found.filter((block) => block.report.status === 'converted').map(({ block }) => block);
  if (options.requireChange === true && converted.length === 0) {
    throw new RepfuseError('ERR_REPFUSE_NO_BLOCKS', `Expected blocks to fuse in ${input} but 0 blocks were folded`, {
      file: input,
    });
  }
  if (found.length === 0 && options.graph === undefined) return { ...report, output: null };

  const deployed = graph === undefined ? undefined : deployGraph(graph, converted);
  const blocks = await fuseBlocks(found, checkpoint.tensors, options);
  refuseProblems(blocks, input);
  const tensors = deployTensors(examination);
  if (deployed !== undefined) expectTensors(deployed, tensors);
  const metadata = { ...checkpoint.metadata, ...(await provenance(input, report.blocks, deployed)) };
  const { force, signal, onProgress } = options;
  await writeSafetensors(output, tensors, { metadata, force, signal, onProgress });
  return { ...report, blocks, output };
}

const CONVERT_OPTIONS = [
  ...INSPECT_OPTIONS,
  'force',
  'requireChange',
  'threads',
  'verify',
] as const satisfies readonly (keyof ConvertOptions)[];

/** What would make the writing fail in the end is told before the work. */
async function checkOutput(input: string, output: string, force: boolean): Promise<void> {
  if (!force) await expectAbsent(output);
  const folder = dirname(output);
  await access(folder, constants.W_OK).catch((cause) => {
    throw new RepfuseError('ERR_REPFUSE_FILE', `Cannot write ${output}: ${cause.message}`, { file: output }, { cause });
  });
  const [from, to] = await Promise.all([input, output].map((file) => stat(file).catch(() => undefined)));
  if (from !== undefined && to !== undefined && from.dev === to.dev && from.ino === to.ino) {
    throw new RepfuseError(
      'ERR_REPFUSE_INVALID_ARGUMENT',
      `Expected an output other than the input but received ${output} for both`,
      { file: output },
    );
  }
}

function refuseProblems(reports: readonly BlockReport[], file: string): void {
  const blocks = reports
    .filter(({ status }) => ['partial', 'ambiguous', 'unsupported'].includes(status))
    .map(({ prefix, status, reason }) => ({ prefix, status, reason: reason ?? '' }));
  if (blocks.length === 0) return;
  throw new RepfuseError(
    'ERR_REPFUSE_BLOCK',
    [
      `${file}: ${blocks.length} of its blocks cannot be fused, nothing was written (keepBlocks, --keep, leaves one as it is):`,
      ...blocks.map(({ prefix, status, reason }) => `  ${prefix || '(root)'}: ${status}: ${reason}`),
    ].join('\n'),
    { file, blocks },
  );
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

/** What the output's `__metadata__` says beside what the input's did; a copy of a deploy file says nothing new. */
async function provenance(
  input: string,
  blocks: readonly BlockReport[],
  graph: Graph | undefined,
): Promise<Record<string, string>> {
  const model = graph === undefined ? {} : graphMetadata(graph);
  const fused = blocks.filter(({ status }) => status === 'converted');
  if (fused.length === 0) return model;
  const hash = createHash('sha256');
  await pipeline(createReadStream(input), hash);
  const eps = Object.fromEntries(fused.map(({ prefix, eps: { value, source } }) => [prefix, `${value} (${source})`]));
  const distinct = [...new Set(Object.values(eps))];
  return {
    ...model,
    'repfuse.version': version,
    'repfuse.source': basename(input),
    'repfuse.source_sha256': hash.digest('hex'),
    'repfuse.families': [...new Set(fused.map(({ family }) => family))].join(', '),
    'repfuse.eps': distinct.length === 1 ? distinct[0]! : JSON.stringify(eps),
  };
}

async function verifyOutput(input: string, output: string, options: ConvertOptions): Promise<VerifyReport> {
  const { eps, graph, keyPath, prefix, rules, signal, threads, onProgress } = options;
  try {
    return await verify(input, output, { eps, graph, keyPath, prefix, rules, signal, threads, onProgress });
  } catch (error) {
    if (!(error instanceof RepfuseError && error.code === 'ERR_REPFUSE_ABORTED')) throw error;
    const message = `The operation was aborted after ${output} was written and before it was verified`;
    throw new RepfuseError(error.code, message, { ...error.details, output }, { cause: error.cause });
  }
}
