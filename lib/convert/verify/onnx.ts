import type { Source } from '../../checkpoint/files/source';
import { Engine } from '../../engine';
import { RepfuseError } from '../../errors';
import { evaluateValues, outputsOf, type ReadModel, readOnnxModel } from '../../graph';
import type { FoldedRegion, FoldOptions } from '../../onnx';
import { toFloat32 } from '../../tensor/half';
import { seededUniform } from '../../tensor/random';
import { Tensor } from '../../tensor/tensor';
import { differenceOf, peakOf } from './difference';
import type { OnnxValueCheck, OnnxVerification } from './report';
import { roundingOf } from './rounding';
import { seededInputs } from './seeded-inputs';

export interface VerifyOnnxOptions extends Pick<FoldOptions, 'threads' | 'signal'> {
  /** One bound for all values, in place of their own. */
  readonly tolerance?: number | undefined;
  /** Seed of the images. Default 1. */
  readonly seed?: number | undefined;
}

/**
 * Allowed error of an output, relative to its peak: ten times what rounding makes of networks of a hundred layers, a thousandth of what a
 * wrong weight does.
 */
const BOUND = 2e-5;
/** Where values cancel: of what the given model's own outputs move when its weights do by a unit in the last place. */
const NOISE = 16;

/**
 * Compares every folded region with the operators that it stands for, alone, on seeded inputs; and the whole models, the given one operator by
 * operator, which shares nothing with what folds and compiles. A region that cannot run alone is decided by the
 * outputs. Where the given model cannot be run, `notRun` says why, and the regions decide: that every other node is the given one is checked too.
 *
 * @throws as `readOnnx`; ERR_REPFUSE_GRAPH where the folded model cannot be run though the given one can; the signal's reason
 */
export async function verifyOnnx(
  given: Source,
  folded: Source,
  regions: readonly FoldedRegion[],
  options: VerifyOnnxOptions,
): Promise<OnnxVerification> {
  // Protobuf takes 40 ms to load.
  const { compareRegions } = require('./onnx-regions') as typeof import('./onnx-regions');
  const { readOnnx } = require('../../onnx') as typeof import('../../onnx');
  const second = await readOnnx(folded);
  const { checks, unexplained } = await compareRegions(await readOnnx(given), second, options);
  const made = new Set(second.proto.graph.node.map(({ name }) => name));
  const compared = new Set(checks.map(({ value }) => value));
  const missed = regions
    .filter(({ node, output }) => made.has(node) && !compared.has(output))
    .map(({ output }) => unknown(output, 'nothing in the given model makes it of the same source'));
  const whole = await compareWhole(given, folded, options);
  const outputs = new Set(whole.checks.map(({ value }) => value));
  const isRun = whole.notRun === null;
  // What cannot run alone is decided by the outputs, where those were compared.
  const found = [
    ...whole.checks,
    ...[...checks, ...missed].filter(({ value, equal, problem }) =>
      problem === undefined ? !equal || !outputs.has(value) : !isRun,
    ),
  ];
  const { tolerance } = options;
  const values =
    tolerance === undefined
      ? found
      : found.map((check) => ({ ...check, bound: tolerance, equal: check.folded <= tolerance }));
  const isExplained = isRun || unexplained.length === 0;
  const notRun = isExplained ? whole.notRun : `${whole.notRun}; not compared: ${unexplained.join(', ')}`;
  const equal = isExplained && values.every((check) => check.equal);
  return { input: whole.input, notRun, bound: tolerance ?? BOUND, values, equal };
}

function unknown(value: string, problem: string): OnnxValueCheck {
  const error = Number.POSITIVE_INFINITY;
  return { value, of: 'region', given: error, folded: error, bound: 0, equal: false, problem };
}

interface Whole {
  readonly input: readonly number[];
  readonly notRun: string | null;
  readonly checks: readonly OnnxValueCheck[];
}

async function compareWhole(
  given: Source,
  folded: Source,
  { seed = 1, threads, signal }: VerifyOnnxOptions,
): Promise<Whole> {
  let before: ReadModel;
  let outputs: readonly string[];
  let input: ReadonlyMap<string, Tensor>;
  let reference: ReadonlyMap<string, Tensor>;
  try {
    before = await readOnnxModel(given, { signal });
    outputs = outputsOf(before.graph);
    input = seededInputs(before, seed);
    reference = await evaluateValues(before.graph, before.tensors, input, outputs, { threads, signal });
  } catch (error) {
    if (!(error instanceof RepfuseError) || error.code !== 'ERR_REPFUSE_GRAPH') throw error;
    return { input: [], notRun: error.message, checks: [] };
  }
  const run = async ({ graph, tensors }: ReadModel) => {
    const { outputTypes: _, ...inFloat32 } = graph;
    await using engine = await Engine.create({ graph: inFloat32, tensors }, { threads, signal });
    return engine.runAll(input, { signal });
  };
  const after = await readOnnxModel(folded, { signal });
  const [ofGiven, ofFolded] = [await run(before), await run(after)];
  const moved = await evaluateValues(before.graph, movedByRounding(before.tensors), input, outputs, {
    threads,
    signal,
  });
  const checks = outputs.map((value): OnnxValueCheck => {
    const expected = reference.get(value)!;
    const error = (got: Tensor | undefined) =>
      got?.shape.join() === expected.shape.join()
        ? differenceOf(expected, got, peakOf(expected)).relative
        : Number.POSITIVE_INFINITY;
    const [first, second] = [error(ofGiven.get(value)), error(ofFolded.get(value))];
    const noise = Math.max(first, error(moved.get(value)));
    const bound = Math.max(BOUND, Number.isFinite(noise) ? NOISE * noise : 0);
    return { value, of: 'output', given: first, folded: second, bound, equal: second <= bound };
  });
  return { input: [...input.values()][0]!.shape, notRun: null, checks };
}

/** Each element by half a unit in the last place of its type on average. */
function movedByRounding(tensors: ReadModel['tensors']): ReadModel['tensors'] {
  const uniform = seededUniform(2);
  const move = (tensor: Tensor) =>
    Tensor.f32(
      tensor.shape,
      toFloat32(tensor).map((value) => value * (1 + (uniform() - 0.5) * 4 * roundingOf(tensor.dtype))),
    );
  return new Map([...tensors].map(([key, tensor]) => [key, move(tensor)]));
}
