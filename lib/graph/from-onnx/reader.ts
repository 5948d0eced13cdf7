import { RepfuseError } from '../../errors';
import type { OnnxModel } from '../../onnx';
import { describeNode, intOf, intsOf, isOfOnnx } from '../../onnx/attributes';
import type { FixedConstants } from '../../onnx/fixed-constants';
import { type Border, bordersOf } from '../../onnx/fold/borders';
import { liveNodes } from '../../onnx/fold/dead-code';
import { changed } from '../../onnx/messages';
import type { Node, TensorShape_Dimension, ValueInfo } from '../../onnx/schema/onnx_pb';
import { ShapeProbe, type Sizes } from '../../onnx/shape-probe';
import { valueTypes } from '../../onnx/value-types';
import { dtypeOf, numbersOf } from '../../onnx/values';
import { flatAxis, windowAxes } from '../../onnx/windows';
import { Wiring } from '../../onnx/wiring';
import { type ComputedDType, DTYPES } from '../../tensor/dtype';
import { toFloat32 } from '../../tensor/half';
import { elementCount, formatShape, Tensor } from '../../tensor/tensor';
import { type Graph, type GraphInput, type GraphNode, nodesFor } from '../graph';
import { operatorOf } from '../operators';
import { OPEN_SIZE } from '../operators/fields';
import { nodeShape } from '../shapes';
import { expectOperators } from './missing-operators';

/** Reads one operator of ONNX into a graph. */
export type Take = (reader: Reader, node: Node) => void;

/** What an ONNX model is as a graph. */
export interface ReadModel {
  readonly graph: Graph;
  readonly tensors: ReadonlyMap<string, Tensor>;
  /** Ids of those values of the model that the graph has under another name. */
  readonly aliases: ReadonlyMap<string, string>;
}

/** An ONNX model on its way to a graph. */
export class Reader {
  private readonly nodes: GraphNode[] = [];
  private readonly tensors = new Map<string, Tensor>();
  private readonly wiring: Wiring;
  private readonly probe: ShapeProbe;
  /** Of every value that the graph has so far, in both probe. */
  private readonly shapes: readonly [Map<string, Sizes>, Map<string, Sizes>] = [new Map(), new Map()];
  private readonly types: ReadonlyMap<string, ComputedDType>;
  readonly inputs: readonly GraphInput[];
  /** Whether the one input is a float32 image batch, of channels that the graph's own tensors tell. */
  private readonly isPlain: boolean;
  /** Whether only arithmetic leads to the convolution that tells the channels of an input: then the graph has to say them. */
  private saysChannels = false;
  private readonly counted = new Set<Tensor['data']>();
  /** Values that are other ones under another name. */
  private readonly same = new Map<string, string>();

  constructor(
    private readonly model: OnnxModel,
    private readonly operators: ReadonlyMap<string, Take>,
    private readonly fixed: FixedConstants,
    private readonly multiple = 1,
  ) {
    const { graph } = model.proto;
    this.wiring = new Wiring(graph);
    this.types = valueTypes(graph);
    const initializers = new Set(graph.initializer.map(({ name }) => name));
    const inputs = graph.input.filter(({ name }) => !initializers.has(name));
    if (inputs.length === 0) throw unusable('Expected an ONNX model of an input to run but it has none');
    this.inputs = inputs.map((input) => this.given(input));
    const [{ type, shape }] = this.inputs as [GraphInput];
    const isImages = this.inputs.length === 1 && type === 'F32' && shape.length === 4;
    this.isPlain = isImages && typeof shape[1] === 'number' && !this.saysChannels;
    this.probe = new ShapeProbe(graph, this.wiring, this.shapes, fixed);
    const open = probesOf(this.inputs, multiple);
    this.shapes.forEach((shapes, sample) => {
      const size = (each: number | string) => (typeof each === 'number' ? each : open.get(each)![sample]!);
      for (const { id, shape } of this.inputs) shapes.set(id, shape.map(size));
    });
  }

