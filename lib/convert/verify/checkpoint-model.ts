import { fromBranches, materializeAsync } from '../../algebra';
import type { Checkpoint } from '../../checkpoint/state-dict';
import { RepfuseError } from '../../errors';
import type { DetectedBlock } from '../../families';
import type { Graph, ReadModel } from '../../graph';
import { throwIfAborted } from '../../native/call';
import type { OnnxModel } from '../../onnx';
import { DTYPES, type DType } from '../../tensor/dtype';
import { toFloat32 } from '../../tensor/half';
import { Tensor } from '../../tensor/tensor';
import { findBlocks } from '../find-blocks';
import type { TensorProblem } from './compare-tensors';
import type { ModelLayer, ModelWeights } from './model-weights';
import { compareNetworks } from './networks';
import type { VerifyOptions, VerifyReport } from './report';
import { type BlockVerification, problemOf, verifyBlock } from './verify-block';

/** A model, and its graph where repfuse can run it, or why not. */
export interface VerifiedModel {
  readonly file: string;
  readonly model: OnnxModel;
  graph(): Promise<ReadModel>;
}

/**
 * Compares a checkpoint with an ONNX model of its network, in any forms. Where the checkpoint's graph is known both networks run; else, and
 * where that differs or cannot be, their weights are compared: every block runs beside the convolution of the model that has its name or is
 * nearest to it, every other weight of the model must be one of the checkpoint's.
 *
 * @returns the report; its notes say what was not compared
 * @throws ERR_REPFUSE_NO_BLOCKS where there is nothing to compare; as `foldGraph`
 */
export async function verifyCheckpointModel(
  checkpoint: Checkpoint,
  graph: Graph | undefined,
  model: VerifiedModel,
  options: VerifyOptions,
): Promise<VerifyReport> {
  const { signal, threads, tolerance } = options;
  const notes: string[] = [];
  const runnable = graph && (await model.graph().catch((error) => notRunnable(error, notes)));
  const network =
    graph === undefined || runnable === undefined
      ? null
      : await compareNetworks({ graph, tensors: checkpoint.tensors }, runnable, options);
  const report = { tolerance: tolerance ?? null, network };
  if (network?.equal) return { equal: true, ...report, blocks: [], otherTensors: [], notes };
  const { weightsOf } = require('./model-weights') as typeof import('./model-weights');
  const weights = await weightsOf(model.model, { threads, signal });
  const { blocks, otherTensors, notes: more } = await compareWeights(checkpoint, graph, weights, model.file, options);
  const equal = network === null && blocks.every((block) => block.equal) && otherTensors.length === 0;
  const unseen = network === null ? [NOT_IN_WEIGHTS] : [];
  return { equal, ...report, blocks, otherTensors, notes: [...notes, ...more, ...unseen] };
}

const NOT_IN_WEIGHTS =
  'only weights were compared: strides, activations and the order of layers are in no state dict (`graph` or `arch` runs both networks)';

function notRunnable(error: unknown, notes: string[]): undefined {
  if (!(error instanceof RepfuseError) || error.code !== 'ERR_REPFUSE_GRAPH') throw error;
  notes.push(`the networks were not run: ${error.message}`);
  return undefined;
}

