import type { Source } from '../../checkpoint/files/source';
import { Engine } from '../../engine';
import { channelCounts } from '../../engine/channels';
import { evaluateValues, inferShapes, outputsOf, type ReadModel, readOnnxModel } from '../../graph';
import type { FoldedRegion, FoldOptions } from '../../onnx';
import { seededUniform, uniformValues } from '../../tensor/random';
import { elementCount, Tensor } from '../../tensor/tensor';
import { differenceOf, peakOf } from './difference';

/** A value of both models, beside what the given model's operators make of it one by one. */
export interface OnnxValueCheck {
  readonly value: string;
  /** Of the model, or of nodes that were folded. */
  readonly of: 'output' | 'region';
  /** max |difference| over the peak: of the given model and of the folded one, each compiled by the engine. */
  readonly given: number;
  readonly folded: number;
  readonly equal: boolean;
}

export interface OnnxVerification {
  /** [N, C, H, W] of the seeded images. */
  readonly input: readonly number[];
  readonly bound: number;
  /** The outputs, then what every folded region makes. */
  readonly values: readonly OnnxValueCheck[];
  readonly equal: boolean;
}

/** Of the peak: what rounding makes of networks of a hundred layers stays a tenth below, a wrong weight is a thousand times larger. */
const BOUND = 2e-5;
const IMAGES = 2;
/** Height and width where the model leaves them open. */
const SIZE = 64;

/**
 * Runs both models in the engine on the same images, and the given one also operator by operator, which shares nothing with what folds and
 * compiles.
 *
 * @throws ERR_REPFUSE_GRAPH naming the node that repfuse does not run
 */
export async function verifyOnnx(
  given: Source,
  folded: string,
  regions: readonly FoldedRegion[],
  { threads, signal }: FoldOptions,
): Promise<OnnxVerification> {
  const [before, after] = [await readOnnxModel(given), await readOnnxModel(folded)];
  const [inGiven, inFolded] = [idsOf(before), idsOf(after)];
  const outputs = outputsOf(before.graph);
  // A region that was itself folded into another has no value of its own.
  const inside = regions
    .map(({ output }) => output)
    .filter((value) => inGiven(value) !== undefined && inFolded(value) !== undefined);
  const values = [...new Set([...outputs, ...inside])];
  const shape = imagesFor(before);
  const input = Tensor.f32(shape, uniformValues(seededUniform(1), elementCount(shape), -1, 1));
  const ids = values.map((value) => inGiven(value)!);
  const reference = await evaluateValues(before.graph, before.tensors, input, ids, { threads, signal });
  const run = async (model: ReadModel, kept: readonly string[]) => {
    const outputs = [...new Set(kept)];
    const graph = { ...model.graph, output: outputs[0]!, outputs };
    await using engine = await Engine.create({ graph, tensors: model.tensors }, { threads, signal });
    return engine.runAll(input, { signal });
  };
  const ofGiven = await run(before, ids);
  const ofFolded = await run(
    after,
    values.map((value) => inFolded(value)!),
  );
  const checks = values.map((value): OnnxValueCheck => {
    const expected = reference.get(inGiven(value)!)!;
    const error = (got: Tensor) => differenceOf(expected, got, peakOf(expected)).relative;
    const first = error(ofGiven.get(inGiven(value)!)!);
    const second = error(ofFolded.get(inFolded(value)!)!);
    const of = outputs.includes(value) ? 'output' : 'region';
    return { value, of, given: first, folded: second, equal: first <= BOUND && second <= BOUND };
  });
  return { input: shape, bound: BOUND, values: checks, equal: checks.every(({ equal }) => equal) };
}

/** The id in a graph of each of its model's values; undefined where it has none. */
function idsOf({ graph, aliases }: ReadModel): (value: string) => string | undefined {
  const ids = new Set(graph.nodes.map(({ id }) => id));
  return (value) => {
    const id = aliases.get(value) ?? value;
    return ids.has(id) ? id : undefined;
  };
}

/** Two images, or one where the model takes no more. */
function imagesFor({ graph, tensors }: ReadModel): readonly number[] {
  const image = graph.inputShape ?? [channelCounts(graph, tensors).get(graph.input)!, SIZE, SIZE];
  try {
    inferShapes(graph, [IMAGES, ...image], tensors);
    return [IMAGES, ...image];
  } catch {
    return [1, ...image]; // if that does not fit either, the run says why
  }
}