  /** An input as a graph says it: images where the model tells no shape. @throws ERR_REPFUSE_GRAPH */
  private given({ name: id, type: given }: ValueInfo): GraphInput {
    const elements = given?.tensorType?.elemType ?? 0;
    const type = elements === 0 ? 'F32' : dtypeOf(elements);
    if (type === undefined) throw unusable(`Expected numbers for the input ${id} but its ONNX type is ${elements}`);
    const dims = given?.tensorType?.shape?.dim ?? [];
    const isImage = given?.tensorType?.shape === undefined;
    const names = isImage ? ['N', 'C', 'H', 'W'] : dims.map(({ value }, axis) => openName(id, axis, value));
    const shape = names.map((name, axis) => {
      const value = dims[axis]?.value;
      return value?.case === 'dimValue' && value.value > 0n ? Number(value.value) : name;
    });
    const channels = shape.length === 4 && typeof shape[1] === 'string' ? this.channelsRead(id) : undefined;
    return { id, shape: channels === undefined ? shape : [shape[0]!, channels, ...shape.slice(2)], type };
  }

  read(): ReadModel {
    this.takeNodes();
    const outputs = this.model.proto.graph.output.map(({ name }) => this.result(name));
    const [{ id: input, shape }] = this.inputs as [GraphInput];
    const image = shape.slice(1);
    const fixed = this.isPlain && image.every((size) => typeof size === 'number');
    const types = outputs.map((id) => [id, this.typeOf(id) ?? 'F32'] as const).filter(([, type]) => type !== 'F32');
    const graph: Graph = {
      input,
      ...(this.isPlain ? {} : { inputs: this.inputs }),
      ...(this.multiple === 1 ? {} : { multiples: this.multiples() }),
      output: outputs[0]!,
      ...(types.length > 0 ? { outputTypes: Object.fromEntries(types) } : {}),
      ...(outputs.length > 1 ? { outputs } : {}),
      nodes: nodesFor(this.nodes, outputs), // those of an activation that was written by its parts lead nowhere
      ...(fixed ? { inputShape: image as unknown as [number, number, number] } : {}),
    };
    return { graph, tensors: this.tensors, aliases: this.same };
  }

  private multiples(): Readonly<Record<string, number>> {
    const names = this.isPlain ? ['H', 'W'] : openPixels(this.inputs);
    return Object.fromEntries(names.map((name) => [name, this.multiple]));
  }

  /** The nodes from which a path leads to an output; those of a border as one, its indices then lead nowhere. */
  private takeNodes(): void {
    const { graph } = this.model.proto;
    const borders = bordersOf(this.model, this.wiring, this.fixed);
    const inner = new Set([...borders.values()].flatMap(({ nodes }) => nodes.slice(0, -1)));
    const outer = graph.node.filter((node) => !inner.has(node));
    const asOne = outer.map((node) => {
      const border = borders.get(node);
      return border === undefined ? node : changed(node, { input: [border.input] });
    });
    const framed = new Map([...borders.values()].map((border) => [border.output, border]));
    const live = liveNodes(asOne, graph);
    expectOperators(
      live,
      this.inputs.map(({ id }) => id),
      (node) => (framed.has(node.output[0]!) ? undefined : this.missing(node)),
    );
    for (const node of live) {
      const border = framed.get(node.output[0]!);
      if (border !== undefined) this.takeBorder(border);
      else if (!this.isAside(node)) this.take(node);
    }
  }

  /** The graph that is read. */
  get graph(): OnnxModel['proto']['graph'] {
    return this.model.proto.graph;
  }

  get opset(): number {
    return this.model.opset;
  }

  /** Constants, and arithmetic on shapes, whose readers look them up. */
  private isAside({ opType, output }: Node): boolean {
    return opType === 'Constant' || output.every((value) => value === '' || this.probe.isKnown(value));
  }

  private takeBorder({ input, output, padding, fill }: Border): void {
    const [top, left, bottom, right] = padding;
    const key = this.set(`${output}.fill`, Tensor.f32([fill.length], fill));
    const sides = { before: [0, 0, top, left], after: [0, 0, bottom, right] };
    this.push({ id: output, op: 'pad', inputs: [input], ...sides, mode: 'constant', value: 0, fill: key });
  }

  /** What reads a node; undefined for an operator that a graph has not. */
  private takeFor({ domain, opType }: Node): Take | undefined {
    return isOfOnnx(domain) ? this.operators.get(opType) : undefined;
  }

  /** What a graph has not of a node, by name; undefined where its operator is there. */
  private missing(node: Node): string | undefined {
    const { domain, opType, output } = node;
    if (this.takeFor(node) === undefined) return isOfOnnx(domain) ? opType : `${domain}.${opType}`;
    const axes = windowAxes(node, (value) => this.fixed.shapeOf(value)?.length) ?? 0;
    const isFlat = axes === 3 && flatAxis(node, this.fixed.shapeOf(node.input[1] ?? '') ?? []) !== undefined;
    if (axes > 2 && !isFlat) return `${opType} of ${axes} dimensions`;
    return opType === 'MaxPool' && this.isRead(output[1] ?? '') ? 'MaxPool with indices' : undefined;
  }

