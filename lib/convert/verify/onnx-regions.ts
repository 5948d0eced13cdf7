import { create, equals } from '@bufbuild/protobuf';
import { Engine } from '../../engine';
import { RepfuseError } from '../../errors';
import { evaluateValues } from '../../graph';
import { fromOnnx } from '../../graph/from-onnx/from-onnx';
import { throwIfAborted } from '../../native/call';
import { FixedConstants, type FoldOptions, type OnnxModel } from '../../onnx';
import { type Analysis, analyse } from '../../onnx/analysis';
import { describeNode, intOf, intsOf } from '../../onnx/attributes';
import type { Constants } from '../../onnx/constants';
import { arrange } from '../../onnx/fold/arrange';
import { placeNorms } from '../../onnx/fold/place-norms';
import { changed } from '../../onnx/messages';
import { GraphSchema, type Node, NodeSchema, TensorSchema, ValueInfoSchema } from '../../onnx/schema/onnx_pb';
import { inferredShapes, numbersOnly } from '../../onnx/value-shapes';
import { valuesRead } from '../../onnx/wiring';
import type { DType } from '../../tensor/dtype';
import { seededUniform } from '../../tensor/random';
import { Tensor } from '../../tensor/tensor';
import { depthOf, magnitudesOf, type Network } from './magnitudes';
import type { OnnxValueCheck } from './report';
import { roundingOf } from './rounding';

/** Error of one operator that rounds, relative to the sum of magnitudes of its terms (docs/precision.md). */
const ROUNDING = 2.5e-7;
/** Input channels of a group that one image lights at least: with few at a time one wrong weight is not drowned by the others. */
const LIT_CHANNELS = 8;
/** And into how many images they are spread at most. */
const MAX_IMAGES = 64;
/** A bias may outweigh the weights this much before it hides them. */
const MAX_AMPLITUDE = 2 ** 24;

/** What differs between two models: regions, compared one by one, and nodes that no region explains. */
export interface RegionChecks {
  readonly checks: readonly OnnxValueCheck[];
  readonly unexplained: readonly string[];
}

/**
 * Every convolution or matrix of the second model that the first does not have, beside the operators of the first that make the same value of
 * the same source: run alone, on seeded images of which the first is zero and shows the bias, each other one lights some channels. Errors are
 * relative to the sum of magnitudes of the terms of each result, so that cancellation is no error and a wrong weight is one.
 *
 * @throws the signal's reason; as `readOnnx` does for malformed tensors
 */
export async function compareRegions(
  given: OnnxModel,
  folded: OnnxModel,
  { threads, signal }: FoldOptions,
): Promise<RegionChecks> {
  const fixed = new FixedConstants(given.proto.graph);
  await fixed.prepare(signal);
  const placed = await placeNorms(given, fixed, signal);
  const arranged = arrange(placed, placed === given ? fixed : new FixedConstants(placed.proto.graph, fixed));
  const first = new Part(arranged.model, arranged.analysis);
  const second = new Part(folded, analyse(folded));
  const checks: OnnxValueCheck[] = [];
  const unexplained: string[] = [];
  for (const node of folded.proto.graph.node) {
    if (first.has(node, second)) continue;
    const value = node.output[0] ?? '';
    const source = node.input[0] ?? '';
    const nodes = OPERATORS.includes(node.opType) ? first.nodesBetween(source, value) : undefined;
    if (nodes === undefined) {
      unexplained.push(describeNode(node));
      continue;
    }
    checks.push(await compareRegion(first, second, nodes, node, { threads, signal }));
  }
  return { checks, unexplained };
}

const isHalf = (type: DType) => type === 'F16' || type === 'BF16';

const OPERATORS = ['Conv', 'ConvTranspose', 'Gemm'];

async function compareRegion(
  first: Part,
  second: Part,
  nodes: readonly Node[],
  node: Node,
  run: FoldOptions,
): Promise<OnnxValueCheck> {
  const value = node.output[0]!;
  try {
    const probe = probeFor(first, second, nodes, node);
    const given = first.read(nodes, probe, node);
    const folded = second.read([node], probe, node);
    const type = second.typeOfConstant(node.input[1]!);
    // Those of the given form, the folded one, and its weights, which a half type rounds coarsely.
    const bound = ROUNDING * (2 + depthOf(given.graph)) + (isHalf(type) ? roundingOf(type) : 0);
    const errors = await compareOn(await imagesFor(given, probe, run), given, folded, run);
    return { value, of: 'region', ...errors, bound, equal: errors.folded <= bound };
  } catch (error) {
    throwIfAborted(run.signal);
    if (!(error instanceof RepfuseError)) throw error;
    const unknown = Number.POSITIVE_INFINITY;
    return { value, of: 'region', given: unknown, folded: unknown, bound: 0, equal: false, problem: error.message };
  }
}

