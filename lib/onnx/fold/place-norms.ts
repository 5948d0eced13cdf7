import { create } from '@bufbuild/protobuf';
import { RepfuseError } from '../../errors';
import { Tensor } from '../../tensor/tensor';
import { affineStep } from '../affine';
import { type Analysis, analyse } from '../analysis';
import { floatAttribute, isOfOnnx } from '../attributes';
import { FixedConstants } from '../fixed-constants';
import { changed } from '../messages';
import type { OnnxModel } from '../model';
import { type Graph, type Node, NodeSchema } from '../schema/onnx_pb';
import { protoOf } from '../values';
import { FreshNames } from '../wiring';
import { type Norm, normOf, type Passed, passed } from './norm-passages';
import { normsBehindPools } from './norms-behind-pools';
import { isProduct, productOf } from './products';
import { askSizesBehindNorms } from './sizes-behind-norms';

/** A normalization of a value behind a product, or of what a node makes of such. */
type Place = { readonly value: string; readonly norm: Norm; readonly isLeft?: true } | Through;

interface Through {
  readonly value: string;
  readonly passed: Passed;
  readonly inputs: ReadonlyMap<number, Place>;
}

/** A graph in which one normalization after the other moves is analysed anew as often. */
const MAX_ROUNDS = 8;

/**
 * A model whose BatchNormalizations stand right behind products (Conv, ConvTranspose, Gemm, MatMul), where they can become part of them: before
 * the sums, concatenations, poolings, casts, slices, frames and resizings that stand between; or right before one, behind the pooling that stood between.
 * The given model where all do already. The values are the same but for the order of rounding.
 */
export async function placeNorms(given: OnnxModel, fixed: FixedConstants, signal?: AbortSignal): Promise<OnnxModel> {
  let model = askSizesBehindNorms(given);
  let constants = fixed;
  for (let round = 0; round < MAX_ROUNDS; round++) {
    if (!model.proto.graph.node.some(isNorm)) return model;
    if (model !== given) {
      constants = new FixedConstants(model.proto.graph, constants);
      await constants.prepare(signal);
    }
    const moved = new Placing(model, analyse(model, constants)).run();
    if (moved === model) break;
    model = moved;
  }
  return normsBehindPools(model);
}

function isNorm({ opType, domain }: Node): boolean {
  return opType === 'BatchNormalization' && isOfOnnx(domain);
}

/** Whether part of a normalization is left in the graph, in the type of its values. */
function leaves(place: Place): boolean {
  if (!('passed' in place)) return place.isLeft === true;
  return place.passed.rest !== undefined || [...place.inputs.values()].some(leaves);
}

/** undefined for statistics that are none: what folds tells of them. */
function attempt(make: () => Norm): Norm | undefined {
  try {
    return make();
  } catch (error) {
    if (error instanceof RepfuseError) return undefined;
    throw error;
  }
}

class Placing {
  private readonly graph: Graph;
  private readonly names: FreshNames;
  private readonly replaced = new Map<Node, readonly Node[]>();
  private readonly initializer: Graph['initializer'];

  constructor(
    private readonly model: OnnxModel,
    private readonly analysis: Analysis,
  ) {
    this.graph = model.proto.graph;
    this.names = new FreshNames(this.graph);
    this.initializer = [...this.graph.initializer];
  }

  run(): OnnxModel {
    for (const node of this.graph.node) if (isNorm(node)) this.move(node);
    if (this.replaced.size === 0) return this.model;
    const node = this.graph.node.flatMap((each) => this.replaced.get(each) ?? [each]);
    const { initializer } = this;
    return {
      ...this.model,
      proto: changed(this.model.proto, { graph: changed(this.graph, { node, initializer }) }),
    };
  }

  private move(node: Node): void {
    const { known, fixed } = this.analysis;
    const step = affineStep(node, known);
    const [stage] = step?.kind === 'stages' ? step.stages : [];
    if (step?.kind !== 'stages' || stage?.kind !== 'batch_norm') return;
    const scale = known.constants.get(node.input[1]!);
    if (scale === undefined || !known.takeVector(4 * scale.size)) return;
    const norm = attempt(() => normOf(stage));
    const place = norm && this.placeOf(step.input, norm, 0);
    if (place === undefined || !('passed' in place) || !this.isFree(place)) return;
    const isWritable = ['F32', 'F64'].includes(scale.dtype) || !leaves(place);
    if (!isWritable || !fixed.budget.spend(this.graph.node.length)) return;
    this.replaced.set(node, []);
    this.write(place, node, node.output[0]!, scale.dtype === 'F64' ? 'F64' : 'F32');
  }

  /** Whether no normalization of this round has moved through any of the nodes. */
  private isFree(place: Place): boolean {
    if (!('passed' in place)) return true;
    const producer = this.analysis.wiring.producer(place.value)!;
    const isFree = !this.replaced.has(place.passed.node) && !this.replaced.has(producer);
    return isFree && [...place.inputs.values()].every((each) => this.isFree(each));
  }