  private take(node: Node): void {
    const take = this.takeFor(node);
    if (take === undefined) throw refused(node, 'its operator is none that repfuse runs');
    try {
      take(this, node);
    } catch (error) {
      throw this.naming(node, error);
    }
  }

  /** An error of a graph's node, with the ONNX node that it was read from. */
  private naming(node: Node, error: unknown): unknown {
    if (!(error instanceof RepfuseError) || 'operator' in error.details) return error;
    const problem = error.message.replace(/^Node .*? \(\w+\): /, '');
    return refused(node, problem);
  }

  /** Channels of the input as the first convolution that reads it has them: itself, or what arithmetic makes of it. */
  private channelsRead(input: string): number | undefined {
    const { graph } = this.model.proto;
    const same = new Set([input]);
    for (const node of graph.node) {
      if (!node.input.some((value) => same.has(value))) continue;
      if (KEEP_CHANNELS.has(node.opType) && node.output[0]) same.add(node.output[0]);
      if (node.opType !== 'Conv' || !same.has(node.input[0]!)) continue;
      const dims = graph.initializer.find(({ name }) => name === node.input[1])?.dims;
      if (dims?.length !== 4) continue;
      this.saysChannels ||= node.input[0] !== input;
      return Number(dims[1]) * intOf(node, 'group', 1);
    }
    return undefined;
  }

  /** The id of an output, which is named as the model names it. */
  private result(name: string): string {
    const id = this.value(name);
    if (id === name && this.nodes.some((node) => node.id === id)) return name;
    const constant = this.probe.get(name);
    if (constant !== undefined) {
      this.nodes.push({ id: name, op: 'constant', inputs: [], tensor: this.set(name, constant) });
      return name;
    }
    if (!this.shapes[0].has(id))
      throw unusable(`Expected an ONNX model that computes its output ${name} from its inputs`);
    const shape = this.sizes(id)[0].map(() => 0);
    this.push({ id: name, op: 'reshape', inputs: [id], shape }); // a copy
    return name;
  }

  /** The value behind a name. */
  value(name: string): string {
    return this.same.get(name) ?? name;
  }

  /** The result of `node` is a value that is there already. */
  alias(node: Node, value = node.input[0]!): void {
    this.expectKnown(node, value);
    if (!node.output[0]) throw refused(node, 'its result has no name');
    this.same.set(node.output[0]!, this.value(value));
    for (const shapes of this.shapes) shapes.set(node.output[0]!, shapes.get(this.value(value))!); // a Shape may ask
  }

  /** Shapes of a value in both probe. */
  sizes(value: string): readonly [Sizes, Sizes] {
    if (!this.shapes[0].has(this.value(value))) this.addConstant(value);
    const [first, second] = this.shapes.map((shapes) => shapes.get(this.value(value)));
    if (first === undefined || second === undefined)
      throw unusable(`nothing that is run makes its input ${JSON.stringify(value)}`);
    return [first, second];
  }

  rank(value: string): number {
    return this.sizes(value)[0].length;
  }

  /** An axis of a value, counted from the start. */
  axis(value: string, axis: number): number {
    const rank = this.rank(value);
    if (axis < -rank || axis >= rank)
      throw unusable(`its input ${formatShape(this.sizes(value)[0])} has no axis ${axis}`);
    return axis < 0 ? axis + rank : axis;
  }

  /** The type that ONNX gives a value: in a graph all are float32, and what a type does otherwise (whole quotients) are nodes. */
  typeOf(value: string): ComputedDType | undefined {
    return this.types.get(value);
  }

  constant(value: string): Tensor | undefined {
    return value === '' ? undefined : this.probe.get(value);
  }

  /** A constant that is computed with, which float32 must hold: integers to 2^24. */
  operand(value: string): Tensor | undefined {
    const constant = this.constant(value);
    if (constant === undefined || DTYPES[constant.dtype].floating) return constant;
    const data = constant.data as ArrayLike<number | bigint>;
    for (let i = 0; i < data.length; i++) {
      if (Math.abs(Number(data[i])) > MAX_WHOLE)
        throw unusable(
          `its input ${JSON.stringify(value)} holds ${data[i]}, and integers beyond 2^24 are not computed with`,
        );
    }
    return constant;
  }