async function compareWeights(
  checkpoint: Checkpoint,
  graph: Graph | undefined,
  { layers, constants }: ModelWeights,
  file: string,
  options: VerifyOptions,
): Promise<Pick<VerifyReport, 'blocks' | 'otherTensors' | 'notes'>> {
  const { signal, onProgress } = options;
  const blocks = blocksOf(checkpoint, graph, options);
  const inBlocks = new Set(blocks.flatMap(({ trainKeys, deployKeys }) => [...trainKeys, ...Object.values(deployKeys)]));
  const others = [...checkpoint.tensors].filter(
    ([key, { dtype, size }]) => !inBlocks.has(key) && DTYPES[dtype].floating && size > 0 && !STATISTICS.test(key),
  );
  if (blocks.length === 0 && (others.length === 0 || constants.length === 0)) {
    throw new RepfuseError(
      'ERR_REPFUSE_NO_BLOCKS',
      `Expected weights to compare in ${checkpoint.file} and ${file} but found none that both have`,
      { file: checkpoint.file },
    );
  }
  const layerOf = await assignLayers(blocks, checkpoint, layers, options);
  const covered = new Set([...layerOf.values()].flatMap(({ covers }) => covers));
  const verified: BlockVerification[] = [];
  for (const block of blocks) {
    throwIfAborted(signal);
    onProgress?.({ phase: 'verify', done: verified.length, total: blocks.length, block: block.prefix });
    verified.push(await compareBlock(block, layerOf.get(block), checkpoint, options));
  }
  onProgress?.({ phase: 'verify', done: blocks.length, total: blocks.length });
  const matched = matchTensors(others, constants);
  const otherTensors: TensorProblem[] = [];
  const unseen: string[] = [];
  for (const { name, tensor, of } of constants) {
    if (matched.constants.has(name) || (of !== undefined && covered.has(of)) || isZero(tensor)) continue;
    if (of === undefined) unseen.push(name);
    else otherTensors.push({ key: name, problem: `${of} has it, and nothing in the checkpoint is like it` });
  }
  const lacking = others.map(([key]) => key).filter((key) => !matched.keys.has(key));
  const notes = [`${matched.keys.size} of ${others.length} weights outside the blocks are in the model as they are`];
  if (lacking.length > 0) notes.push(`not in the model, and not compared: ${listed(lacking)}`);
  if (unseen.length > 0) notes.push(`constants of the model that were not compared: ${listed(unseen)}`);
  verified.sort((x, y) => y.relative - x.relative || (x.prefix < y.prefix ? -1 : 1));
  return { blocks: verified, otherTensors, notes };
}

const STATISTICS = /(^|\.)(running_mean|running_var|num_batches_tracked|_mean|_variance)$/;
const LISTED = 20;

function listed(names: readonly string[]): string {
  const rest = names.length - LISTED;
  return `${names.slice(0, LISTED).join(', ')}${rest > 0 ? ` and ${rest} more` : ''}`;
}

/** The blocks, and the pairs of a convolution and a BatchNorm, which exporters and folding merge without being asked. */
function blocksOf(checkpoint: Checkpoint, graph: Graph | undefined, options: VerifyOptions): DetectedBlock[] {
  const blocks = findBlocks(checkpoint, graph, options);
  const keys = new Set(blocks.flatMap(({ trainKeys, deployKeys }) => [...trainKeys, ...Object.values(deployKeys)]));
  const families = [...(options.families ?? []), 'conv-bn'];
  const pairs = findBlocks(checkpoint, graph, { ...options, families }).filter(
    ({ family, problem, trainKeys }) =>
      family === 'conv-bn' && problem === undefined && !trainKeys.some((key) => keys.has(key)),
  );
  return [...blocks, ...pairs];
}

/** A block beside its layer. */
async function compareBlock(
  block: DetectedBlock,
  layer: ModelLayer | undefined,
  { tensors }: Checkpoint,
  options: VerifyOptions,
): Promise<BlockVerification> {
  const first = { tensors, blocks: new Map([[block.prefix, block]]) };
  const second = new Map<string, Tensor>();
  if (layer !== undefined) {
    second.set(block.deployKeys.weight, layer.weight);
    second.set(block.deployKeys.bias, layer.bias ?? Tensor.f32([block.outChannels]));
  }
  const check = await verifyBlock(block, first, { tensors: second, blocks: new Map() }, options);
  if (layer !== undefined) return { ...check, beside: layer.node };
  return { ...check, problem: block.problem?.reason ?? 'the model has no convolution of its shape that is left' };
}

/** The layer of each block: that of its name, else the nearest of its shape; none is taken twice, the nearest pairs come first. */
async function assignLayers(
  blocks: readonly DetectedBlock[],
  checkpoint: Checkpoint,
  layers: readonly ModelLayer[],
  options: VerifyOptions,
): Promise<ReadonlyMap<DetectedBlock, ModelLayer>> {
  const sampled = new Map(layers.map((layer) => [layer, samplesOf(layer.weight, layer.bias)]));
  const pairs: { readonly block: DetectedBlock; readonly layer: ModelLayer; readonly distance: number }[] = [];
  for (const block of blocks.filter(({ problem }) => problem === undefined)) {
    const { outChannels, inPerGroup, kernel, groups, deployKeys, plainKeys } = block;
    const shape = [outChannels, inPerGroup, ...kernel].join();
    const alike = layers.filter(
      (layer) => layer.weight.shape.join() === shape && (groups === null || layer.groups === groups),
    );
    const fused = await samplesOfBlock(block, checkpoint, options);
    for (const layer of alike) {
      const isNamed = layer.name === deployKeys.weight || layer.name === plainKeys.weight;
      const distance = isNamed || fused === undefined ? 0 : farthest(sampled.get(layer)!, fused);
      pairs.push({ block, layer, distance });
    }
  }
  pairs.sort((a, b) => a.distance - b.distance);
  const layerOf = new Map<DetectedBlock, ModelLayer>();
  const covered = new Set<string>();
  for (const { block, layer } of pairs) {
    // What was folded is gone with what it was folded to.
    if (layerOf.has(block) || layer.covers.some((node) => covered.has(node))) continue;
    layerOf.set(block, layer);
    for (const node of layer.covers) covered.add(node);
  }
  return layerOf;
}

