import { checkOptions, expectNone } from '../arguments/check';
import { optional, optionsOf, TEXTS } from '../arguments/schemas';
import { quote } from '../arguments/show';
import { suggestion } from '../arguments/suggest';
import type { Source } from '../checkpoint/files/source';
import { isAveraged } from '../checkpoint/find-state-dict';
import type { OpenCheckpoint } from '../checkpoint/open-checkpoint';
import { READ_OPTIONS, type ReadCheckpointOptions, withInput } from '../checkpoint/read-checkpoint';
import type { Checkpoint, StateDict } from '../checkpoint/state-dict';
import { RepfuseError } from '../errors';
import { type DetectedBlock, FAMILY_RULES } from '../families';
import type { Graph } from '../graph';
import { GRAPH_OPTIONS, type GraphOptions, graphFor } from '../nets/graph-for';
import { countBatchNorms, countParameters, reportBlock, valueProblem } from './block-report';
import { checkFindOptions, FIND_OPTIONS, type FindOptions, findBlocks } from './find-blocks';
import { inspectOnnx } from './fold-onnx';
import { macsOf } from './model-graph';
import type { BlockReport, InspectReport } from './report';
import { unrecognisedUnits } from './unrecognised';

export interface InspectOptions extends FindOptions, GraphOptions, ReadCheckpointOptions {
  /** Prefixes of blocks to leave as they are: what settles a block that cannot be fused. */
  readonly keepBlocks?: readonly string[] | undefined;
}

/** A block of a file and what it would become. */
export interface FoundBlock {
  readonly block: DetectedBlock;
  readonly report: BlockReport;
}

/** A file opened and examined; what `inspect` reports and `convert` works on. */
export interface Examination {
  readonly graph: Graph | undefined;
  readonly found: readonly FoundBlock[];
  readonly report: InspectReport;
}

/**
 * Tells what a file holds. Of a checkpoint: every re-parameterizable block at any prefix, its family, form and branches, parameters
 * before and after fusing, and what else is there. Of an ONNX model: what could be folded and what could not, and why, its operators,
 * inputs and outputs. Reads only; works without the native addon.
 *
 * @throws the errors of `readCheckpoint`; ERR_REPFUSE_GRAPH; ERR_REPFUSE_INVALID_ARGUMENT for an option that is none, or a block
 *   to keep that the file does not have
 */
export async function inspect(file: Source, given: InspectOptions = {}): Promise<InspectReport> {
  const options = checkFindOptions(checkOptions('inspect', OPTIONS, given));
  return await withInput(file, options, async (input) => {
    if (input.kind === 'onnx') {
      const { signal, onProgress: _, ...others } = options;
      expectNone(others, `${input.name}, an ONNX model, which tells all of its branches itself`, input.name);
      return await inspectOnnx(file, input.source, { signal });
    }
    const opened = await input.checkpoint();
    const { found, report } = examine(opened, options);
    const blocks: BlockReport[] = [];
    for (const item of found) blocks.push(await checkValues(item, opened));
    return { ...report, ...parametersOf(opened.tensors, found, blocks), blocks };
  });
}

/** The report of a block that would be fused, with its values looked at: they have to be read for that. */
export async function checkValues({ block, report }: FoundBlock, opened: OpenCheckpoint): Promise<BlockReport> {
  if (report.status !== 'convertible') return report;
  await opened.load(block.trainKeys);
  const problem = valueProblem(block, opened.tensors);
  opened.release(block.trainKeys);
  return problem === undefined ? report : reportBlock(block, opened.tensors, 'unsupported', problem);
}

export const INSPECT_OPTIONS = {
  ...FIND_OPTIONS,
  ...GRAPH_OPTIONS,
  ...READ_OPTIONS,
  keepBlocks: optional(TEXTS),
} as const;
const OPTIONS = optionsOf<InspectOptions>()(INSPECT_OPTIONS);

/** What a checkpoint holds, as far as its names, shapes and small tensors tell. */
export function examine({ checkpoint }: OpenCheckpoint, options: InspectOptions): Examination {
  const { file, tensors } = checkpoint;
  const graph = graphFor(checkpoint, options);
  const detected = findBlocks(checkpoint, graph, options);
  const { keepBlocks = [] } = options;
  checkKept(keepBlocks, detected, file);
  const found = detected.map((block) => ({ block, report: judge(block, checkpoint, keepBlocks) }));
  const reports = found.map(({ report }) => report);
  const inBlocks = new Set(
    detected.flatMap(({ trainKeys, deployKeys }) => [...trainKeys, deployKeys.weight, deployKeys.bias]),
  );
  const others = [...tensors.keys()].filter((key) => !inBlocks.has(key));
  const batchNormsLeft = countBatchNorms(others);
  return {
    graph,
    found,
    report: {
      file,
      format: checkpoint.format,
      keyPath: checkpoint.keyPath,
      droppedPrefix: checkpoint.droppedPrefix,
      alternatives: checkpoint.alternatives,
      blocks: reports,
      otherTensors: others.length,
      ...parametersOf(tensors, found, reports),
      macs: macsOf(
        graph,
        found.filter(({ report }) => report.status === 'convertible').map(({ block }) => block),
        tensors,
      ),
      skipped: checkpoint.skipped,
      batchNormsLeft,
      notes: [
        ...notesOf(reports, checkpoint, batchNormsLeft, options),
        ...unrecognisedNotes(unrecognisedUnits(others, options.rules ?? FAMILY_RULES)),
      ],
    },
  };
}

