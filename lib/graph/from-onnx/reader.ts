import { RepfuseError } from '../../errors';
import type { OnnxModel } from '../../onnx';
import { describeNode, intOf, intsOf, isOfOnnx } from '../../onnx/attributes';
import { Constants } from '../../onnx/constants';
import { isOpenList, quotientsOf, sizesOf } from '../../onnx/evaluation/open-lists';
import type { FixedConstants } from '../../onnx/fixed-constants';
import { type Border, bordersOf } from '../../onnx/fold/borders';
import { liveNodes } from '../../onnx/fold/dead-code';
import { changed } from '../../onnx/messages';
import type { Node, TensorShape_Dimension, ValueInfo } from '../../onnx/schema/onnx_pb';
import { valueTypes } from '../../onnx/value-types';
import { dtypeOf, numbersOf } from '../../onnx/values';
import { flatAxis, windowAxes } from '../../onnx/windows';
import { Wiring } from '../../onnx/wiring';
import { multipleFor, withConditions } from '../../sizes/conditions';
import { namesIn, openSize, type Size, type Sizes } from '../../sizes/size';
import { type ComputedDType, DTYPES } from '../../tensor/dtype';
import { toFloat32 } from '../../tensor/half';
import { elementCount, formatShape, Tensor } from '../../tensor/tensor';
import { type Graph, type GraphInput, type GraphNode, nodesFor } from '../graph';
import { inputChannels } from '../input-channels';
import { operatorOf } from '../operators';
import { OPEN_SIZE } from '../operators/fields';
import type { NodeSize } from '../operators/operator';
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
  private readonly constants: Constants;
  /** Of every value that the graph has so far. */
  private readonly shapes = new Map<string, Sizes>();
  /** What shapes can be told of: the open sizes of the inputs. */
  private readonly open: ReadonlySet<string>;
  private readonly types: ReadonlyMap<string, ComputedDType>;
  readonly inputs: readonly GraphInput[];
  /** The same, as the graph has them. */
  private readonly given: readonly GraphInput[];
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
  ) {
    const { graph } = model.proto;
    this.wiring = new Wiring(graph);
    this.types = valueTypes(graph);
    const initializers = new Set(graph.initializer.map(({ name }) => name));
    const inputs = graph.input.filter(({ name }) => !initializers.has(name));
    if (inputs.length === 0) throw unusable('Expected an ONNX model of an input to run but it has none');
    this.inputs = inputs.map((input) => this.inputOf(input));
    const [{ type, shape }] = this.inputs as [GraphInput];
    const isImages = this.inputs.length === 1 && type === 'F32' && shape.length === 4;
    const [, , height, width] = shape;
    const isOpen = typeof height === 'string' && typeof width === 'string';
    const isFixed = typeof height === 'number' && typeof width === 'number';
    this.isPlain = isImages && typeof shape[1] === 'number' && !this.saysChannels && (isOpen || isFixed);
    this.constants = new Constants(graph, this.wiring, this.shapes, fixed);
    // Of images sizes have the names that all graphs of images give them.
    const given = this.isPlain ? this.inputs.map((each) => ({ ...each, shape: plainShape(each.shape) })) : this.inputs;
    this.given = given;
    this.open = new Set(given.flatMap(({ shape: sizes }) => sizes.filter((size) => typeof size === 'string')));
    const sizeOf = (size: number | string) => (typeof size === 'number' ? size : openSize(size));
    for (const { id, shape: sizes } of given) this.shapes.set(id, sizes.map(sizeOf));
  }

  /** An input as a graph says it: images where the model tells no shape. @throws ERR_REPFUSE_GRAPH */
  private inputOf({ name: id, type: given }: ValueInfo): GraphInput {
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
    const { made: outputs, conditions } = withConditions(() => {
      this.takeNodes();
      return this.model.proto.graph.output.map(({ name }) => this.result(name));
    });
    const pixels = this.isPlain ? ['H', 'W'] : openPixels(this.inputs);
    const multiple = pixels.length === 0 ? 1 : multipleFor(conditions, pixels);
    const [{ id: input, shape }] = this.inputs as [GraphInput];
    const image = shape.slice(1);
    const fixed = this.isPlain && image.every((size) => typeof size === 'number');
    const types = outputs.map((id) => [id, this.typeOf(id) ?? 'F32'] as const).filter(([, type]) => type !== 'F32');
    const nodes = nodesFor(this.nodes, outputs); // those of an activation that was written by its parts lead nowhere
    // Where no tensor tells the channels of images, the graph does.
    const isPlain = this.isPlain && (fixed || inputChannels(input, nodes, this.tensors) !== undefined);
    const graph: Graph = {
      input,
      ...(isPlain ? {} : { inputs: this.given }),
      ...(multiple === 1 ? {} : { multiples: Object.fromEntries(pixels.map((name) => [name, multiple])) }),
      output: outputs[0]!,
      ...(types.length > 0 ? { outputTypes: Object.fromEntries(types) } : {}),
      ...(outputs.length > 1 ? { outputs } : {}),
      nodes,
      ...(fixed ? { inputShape: image as unknown as [number, number, number] } : {}),
    };
    return { graph, tensors: this.tensors, aliases: this.same };
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
    return opType === 'Constant' || output.every((value) => value === '' || this.constants.isKnown(value));
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
    const constant = this.constants.get(name);
    if (constant !== undefined) {
      this.nodes.push({ id: name, op: 'constant', inputs: [], tensor: this.set(name, constant) });
      return name;
    }
    if (!this.shapes.has(id)) this.addKnown(name);
    if (id === name && this.shapes.has(id)) return name;
    if (!this.shapes.has(id)) throw unusable(`Expected an ONNX model that computes its output ${name} from its inputs`);
    const shape = this.sizes(id).map(() => 0);
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
    this.shapes.set(node.output[0]!, this.shapes.get(this.value(value))!); // a Shape may ask
  }

  /** Shape of a value, of which sizes may be open. */
  sizes(value: string): Sizes {
    if (!this.shapes.has(this.value(value))) this.addKnown(value);
    const shape = this.shapes.get(this.value(value));
    if (shape === undefined) throw unusable(`nothing that is run makes its input ${JSON.stringify(value)}`);
    return shape;
  }

  /** A size of a value that what is read has to know. */
  knownSize(value: string, axis: number): number {
    const size = this.sizes(value)[axis]!;
    if (typeof size === 'number') return size;
    throw unusable(`the size of its axis ${axis} is open (${size})`);
  }

  /** A size as a field of a node says it. @throws ERR_REPFUSE_GRAPH where only the data tell it */
  sizeText(size: Size): NodeSize {
    const unknown = [...namesIn(size)].find((name) => !this.open.has(name));
    if (unknown !== undefined) throw unusable(`a size depends on what only a run tells (${size})`);
    return typeof size === 'number' ? size : size.text;
  }

  sizeTexts(sizes: Sizes): NodeSize[] {
    return sizes.map((size) => this.sizeText(size));
  }

  rank(value: string): number {
    return this.sizes(value).length;
  }

  /** An axis of a value, counted from the start. */
  axis(value: string, axis: number): number {
    const rank = this.rank(value);
    if (axis < -rank || axis >= rank) throw unusable(`its input ${formatShape(this.sizes(value))} has no axis ${axis}`);
    return axis < 0 ? axis + rank : axis;
  }

  /** The type that ONNX gives a value: in a graph all are float32, and what a type does otherwise (whole quotients) are nodes. */
  typeOf(value: string): ComputedDType | undefined {
    return this.types.get(value);
  }

  constant(value: string): Tensor | undefined {
    return value === '' ? undefined : this.constants.get(value);
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

  /** Whole numbers that may depend on the inputs' shapes: of an input, else of an attribute; undefined where there is neither. */
  listed(node: Node, index: number, attribute: string): Sizes | undefined {
    return (node.input[index] ?? '') === '' ? intsOf(node, attribute) : this.shapeNumbers(node, index);
  }

  /** Whole numbers that may depend on the inputs' shapes. */
  shapeNumbers(node: Node, index: number): Sizes {
    const known = this.constants.knownValue(node.input[index]!);
    const sizes = known && sizesOf(known);
    if (sizes === undefined)
      throw refused(
        node,
        `its input ${JSON.stringify(node.input[index])} is neither a constant nor computed from shapes`,
      );
    return sizes;
  }

  /** Numbers that may be quotients of two sizes. */
  shapeQuotients(node: Node, index: number): readonly (readonly [Size, Size])[] {
    const known = this.constants.knownValue(node.input[index]!);
    return read(
      node,
      (known && quotientsOf(known)) ??
        `its input ${JSON.stringify(node.input[index])} is neither a constant nor computed from shapes`,
    );
  }

  /** Whether a value is computed from shapes alone. */
  isShapeNumber(value: string): boolean {
    return this.constants.isKnown(value);
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

  /** What is known before a run and asked for as a value of the network becomes one. */
  private addKnown(value: string): void {
    const constant = this.operand(value);
    if (constant !== undefined) {
      this.add({ id: value, op: 'constant', inputs: [], tensor: this.set(value, constant) });
      return;
    }
    const known = value === '' ? undefined : this.constants.knownValue(value);
    if (known === undefined || !isOpenList(known)) return;
    const sizes = sizesOf(known);
    if (sizes === undefined) this.takeAside(value);
    else if (known.shape.length > 1) throw unusable(`its input ${JSON.stringify(value)} is a table of open sizes`);
    else {
      const values = sizes.map((size) => this.sizeText(size));
      this.add({ id: value, op: 'sizes', inputs: [], values, scalar: known.shape.length === 0 });
    }
  }

  /** Arithmetic on sizes that leaves fractions runs with the network. */
  private takeAside(value: string): void {
    const producer = this.wiring.producer(value);
    if (producer !== undefined) this.take(producer);
  }

  private add(node: GraphNode): void {
    if (!node.id) throw unusable('its result has no name');
    for (const input of node.inputs) this.sizes(input);
    const dataAxis = operatorOf(node).dataAxis?.(node);
    const shape: Sizes = nodeShape(node, this.shapes as ReadonlyMap<string, Sizes>, this.tensors);
    // A size that the data tell has a name that is none of the inputs'.
    this.shapes.set(
      node.id,
      shape.map((size, axis) => (axis === dataAxis ? openSize(`found_${this.nodes.length}`) : size)),
    );
    this.nodes.push(node);
  }

  private expectKnown(node: Node, value: string): void {
    if (this.shapes.has(this.value(value))) return;
    this.addKnown(value);
    if (this.shapes.has(this.value(value))) return;
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

  /** Whether a constant leaves the shape of what it meets as it is. */
  keepsShape(value: string, constant: Tensor): boolean {
    const sizes = this.sizes(value);
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

/** The sizes of images, by their usual names where they are open. */
function plainShape(shape: GraphInput['shape']): GraphInput['shape'] {
  return shape.map((size, axis) => (typeof size === 'number' ? size : PLAIN_NAMES[axis]!));
}

const PLAIN_NAMES = ['N', 'C', 'H', 'W'];

/** Names of the open sizes of images but their number. */
export function openPixels(inputs: readonly GraphInput[]): readonly string[] {
  const ofImages = inputs.filter(({ shape }) => shape.length === 4);
  return [...new Set(ofImages.flatMap(({ shape }) => shape.slice(1).filter((size) => typeof size === 'string')))];
}

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
