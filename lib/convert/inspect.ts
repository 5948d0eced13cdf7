import { type ReadCheckpointOptions, readCheckpoint } from '../checkpoint/read-checkpoint';
import type { Checkpoint } from '../checkpoint/state-dict';
import { type DetectedBlock, detectBlocks, type FamilyRule } from '../families';
import { countMacs, deployGraph, type Graph, inferShapes, parseGraph, readGraphMetadata } from '../graph';
import { Tensor } from '../tensor/tensor';
import { countParameters, describeBlock, valueProblem } from './describe-block';
import type { BlockReport, InspectReport } from './report';

export interface InspectOptions extends ReadCheckpointOptions {
  /** BatchNorm eps of every block. Default: by family and evidence. */
  readonly eps?: number | undefined;
  /** Family rules. Default: all that repfuse knows. */
  readonly rules?: readonly FamilyRule[] | undefined;
  /** The network's graph in training form, as parsed JSON. Default: the one in the file's metadata, if any. */
  readonly graph?: unknown;
  /** Prefixes of blocks to leave as they are. */
  readonly keepBlocks?: readonly string[] | undefined;
}

/** A file read and examined; what `inspect` reports and `convert` works on. */
export interface Examination {
  readonly checkpoint: Checkpoint;
  readonly graph: Graph | undefined;
  readonly found: readonly { readonly block: DetectedBlock; readonly report: BlockReport }[];
  readonly report: InspectReport;
}

/**
 * Tells what a checkpoint holds: every re-parameterizable block at any prefix, its family, form and branches, parameters before
 * and after fusing, and what else is in the file. Reads only; works without the native addon.
 *
 * @throws the errors of `readCheckpoint`; ERR_REPFUSE_GRAPH
 */
export async function inspect(file: string, options: InspectOptions = {}): Promise<InspectReport> {
  return (await examine(file, options)).report;
}

export async function examine(file: string, options: InspectOptions): Promise<Examination> {
  const checkpoint = await readCheckpoint(file, options);
  const { tensors, metadata } = checkpoint;
  const graph = options.graph === undefined ? readGraphMetadata(metadata) : parseGraph(options.graph);
  const detected = detectBlocks(tensors, {
    eps: options.eps,
    ...(options.rules === undefined ? {} : { rules: options.rules }),
  });
  const found = detected.map((block) => ({ block, report: judge(block, checkpoint, options.keepBlocks ?? []) }));
  const reports = found.map(({ report }) => report);
  const inBlocks = new Set(
    detected.flatMap(({ trainKeys, deployKeys }) => [...trainKeys, deployKeys.weight, deployKeys.bias]),
  );
  const before = countParameters(tensors);
  const fused = found.filter(({ report }) => report.status === 'converted');
  const saved = fused.reduce((sum, { block, report }) => {
    const placeholder = block.form === 'mixed' ? report.parameters.after : 0; // counted in `before` too
    return sum + report.parameters.before + placeholder - report.parameters.after;
  }, 0);
  return {
    checkpoint,
    graph,
    found,
    report: {
      file,
      format: checkpoint.format,
      keyPath: checkpoint.keyPath,
      droppedPrefix: checkpoint.droppedPrefix,
      alternatives: checkpoint.alternatives,
      blocks: reports,
      otherTensors: [...tensors.keys()].filter((key) => !inBlocks.has(key)).length,
      parameters: { before, after: before - saved },
      macs:
        graph?.inputShape === undefined
          ? null
          : macsOf(
              graph,
              graph.inputShape,
              fused.map(({ block }) => block),
              checkpoint,
            ),
      skipped: checkpoint.skipped,
      notes: notesOf(reports, checkpoint),
    },
  };
}

/** What a block becomes, before anything is computed. */
function judge(block: DetectedBlock, { tensors }: Checkpoint, keepBlocks: readonly string[]): BlockReport {
  if (block.form === 'deploy' && block.problem === undefined) return describeBlock(block, tensors, 'already-deployed');
  if (keepBlocks.includes(block.prefix)) return describeBlock(block, tensors, 'kept', 'left as it is on request');
  if (block.problem !== undefined) return describeBlock(block, tensors, block.problem.kind, block.problem.reason);
  const problem = valueProblem(block, tensors);
  return problem === undefined
    ? describeBlock(block, tensors, 'converted')
    : describeBlock(block, tensors, 'unsupported', problem.reason);
}

function macsOf(
  graph: Graph,
  inputShape: readonly number[],
  blocks: readonly DetectedBlock[],
  { tensors }: Checkpoint,
) {
  const shape = [1, ...inputShape];
  const before = countMacs(graph, inferShapes(graph, shape, tensors), tensors);
  // Only shapes matter: the fused kernels need not exist yet.
  const withFused = new Map(tensors);
  for (const { deployKeys, outChannels, inPerGroup, kernel } of blocks) {
    withFused.set(deployKeys.weight, Tensor.f32([outChannels, inPerGroup, ...kernel]));
    withFused.set(deployKeys.bias, Tensor.f32([outChannels]));
  }
  const deployed = deployGraph(graph, blocks);
  return { before, after: countMacs(deployed, inferShapes(deployed, shape, withFused), withFused) };
}

function notesOf(blocks: readonly BlockReport[], checkpoint: Checkpoint): string[] {
  const notes: string[] = [];
  if (blocks.length === 0) notes.push('no re-parameterizable block was found: there is nothing to convert');
  else if (blocks.every(({ status }) => status === 'already-deployed'))
    notes.push('every block is in deploy form already: 0 blocks folded');
  if (checkpoint.droppedPrefix !== '') notes.push(`the prefix ${checkpoint.droppedPrefix} was dropped from the keys`);
  for (const path of checkpoint.alternatives)
    notes.push(`another set of weights lies at ${path.join('.')} (choose it with keyPath)`);
  return notes;
}