/** Learnable parameters and bytes of the whole network, now and with the convertible blocks fused. */
function parametersOf(
  tensors: StateDict,
  found: readonly FoundBlock[],
  reports: readonly BlockReport[],
): Pick<InspectReport, 'bytes' | 'parameters'> {
  const before = countParameters(tensors);
  const bytesBefore = countBytes(tensors, tensors.keys());
  let after = before;
  let bytesAfter = bytesBefore;
  for (const [i, { block }] of found.entries()) {
    const { status, parameters } = reports[i]!;
    if (status !== 'convertible') continue;
    // Deploy tensors that lie beside the training tensors were counted in `before` too.
    const beside = Object.values(block.deployKeys).filter((key) => tensors.has(key) && !block.trainKeys.includes(key));
    after -= countParameters(beside.map((key) => [key, tensors.get(key)!] as const));
    after += parameters.after - parameters.before;
    bytesAfter += 4 * parameters.after - countBytes(tensors, new Set([...block.trainKeys, ...beside]));
  }
  return { parameters: { before, after }, bytes: { before: bytesBefore, after: bytesAfter } };
}

function countBytes(tensors: StateDict, keys: Iterable<string>): number {
  let sum = 0;
  for (const key of keys) sum += tensors.get(key)?.bytes ?? 0;
  return sum;
}

/** A block to keep that is misspelt would otherwise be fused. */
function checkKept(keepBlocks: readonly string[], blocks: readonly DetectedBlock[], file: string): void {
  const prefixes = blocks.map(({ prefix }) => prefix);
  const unknown = keepBlocks.find((kept) => !prefixes.includes(kept));
  if (unknown === undefined) return;
  const hint = prefixes.length === 0 ? ': there is none' : suggestion(unknown, prefixes);
  throw new RepfuseError(
    'ERR_REPFUSE_INVALID_ARGUMENT',
    `Expected a block of ${file} for \`keepBlocks\` but received ${quote(unknown)}${hint}`,
    { block: unknown, option: 'keepBlocks' },
  );
}

/** What a block becomes, before anything is computed. */
function judge(block: DetectedBlock, { tensors }: Checkpoint, keepBlocks: readonly string[]): BlockReport {
  if (block.form === 'deploy' && block.problem === undefined) return reportBlock(block, tensors, 'already-deployed');
  if (keepBlocks.includes(block.prefix)) return reportBlock(block, tensors, 'kept', 'left as it is on request');
  if (block.problem !== undefined) return reportBlock(block, tensors, block.problem.kind, block.problem.reason);
  return reportBlock(block, tensors, 'convertible');
}

/** What else there is to say; no option is advised that was given. */
function notesOf(
  blocks: readonly BlockReport[],
  checkpoint: Checkpoint,
  batchNormsLeft: number,
  { families = [], keyPath: asked }: InspectOptions,
): string[] {
  const notes: string[] = [];
  if (blocks.length === 0) notes.push('no re-parameterizable block was found: there is nothing to convert');
  else if (blocks.every(({ status }) => status === 'already-deployed'))
    notes.push('every block is in deploy form already: 0 blocks folded');
  if (batchNormsLeft > 0) {
    const why = families.includes('conv-bn')
      ? ': no convolution that they follow was found'
      : ' (`families` conv-bn folds those that follow a convolution)';
    notes.push(`${batchNormsLeft} BatchNorms outside these blocks are left as they are${why}`);
  }
  if (checkpoint.droppedPrefix !== '') notes.push(`the prefix ${checkpoint.droppedPrefix} was dropped from the keys`);
  const { keyPath, alternatives } = checkpoint;
  if (isAveraged(keyPath) && alternatives.length > 0)
    notes.push(`the averaged weights (EMA) at ${keyPath.join('.')} were taken`);
  for (const path of alternatives)
    notes.push(
      `another set of weights lies at ${path.join('.')}${asked === undefined ? ' (choose it with `keyPath`)' : ''}`,
    );
  return notes;
}

function unrecognisedNotes(units: readonly string[]): string[] {
  if (units.length === 0) return [];
  const more = units.length > 8 ? ` and ${units.length - 8} more` : '';
  return [
    `named like a deploy form, but of no system that is known, and left as they are: ${units.slice(0, 8).join(', ')}${more}`,
  ];
}