  /** Numbers known before the network runs: of an input, else of an attribute. */
  integers(node: Node, index: number, attribute: string): readonly number[] | undefined {
    const name = node.input[index] ?? '';
    if (name === '') return intsOf(node, attribute);
    return read(node, this.numbers(name) ?? `its input ${JSON.stringify(name)} is no constant, or too long a list`);
  }

  /** Of a constant; undefined of another value, and of a list longer than any of places, axes or sizes. */
  numbers(value: string): readonly number[] | undefined {
    const constant = this.constant(value);
    return constant === undefined || constant.size > MAX_NUMBERS ? undefined : numbersOf(constant);
  }

  /** Numbers that may depend on the input's shape, in both probe. */
  shapeNumbers(node: Node, index: number): readonly [readonly number[], readonly number[]] {
    const numbers = this.probe.numbers(node.input[index]!);
    if (numbers === undefined)
      throw refused(
        node,
        `its input ${JSON.stringify(node.input[index])} is neither a constant nor computed from shapes`,
      );
    return numbers;
  }

  /** Whether a value is computed from shapes alone. */
  isShapeNumber(value: string): boolean {
    return this.probe.isKnown(value);
  }

  /** The one number of an optional input. */
  scalar(node: Node, index: number): number | undefined {
    if ((node.input[index] ?? '') === '') return undefined;
    const constant = this.constant(node.input[index]!);
    if (constant?.size !== 1)
      throw refused(node, `its input ${JSON.stringify(node.input[index])} is no constant number`);
    return numbersOf(constant)[0];
  }

  /** Adds a node whose inputs are named as the model names them. */
  push(node: GraphNode): void {
    for (const input of node.inputs) this.sizes(input);
    this.add({ ...node, inputs: node.inputs.map((input) => this.value(input)) } as GraphNode);
  }

  /** A constant that is asked for as a value of the network becomes one. */
  private addConstant(value: string): void {
    const constant = this.operand(value);
    if (constant !== undefined) this.add({ id: value, op: 'constant', inputs: [], tensor: this.set(value, constant) });
  }

  private add(node: GraphNode): void {
    if (!node.id) throw unusable('its result has no name');
    for (const input of node.inputs) this.sizes(input);
    const dataAxis = operatorOf(node).dataAxis?.(node);
    for (const [sample, shapes] of this.shapes.entries()) {
      const shape = nodeShape(node, shapes, this.tensors);
      // A size that the data tell is another one in each sample, so that nothing is computed from it as the model is read.
      shapes.set(
        node.id,
        dataAxis === undefined ? shape : shape.map((size, i) => size + (i === dataAxis ? sample : 0)),
      );
    }
    this.nodes.push(node);
  }

  private expectKnown(node: Node, value: string): void {
    if (this.shapes[0].has(this.value(value))) return;
    throw refused(node, `nothing that is run makes its input ${JSON.stringify(value)}`);
  }

  /** The key of a constant input, which becomes a weight. */
  weight(node: Node, index: number, key = node.input[index]!): string {
    const tensor = this.operand(node.input[index] ?? '');
    if (tensor === undefined) throw refused(node, `its input ${JSON.stringify(node.input[index])} is no constant`);
    return this.set(key, tensor);
  }

  optional(node: Node, index: number): string | null {
    return (node.input[index] ?? '') === '' ? null : this.weight(node, index);
  }

  tensor(key: string): Tensor {
    return this.tensors.get(key)!;
  }

  /** A tensor of the graph, under a key. Whole numbers become floating-point ones. */
  set(key: string, tensor: Tensor): string {
    this.count(tensor);
    const isFloat = DTYPES[tensor.dtype].floating;
    this.tensors.set(key, isFloat ? tensor : Tensor.f32(tensor.shape, Float32Array.from(tensor.data, Number)));
    return key;
  }

  /** What tensors take besides the model's own, of which small files may make many. */
  private count({ data, size }: Tensor): void {
    if (this.counted.has(data)) return;
    this.counted.add(data);
    this.takeBudget(size);
  }

  /** For so many elements that are made. @throws ERR_REPFUSE_GRAPH */
  takeBudget(elements: number): void {
    if (!this.fixed.budget.spend(elements))
      throw unusable('its constants are beyond the budget of a model of this size');
  }

  /** A weight's elements. */
  float32(key: string): Float32Array {
    return toFloat32(this.tensor(key));
  }

  producer(value: string): Node | undefined {
    return this.wiring.producer(value);
  }

