import { checkOptions, expectNone } from '../../arguments/check';
import { integer, number, optional, optionsOf, THREADS } from '../../arguments/schemas';
import { inputOf, type Source } from '../../checkpoint/files/source';
import { READ_OPTIONS, withInput } from '../../checkpoint/read-checkpoint';
import type { Checkpoint } from '../../checkpoint/state-dict';
import { torchName } from '../../checkpoint/torch/torch-pickle';
import { canHold } from '../../checkpoint/write-checkpoint';
import type { DetectedBlock } from '../../families';
import { evaluateValues, type Graph, readGraphMetadata, readOnnxModel } from '../../graph';
import { throwIfAborted } from '../../native/call';
import { GRAPH_OPTIONS, graphFor } from '../../nets/graph-for';
import { formatShape } from '../../tensor/tensor';
import { checkFindOptions, FIND_OPTIONS, findBlocks } from '../find-blocks';
import { type VerifiedModel, verifyCheckpointModel } from './checkpoint-model';
import { compareOtherTensors } from './compare-tensors';
import { differenceOf, peakOf } from './difference';
import { verifyModels } from './models';
import type { NetworkVerification, VerifyOptions, VerifyReport } from './report';
import { seededInputs } from './seeded-inputs';
import { type BlockVerification, problemOf, verifyBlock } from './verify-block';

/**
 * Compares two files of one network, checkpoints or ONNX models (see `verifyModels` and `verifyCheckpointModel`), in any form. Two checkpoints: a training checkpoint with its deploy form, or two of either. Each block of the
 * first runs as it stands there (the branches with their running statistics, never batch statistics) against the second's, on seeded
 * images, borders and strides included. The verdict is on max |difference| / peak, so that a network scaled by 1000 gets the same one.
 * Tensors outside the blocks must be equal byte for byte, or be the same values rounded to another floating-point type.
 *
 * Both forms are run with the same eps: a wrong eps cannot be seen from two state dicts.
 *
 * @returns the report; inequality is no error
 * @throws the errors of `readCheckpoint`; ERR_REPFUSE_INVALID_ARGUMENT; ERR_REPFUSE_GRAPH; the signal's reason
 */
export async function verify(first: Source, second: Source, given: VerifyOptions = {}): Promise<VerifyReport> {
  inputOf(first, 'first');
  inputOf(second, 'second');
  const options = checkFindOptions(checkOptions('verify', OPTIONS, given));
  const { signal, onProgress } = options;
  onProgress?.({ phase: 'verify', done: 0, total: 1 }); // how many blocks there are shows only once the file is read
  const a = await readEither(first, options);
  const b = await readEither(second, a.kind === 'onnx' ? options : { signal });
  if (a.kind === 'onnx' && b.kind === 'onnx') {
    const { signal: _, seed: __, threads: ___, tolerance: ____, onProgress: _____, ...others } = options;
    expectNone(others, `${a.file} and ${b.file}, ONNX models, which tell all themselves`, a.file);
    const report = await verifyModels({ ...a, source: first }, { ...b, source: second }, options);
    onProgress?.({ phase: 'verify', done: 1, total: 1 });
    return report;
  }
  if (a.kind === 'checkpoint' && b.kind === 'checkpoint') return await verifyCheckpoints(a, b, options);
  const [checkpoint, model] = (a.kind === 'checkpoint' ? [a, b] : [b, a]) as [ReadFile, VerifiedModel];
  return await verifyCheckpointModel(checkpoint, graphFor(checkpoint, options), model, options);
}

type ReadFile = Checkpoint & { readonly kind: 'checkpoint' };

/** A file, whatever it is. `keyPath` and `prefix` are of a checkpoint. */
async function readEither(
  file: Source,
  { keyPath, prefix, signal }: Pick<VerifyOptions, 'keyPath' | 'prefix' | 'signal'>,
): Promise<ReadFile | (VerifiedModel & { readonly kind: 'onnx' })> {
  return await withInput(file, { keyPath, prefix, signal }, async ({ kind, name, source, checkpoint }) => {
    if (kind === 'onnx') {
      // Protobuf takes 40 ms to load.
      const { readOnnx } = require('../../onnx') as typeof import('../../onnx');
      const model = await readOnnx(file, { source, signal });
      return { kind, file: name, model, graph: () => readOnnxModel(file, { signal }) };
    }
    const opened = await checkpoint();
    await opened.load(opened.tensors.keys());
    return { kind, ...opened.checkpoint };
  });
}