/** Images for a region: of which shape, how its channels are grouped, and whether that shape is the only one. */
interface Probe {
  readonly shape: readonly [number, number, number, number];
  readonly inPerGroup: number;
  readonly isFixed: boolean;
  /** The source is a matrix. */
  readonly isFlat: boolean;
}

/** Operators that mean the same for images of any size. */
const SIZELESS = new Set([
  'Add',
  'AveragePool',
  'BatchNormalization',
  'Concat',
  'Constant',
  'Conv',
  'ConvTranspose',
  'Div',
  'Dropout',
  'Gemm',
  'Identity',
  'MatMul',
  'Mul',
  'Neg',
  'Pad',
  'Sub',
  'Sum',
]);

function probeFor(first: Part, second: Part, nodes: readonly Node[], node: Node): Probe {
  const [source, weightName] = node.input as [string, string];
  const weight = second.shapeOfConstant(weightName);
  if (weight === undefined) throw unusable(`the weight of ${describeNode(node)} is no constant`);
  const known = first.exampleShape(source);
  if (node.opType === 'Gemm') {
    const features = weight[intOf(node, 'transB', 0) === 0 ? 0 : 1]!;
    return { shape: [imagesOf(features), features, 1, 1], inPerGroup: features, isFixed: false, isFlat: true };
  }
  const groups = intOf(node, 'group', 1);
  const channels = node.opType === 'Conv' ? weight[1]! * groups : weight[0]!;
  const inPerGroup = channels / groups;
  if (!nodes.every(({ opType }) => SIZELESS.has(opType))) {
    if (known?.length !== 4) throw unusable(`the size of ${source}, on which its operators depend, is not known`);
    return { shape: known as unknown as Probe['shape'], inPerGroup, isFixed: true, isFlat: false };
  }
  const [height, width] = [0, 1].map((axis) => {
    const stride = node.opType === 'Conv' ? (intsOf(node, 'strides')?.[axis] ?? 1) : 1;
    const wanted = ((weight[axis + 2] ?? 1) - 1) * (intsOf(node, 'dilations')?.[axis] ?? 1) + 1 + 2 * stride + 2;
    const own = known?.[axis + 2];
    // What SAME pads depends on the size, but only modulo the stride.
    return own === undefined ? wanted : own - stride * Math.max(0, Math.floor((own - wanted) / stride));
  }) as [number, number];
  return { shape: [imagesOf(inPerGroup), channels, height, width], inPerGroup, isFixed: false, isFlat: false };
}

function imagesOf(inPerGroup: number): number {
  return 1 + Math.min(MAX_IMAGES, Math.ceil(inPerGroup / LIT_CHANNELS));
}

/** Seeded images, strong enough for the weights to outweigh the bias. */
async function imagesFor(given: Network, { shape, inPerGroup, isFixed }: Probe, run: FoldOptions): Promise<Tensor[]> {
  const uniform = seededUniform(1);
  const [count, channels, height, width] = shape;
  const plane = height * width;
  const make = (isLit: (image: number, channel: number) => boolean) => {
    const images = Tensor.f32(shape);
    const values = images.data as Float32Array;
    for (let i = 0; i < values.length; i++) {
      const channel = Math.floor(i / plane) % channels;
      if (isLit(Math.floor(i / plane / channels), channel % inPerGroup)) values[i] = 2 * uniform() - 1;
    }
    return images;
  };
  const lit = Math.max(1, Math.ceil(inPerGroup / Math.max(1, count - 1)));
  const all = isFixed
    ? [make(() => false), make(() => true)]
    : [make((image, channel) => image === 1 + Math.floor(channel / lit))];
  const peaks = { offset: 0, total: 0 };
  for (const [i, images] of all.entries()) {
    const terms = (await magnitudesOf(given, images, run)).data as Float32Array;
    const zeros = isFixed ? (i === 0 ? terms.length : 0) : terms.length / count;
    for (let at = 0; at < terms.length; at++) {
      const kind = at < zeros ? 'offset' : 'total';
      peaks[kind] = Math.max(peaks[kind], terms[at]!);
    }
  }
  const ratio = peaks.offset / Math.max(peaks.total - peaks.offset, peaks.total * 2 ** -20);
  const amplitude = ratio > 1 ? Math.min(2 ** Math.ceil(Math.log2(ratio)), MAX_AMPLITUDE) : 1;
  return all.map((images) =>
    Tensor.f32(
      shape,
      (images.data as Float32Array).map((value) => value * amplitude),
    ),
  );
}

async function compareOn(
  inputs: readonly Tensor[],
  given: Network,
  folded: Network,
  { threads, signal }: FoldOptions,
): Promise<Pick<OnnxValueCheck, 'given' | 'folded'>> {
  const worst = { given: 0, folded: 0 };
  await using compiled = await Engine.create(given, { threads, signal, algorithm: 'direct' });
  await using fused = await Engine.create(folded, { threads, signal, algorithm: 'direct' });
  for (const input of inputs) {
    const { output } = given.graph;
    const expected = (await evaluateValues(given.graph, given.tensors, input, [output], { threads, signal })).get(
      output,
    )!;
    const terms = await magnitudesOf(given, input, { threads, signal });
    for (const [kind, engine] of Object.entries({ given: compiled, folded: fused }) as ['given' | 'folded', Engine][]) {
      const got = await engine.run(input, { signal });
      worst[kind] = Math.max(worst[kind], worstOf(expected, got, terms));
    }
  }
  return worst;
}