  /** Where a normalization of a value can stand, if anywhere. */
  private placeOf(value: string, norm: Norm, depth: number): Place | undefined {
    const { wiring } = this.analysis;
    const node = wiring.hasOneReader(value) ? wiring.producer(value) : undefined;
    if (node === undefined || !isOfOnnx(node.domain) || depth > MAX_DEPTH) return undefined;
    if (this.isBehindProduct(value, norm.scale.length)) return { value, norm };
    const channelsOf = (name: string) => this.channelsOf(name);
    const found = passed({ node, output: node.output.indexOf(value), norm, analysis: this.analysis, channelsOf });
    if (found === undefined) return undefined;
    const inputs = new Map<number, Place>();
    let left = 0;
    for (const [i, own] of found.inputs) {
      const input = found.node.input[i]!;
      const place = this.placeOf(input, own, depth + 1);
      // One part of a concatenation that takes none keeps its own.
      if (place === undefined && (node.opType !== 'Concat' || isProduct(wiring.producer(input)) || ++left > 1))
        return undefined;
      inputs.set(i, place ?? { value: input, norm: own, isLeft: true });
    }
    return left === inputs.size ? undefined : { value, passed: found, inputs };
  }

  /** Whether a value is that of a product, with what scales and shifts its channels. */
  private isBehindProduct(value: string, count: number): boolean {
    const { wiring, known, channels, constants } = this.analysis;
    for (let name = value; wiring.hasOneReader(name); ) {
      const node = wiring.producer(name);
      if (node === undefined) return false;
      const product = productOf(node, constants);
      if (product !== undefined) {
        const isOfRows = node.opType !== 'MatMul' || channels.shapeOf(name)?.length === 2;
        return typeof product !== 'string' && isOfRows && product.weight.shape[0] === count;
      }
      const step = affineStep(node, known);
      if (step?.kind !== 'stages' || step.stages.some(({ kind }) => kind === 'avg_pool2d')) return false;
      name = step.input;
    }
    return false;
  }

  private channelsOf(value: string): number | undefined {
    const { wiring, channels, constants } = this.analysis;
    const producer = wiring.producer(value);
    const product = producer && productOf(producer, constants);
    if (typeof product === 'object' && producer?.opType !== 'MatMul') return product.weight.shape[0];
    return channels.channelsOf(value) ?? channels.shapeOf(value)?.[1];
  }

  /** Makes the normalized value under another name, before what reads it. */
  private write(place: Place, reader: Node, output: string, type: 'F32' | 'F64'): void {
    if (!('passed' in place)) {
      this.insert([this.normNode(place.value, place.norm, output, place.isLeft ? type : 'F64')], reader);
      return;
    }
    const { value, passed: found, inputs } = place;
    const producer = this.analysis.wiring.producer(value)!;
    if (found.isPart) {
      this.replaced.set(producer, []);
      const [[, inner]] = [...inputs] as [[number, Place]];
      this.write(inner, reader, output, type);
      return;
    }
    const input = [...found.node.input];
    const inner: [Place, string][] = [];
    for (const [i, own] of inputs) {
      input[i] = this.names.take(`${own.value}_normalized`);
      inner.push([own, input[i]!]);
    }
    const { rest } = found;
    const made = rest === undefined ? output : this.names.take(`${value}_scaled`);
    const named = (node: Node) => changed(node, { output: node.output.map((name) => (name === value ? made : name)) });
    const normalized = changed(found.node, { input });
    this.replaced.set(found.node, [found.node === producer ? named(normalized) : normalized]);
    if (found.node !== producer) this.replaced.set(producer, [named(producer)]);
    if (rest !== undefined) {
      const shift = this.constant(`${output}.shift`, [rest.length, 1, 1], rest, type);
      const name = this.names.take(`${output}_shifted`);
      const add = create(NodeSchema, { opType: 'Add', name, input: [made, shift], output: [output] });
      this.replaced.set(producer, [...this.replaced.get(producer)!, add]);
    }
    for (const [own, name] of inner) this.write(own, found.node, name, type);
  }

  private insert(nodes: readonly Node[], reader: Node): void {
    this.replaced.set(reader, [...nodes, ...(this.replaced.get(reader) ?? [reader])]);
  }

  private normNode(value: string, { scale, shift }: Norm, output: string, type: 'F32' | 'F64'): Node {
    const count = scale.length;
    const parts = [scale, shift, new Float64Array(count), new Float64Array(count).fill(1)];
    const name = this.names.take(output);
    const parameters = parts.map((values) => this.constant(`${output}.parameter`, [count], values, type));
    const attribute = [floatAttribute('epsilon', 0)];
    return create(NodeSchema, {
      opType: 'BatchNormalization',
      name,
      input: [value, ...parameters],
      output: [output],
      attribute,
    });
  }

  private constant(name: string, shape: readonly number[], values: Float64Array, type: 'F32' | 'F64'): string {
    const tensor = type === 'F64' ? new Tensor('F64', shape, values) : Tensor.f32(shape, Float32Array.from(values));
    const proto = protoOf(this.names.take(name), tensor);
    this.initializer.push(proto);
    return proto.name;
  }
}

/** Nodes between a product and its normalization. */
const MAX_DEPTH = 64;