async function verifyCheckpoints(a: Checkpoint, b: Checkpoint, options: VerifyOptions): Promise<VerifyReport> {
  const { signal, onProgress } = options;
  const graph = graphFor(a, options);
  const [inFirst, inSecond] = [findBlocks(a, graph, options), findBlocks(b, readGraphMetadata(b.metadata), options)];
  const byPrefix = (found: readonly DetectedBlock[]) => new Map(found.map((block) => [block.prefix, block]));
  const files = [
    { tensors: a.tensors, blocks: byPrefix(inFirst) },
    { tensors: b.tensors, blocks: byPrefix(inSecond) },
  ] as const;
  const leftOut = b.format === 'npz' ? [...a.tensors].filter(([, { dtype }]) => !canHold('npz', dtype)) : [];
  const uncompared = [
    ...[...a.unread].map(([key, what]) => `${key} (${what})`),
    ...leftOut.map(([key, { dtype }]) => `${key} (${torchName(dtype)}, which npz cannot hold)`),
  ];
  const blocks: BlockVerification[] = [];
  for (const block of inFirst) {
    throwIfAborted(signal);
    onProgress?.({ phase: 'verify', done: blocks.length, total: inFirst.length, block: block.prefix });
    blocks.push(await verifyBlock(block, ...files, options));
  }
  blocks.sort((x, y) => y.relative - x.relative || (x.prefix < y.prefix ? -1 : 1));
  const otherTensors = await compareOtherTensors(inFirst, ...files, new Set(leftOut.map(([key]) => key)));
  const notes = uncompared.length === 0 ? [] : [`not compared: ${uncompared.join(', ')}`];
  const bound = blocks.reduce((sum, block) => sum + block.bound, 0) || (options.tolerance ?? MIN_BOUND);
  const network = await verifyNetwork(a, graph, b, bound, options, notes);
  onProgress?.({ phase: 'verify', done: inFirst.length, total: inFirst.length });
  const equal = blocks.every((block) => block.equal) && otherTensors.length === 0 && (network?.equal ?? true);
  return { equal, tolerance: options.tolerance ?? null, blocks, network, otherTensors, notes };
}

/** End to end, where there are no blocks. */
const MIN_BOUND = 1e-5;

const OPTIONS = optionsOf<VerifyOptions>()({
  ...FIND_OPTIONS,
  ...GRAPH_OPTIONS,
  ...READ_OPTIONS,
  seed: optional(integer(0)),
  threads: optional(THREADS),
  tolerance: optional(number(0)),
});

async function verifyNetwork(
  a: Checkpoint,
  first: Graph | undefined,
  b: Checkpoint,
  bound: number,
  { seed = 1, threads, signal }: VerifyOptions,
  notes: string[],
): Promise<NetworkVerification | null> {
  const second = readGraphMetadata(b.metadata);
  if (first === undefined && second === undefined) return null;
  const known = [second, first].find((graph) => graph?.inputShape !== undefined || graph?.inputs !== undefined);
  if (first === undefined || second === undefined || known === undefined) {
    const lacking =
      known === undefined ? 'no graph has an inputShape' : `the ${first ? 'second' : 'first'} file has no graph`;
    notes.push(`not compared end to end: ${lacking}`);
    return null;
  }
  const unknown = { equal: false, maxAbsolute: Number.POSITIVE_INFINITY, relative: Number.POSITIVE_INFINITY, bound };
  try {
    const input = seededInputs({ graph: known, tensors: known === second ? b.tensors : a.tensors }, seed);
    const outputOf = async (graph: Graph, { tensors }: Checkpoint) =>
      (await evaluateValues(graph, tensors, input, [graph.output], { threads, signal })).get(graph.output)!;
    const [expected, got] = [await outputOf(first, a), await outputOf(second, b)];
    if (formatShape(expected.shape) !== formatShape(got.shape)) {
      const problem = `the outputs are ${formatShape(expected.shape)} and ${formatShape(got.shape)}`;
      return { ...unknown, problem };
    }
    const { maxAbsolute, relative } = differenceOf(expected, got, peakOf(expected));
    return { equal: relative <= bound, maxAbsolute, relative, bound };
  } catch (error) {
    throwIfAborted(signal);
    return { ...unknown, problem: problemOf(error) };
  }
}