/** The largest difference, each relative to the sum of magnitudes of its terms; of another shape, or NaN, it is infinite. */
function worstOf(expected: Tensor, got: Tensor, terms: Tensor): number {
  if (expected.shape.join() !== got.shape.join()) return Number.POSITIVE_INFINITY;
  const [want, have, sums] = [expected, got, terms].map(({ data }) => data as Float32Array) as [
    Float32Array,
    Float32Array,
    Float32Array,
  ];
  let worst = 0;
  for (let i = 0; i < want.length; i++) {
    const difference = Math.abs(want[i]! - have[i]!);
    if (difference === 0) continue;
    const relative = difference / sums[i]!;
    if (!(relative <= worst)) worst = Number.isNaN(relative) ? Number.POSITIVE_INFINITY : relative;
  }
  return worst;
}

/** Batch, channels, height and width; nothing can stand for channels. */
const EXAMPLE = [2, undefined, 224, 256];

/** A model of which parts are taken. */
class Part {
  private readonly initializers;
  private example: Constants | undefined;

  constructor(
    private readonly model: OnnxModel,
    readonly analysis: Analysis,
  ) {
    this.initializers = new Map(model.proto.graph.initializer.map((tensor) => [tensor.name, tensor]));
  }

  /** Whether the model has a node of another one, and all that this reads of constants. */
  has(node: Node, other: Part): boolean {
    const own = this.analysis.wiring.producer(node.output[0] ?? '');
    if (own === undefined || !equals(NodeSchema, own, node)) return false;
    return [...valuesRead(node)].every((name) => {
      const [mine, theirs] = [this.initializers.get(name), other.initializers.get(name)];
      return mine === theirs || (mine !== undefined && theirs !== undefined && equals(TensorSchema, mine, theirs));
    });
  }

  typeOfConstant(name: string): DType {
    return this.analysis.constants.get(name)?.dtype ?? 'F32';
  }

  shapeOfConstant(name: string): readonly number[] | undefined {
    return this.analysis.constants.get(name)?.shape;
  }

  /** The shape of a value for two images of the verifier's choice, where the model leaves sizes open; undefined where nothing tells it. */
  exampleShape(value: string): readonly number[] | undefined {
    const { wiring, fixed } = this.analysis;
    this.example ??= inferredShapes(this.model.proto.graph, wiring, fixed, (axis) => EXAMPLE[axis]);
    return numbersOnly(this.example.shapes.get(value));
  }

  /** The nodes that make a value of another and of constants; undefined where they need more, or do not make it. */
  nodesBetween(source: string, value: string): readonly Node[] | undefined {
    const { wiring } = this.analysis;
    const needed = new Set<Node>();
    for (const open = [value]; open.length > 0; ) {
      const name = open.pop()!;
      const node = wiring.producer(name);
      if (name === source || this.initializers.has(name)) continue;
      if (node === undefined) return undefined;
      if (needed.has(node)) continue;
      needed.add(node);
      open.push(...valuesRead(node));
    }
    return this.model.proto.graph.node.filter((node) => needed.has(node));
  }

  /** Some of its nodes as a network of their own, from the source of a folded node to its value. */
  read(nodes: readonly Node[], { shape, isFixed, isFlat }: Probe, { input, output }: Node): Network {
    const [source, value] = [input[0]!, output[0]!];
    const image = isFlat ? `${source} as images` : source;
    const flatten = create(NodeSchema, { opType: 'Flatten', name: image, input: [image], output: [source] });
    const read = new Set(nodes.flatMap((node) => [...valuesRead(node)]));
    const graph = create(GraphSchema, {
      name: value,
      node: isFlat ? [flatten, ...nodes] : [...nodes],
      initializer: this.model.proto.graph.initializer.filter(({ name }) => read.has(name)),
      input: [valueInfo(image, isFixed ? shape : [null, ...shape.slice(1)])],
      output: [valueInfo(value, undefined)],
    });
    const proto = changed(this.model.proto, { graph }) as OnnxModel['proto'];
    return fromOnnx({ ...this.model, proto });
  }
}

function valueInfo(name: string, shape: readonly (number | null)[] | undefined) {
  const dim = shape?.map((size) =>
    size === null ? {} : { value: { case: 'dimValue' as const, value: BigInt(size) } },
  );
  return create(ValueInfoSchema, {
    name,
    type: { tensorType: { elemType: 1, ...(dim === undefined ? {} : { shape: { dim } }) } },
  });
}

function unusable(problem: string): RepfuseError {
  return new RepfuseError('ERR_REPFUSE_GRAPH', problem);
}