  /** Whether a node reads a value, or it is an output of the model. */
  isRead(value: string): boolean {
    return value !== '' && (this.wiring.readersOf(value) > 0 || this.wiring.outputs.has(value));
  }

  /** All values so far. */
  known(): Iterable<string> {
    return this.shapes[0].keys();
  }

  /** The values of whose shapes another is computed, as far as they are known. */
  shapesBehind(value: string): readonly string[] {
    const found = new Set<string>();
    const seen = new Set<string>();
    for (const open = [value]; open.length > 0; ) {
      const producer = this.wiring.producer(open.pop()!);
      for (const input of producer?.input ?? []) {
        if (producer!.opType === 'Shape' && this.shapes[0].has(this.value(input))) found.add(input);
        else if (!seen.has(input)) open.push(input);
        seen.add(input);
      }
    }
    return [...found];
  }

  /** Whether a constant leaves the shape of what it meets as it is. */
  keepsShape(value: string, constant: Tensor): boolean {
    const [sizes] = this.sizes(value);
    const { shape } = constant;
    return (
      shape.length <= sizes.length &&
      shape.every((size, axis) => size === 1 || size === sizes[sizes.length - shape.length + axis]) &&
      elementCount(shape) > 0
    );
  }
}

/** What leaves the channels of images as they are, where a convolution reads what it makes. */
const KEEP_CHANNELS = new Set(['Add', 'Cast', 'Clip', 'Div', 'Identity', 'Mul', 'Sub']);
/** Entries of a list of places, axes or sizes. */
const MAX_NUMBERS = 4096;
/** Up to which float32 holds all integers. */
const MAX_WHOLE = 2 ** 24;

/** The name of an open size: the model's, where it is one that a graph's sizes can speak of. */
function openName(input: string, axis: number, value: TensorShape_Dimension['value']): string {
  const name = value.case === 'dimParam' ? value.value : '';
  return OPEN_SIZE.accepts(name)
    ? name
    : `${input.replace(/[^A-Za-z0-9_]/g, '_').slice(0, 100)}_${axis}`.replace(/^\d/, '_');
}

/** Sizes that stand for the open ones in two samples: odd ones too, so that what rounds shows itself. */
function probesOf(inputs: readonly GraphInput[], multiple: number): ReadonlyMap<string, readonly [number, number]> {
  const found = new Map<string, readonly [number, number]>();
  // An even and an odd number of times, so that what rounds shows itself.
  const multipleOf = (size: number, odd: 0 | 1) => {
    const times = Math.ceil(size / multiple);
    return multiple * (times % 2 === odd ? times : times + 1);
  };
  for (const { shape } of inputs) {
    for (const [axis, size] of shape.entries()) {
      if (typeof size === 'number' || found.has(size)) continue;
      const own = shape.length === 4 ? IMAGE_PROBES[axis]! : undefined;
      const isPixels = own !== undefined && axis > 0 && multiple > 1;
      const image = isPixels ? ([multipleOf(own[0], 0), multipleOf(own[1], 1)] as const) : own;
      found.set(size, image ?? [64 + 32 * found.size, 61 + 34 * found.size]);
    }
  }
  return found;
}

/** Names of the open sizes of images but their number. */
export function openPixels(inputs: readonly GraphInput[]): readonly string[] {
  const ofImages = inputs.filter(({ shape }) => shape.length === 4);
  return [...new Set(ofImages.flatMap(({ shape }) => shape.slice(1).filter((size) => typeof size === 'string')))];
}

/** Batch, channels or height, height, width. */
const IMAGE_PROBES: readonly (readonly [number, number])[] = [
  [2, 3],
  [192, 171],
  [224, 301],
  [256, 245],
];

/** A problem that is not yet known to be of a node. */
export function unusable(problem: string): RepfuseError {
  return new RepfuseError('ERR_REPFUSE_GRAPH', problem);
}

export function refused(node: Node, reason: string): RepfuseError {
  return new RepfuseError('ERR_REPFUSE_GRAPH', `The ONNX node ${describeNode(node)} cannot be run: ${reason}`, {
    node: node.name || node.output[0],
    operator: node.opType,
  });
}

/** What was read of a node. @throws ERR_REPFUSE_GRAPH with the reason in its place */
export function read<T>(node: Node, found: T | string): T {
  if (typeof found === 'string') throw refused(node, found);
  return found;
}

/** Id, operator and first input of a node's main result. */
export function about<Op extends GraphNode['op']>(node: Node, op: Op) {
  return { id: node.output[0]!, op, inputs: [node.input[0]!] } as const;
}