/** Elements of a weight that are looked at: enough to tell trained weights apart. */
const SAMPLES = 256;

/** Samples of a block's fused tensors; undefined where its values cannot be fused, which its verification tells. */
async function samplesOfBlock(
  block: DetectedBlock,
  { tensors }: Checkpoint,
  { threads, signal }: VerifyOptions,
): Promise<Float32Array | undefined> {
  const { inPerGroup, groups, form, deployKeys } = block;
  if (form === 'deploy') return samplesOf(tensors.get(deployKeys.weight)!, tensors.get(deployKeys.bias) ?? null);
  try {
    const sum = fromBranches(block, groups === null ? {} : { channels: inPerGroup * groups });
    const { weight, bias } = await materializeAsync(sum, { threads, signal });
    return samplesOf(weight, bias);
  } catch (error) {
    throwIfAborted(signal);
    problemOf(error);
    return undefined;
  }
}

/** Some elements of a weight, and the bias. */
function samplesOf(weight: Tensor, bias: Tensor | null): Float32Array {
  const values = toFloat32(weight);
  const step = Math.max(1, Math.floor(values.length / SAMPLES));
  const some = values.filter((_, i) => i % step === 0);
  const samples = new Float32Array(some.length + weight.shape[0]!);
  samples.set(some);
  if (bias !== null) samples.set(toFloat32(bias), some.length);
  return samples;
}

function isZero(tensor: Tensor): boolean {
  return toFloat32(tensor).every((value) => value === 0);
}

/** What rounding to a half type changes of a weight, relative to its peak; other weights are the same bytes. */
const ROUNDING: Readonly<Partial<Record<DType, number>>> = { F16: 2 ** -10, BF16: 2 ** -7 };
const EQUAL = 2 ** -23;

/** The tensors of the checkpoint that are constants of the model: under the same name, or the same values, perhaps transposed. */
function matchTensors(
  tensors: readonly (readonly [string, Tensor])[],
  constants: ModelWeights['constants'],
): { readonly keys: ReadonlySet<string>; readonly constants: ReadonlySet<string> } {
  const bySize = new Map<number, ModelWeights['constants'][number][]>();
  for (const constant of constants)
    bySize.set(constant.tensor.size, [...(bySize.get(constant.tensor.size) ?? []), constant]);
  const keys = new Set<string>();
  const found = new Set<string>();
  for (const [key, tensor] of tensors) {
    const alike = bySize.get(tensor.size) ?? [];
    const named = alike.find(({ name }) => name === key);
    const same = named === undefined ? alike.filter((constant) => isSame(tensor, constant.tensor)) : [named];
    for (const constant of same) {
      if (!isSame(tensor, constant.tensor)) continue;
      keys.add(key);
      found.add(constant.name);
    }
  }
  return { keys, constants: found };
}

function isSame(a: Tensor, b: Tensor): boolean {
  const { transposedMatrix } = require('./model-weights') as typeof import('./model-weights');
  const bound = Math.max(EQUAL, ROUNDING[a.dtype] ?? 0, ROUNDING[b.dtype] ?? 0);
  const near = (x: Tensor) => farthest(toFloat32(x), toFloat32(a)) <= bound;
  if (near(b)) return true;
  return a.shape.length === 2 && b.shape.length === 2 && a.shape[0] === b.shape[1] && near(transposedMatrix(b));
}

/** The largest difference, relative to the second's largest; NaN for what holds one. */
function farthest(a: Float32Array, b: Float32Array): number {
  let [worst, peak] = [0, 0];
  for (let i = 0; i < a.length; i++) {
    const difference = Math.abs(a[i]! - b[i]!);
    if (!(difference <= worst)) worst = difference;
    peak = Math.max(peak, Math.abs(b[i]!));
  }
  return worst === 0 ? 0 : worst / (peak || 1);
}
