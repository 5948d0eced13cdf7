import { DTYPES, type DType } from '../tensor/dtype';
import { elementCount, Tensor } from '../tensor/tensor';
import { floatOf, floatsOf, hasAttribute, intOf, intsOf, tensorAttribute } from './attributes';
import type { Graph, Node } from './schema/onnx_pb';
import { dtypeOf, numbersOf, tensorOf } from './values';
import type { Wiring } from './wiring';

/** Constants are evaluated up to this size: exporters write small ones by arithmetic, and weights as they are. */
const MOST_ELEMENTS = 1 << 22;
/** And through so many nodes one after the other, by recursion. */
const MOST_DEPTH = 500;

/**
 * The constant values of a graph: initializers, Constant nodes, and the arithmetic on shapes and small constants that exporters write between
 * them and their readers.
 */
export class Constants {
  private depth = 0;
  private readonly known = new Map<string, Tensor | undefined>();
  private readonly initializers: ReadonlyMap<string, Graph['initializer'][number]>;
  private readonly shapes: ReadonlyMap<string, readonly number[]>;

  constructor(
    graph: Graph,
    private readonly wiring: Wiring,
  ) {
    this.initializers = new Map(graph.initializer.map((tensor) => [tensor.name, tensor]));
    this.shapes = staticShapes(graph);
  }

  /** The tensor that a value always is, or undefined. @throws ERR_REPFUSE_FORMAT for a malformed one */
  get(value: string): Tensor | undefined {
    if (this.known.has(value)) return this.known.get(value);
    if (this.depth >= MOST_DEPTH) return undefined;
    this.known.set(value, undefined); // a cycle is no constant
    this.depth++;
    const tensor = this.evaluate(value);
    this.depth--;
    this.known.set(value, tensor);
    return tensor;
  }

  private evaluate(value: string): Tensor | undefined {
    const initializer = this.initializers.get(value);
    if (initializer !== undefined) return tensorOf(initializer);
    const node = this.wiring.producer(value);
    if (node === undefined || (node.domain !== '' && node.domain !== 'ai.onnx')) return undefined;
    if (node.opType === 'Constant') return constantOf(node);
    const rule = RULES[node.opType];
    if (rule === undefined || node.output.length !== 1) return undefined;
    if (node.opType === 'Shape') return this.shapeOf(node);
    // CastLike asks its second input for nothing but its type.
    const inputs = node.input.map((name, i) =>
      node.opType === 'CastLike' && i === 1 ? undefined : name === '' ? undefined : this.get(name),
    );
    const needed = node.opType === 'CastLike' ? 1 : node.input.length;
    if (node.input.some((name, i) => i < needed && name !== '' && inputs[i] === undefined)) return undefined;
    return rule(node, inputs as Tensor[]);
  }

  private shapeOf(node: Node): Tensor | undefined {
    const input = node.input[0]!;
    const shape = this.get(input)?.shape ?? this.shapes.get(input);
    if (shape === undefined) return undefined;
    const end = hasAttribute(node, 'end') ? intOf(node, 'end', 0) : shape.length;
    return integers(shape.slice(intOf(node, 'start', 0), end));
  }
}

/** What the graph itself says of its values, where it says all. */
export function staticShapes(graph: Graph): Map<string, readonly number[]> {
  const shapes = new Map<string, readonly number[]>();
  for (const { name, type } of [...graph.input, ...graph.valueInfo, ...graph.output]) {
    const dims = type?.tensorType?.shape?.dim;
    if (dims?.every(({ value }) => value.case === 'dimValue' && value.value >= 0n))
      shapes.set(
        name,
        dims.map(({ value }) => Number(value.value)),
      );
  }
  return shapes;
}

function constantOf(node: Node): Tensor | undefined {
  const tensor = tensorAttribute(node, 'value');
  if (tensor !== undefined) return tensorOf(tensor);
  if (hasAttribute(node, 'value_int')) return integers([intOf(node, 'value_int', 0)], []);
  if (hasAttribute(node, 'value_ints')) return integers(intsOf(node, 'value_ints')!);
  if (hasAttribute(node, 'value_float')) return Tensor.f32([], [floatOf(node, 'value_float', 0)]);
  const floats = floatsOf(node, 'value_floats');
  return floats === undefined || floats.length === 0 ? undefined : Tensor.f32([floats.length], [...floats]);
}

type Rule = (node: Node, inputs: readonly Tensor[]) => Tensor | undefined;

const RULES: Readonly<Record<string, Rule>> = {
  Identity: (_, [x]) => x,
  Shape: () => undefined,
  Cast: (node, [x]) => cast(x!, dtypeOf(intOf(node, 'to', 0))),
  CastLike: (_, [x]) => x, // of constants beside weights the type is theirs already, or is read as numbers
  Expand: (_, [x, shape]) => broadcast(x!, numbersOf(shape!)),
  Reshape: (node, [x, shape]) => reshape(x!, numbersOf(shape!), intOf(node, 'allowzero', 0) !== 0),
  Unsqueeze: (node, [x, axes]) => unsqueeze(x!, axes === undefined ? intsOf(node, 'axes') : numbersOf(axes)),
  Squeeze: (node, [x, axes]) => squeeze(x!, axes === undefined ? intsOf(node, 'axes') : numbersOf(axes)),
  Concat: (_, inputs) =>
    inputs.every(({ shape, dtype }) => shape.length === 1 && dtype === 'I64')
      ? integers(inputs.flatMap((input) => numbersOf(input)))
      : undefined,
  Gather: (node, [x, indices]) => gather(x!, indices!, intOf(node, 'axis', 0)),
  Add: (_, [a, b]) => arithmetic(a!, b!, (x, y) => x + y),
  Sub: (_, [a, b]) => arithmetic(a!, b!, (x, y) => x - y),
  Mul: (_, [a, b]) => arithmetic(a!, b!, (x, y) => x * y),
  Div: (_, [a, b]) => arithmetic(a!, b!, (x, y) => x / y),
};

function integers(values: readonly number[], shape: readonly number[] = [values.length]): Tensor {
  return new Tensor('I64', shape, BigInt64Array.from(values, BigInt));
}

function cast(x: Tensor, dtype: DType | undefined): Tensor | undefined {
  if (dtype === x.dtype) return x;
  if (dtype === undefined || [dtype, x.dtype].some((type) => type === 'F16' || type === 'BF16')) return undefined;
  const data = new DTYPES[dtype].array(x.size);
  const whole = dtype === 'I64';
  numbersOf(x).forEach((value, i) => {
    (data as { [index: number]: number | bigint })[i] = whole ? BigInt(Math.trunc(value)) : value;
  });
  return new Tensor(dtype, x.shape, data);
}

function reshape(x: Tensor, wanted: readonly number[], zeroIsZero: boolean): Tensor | undefined {
  const shape = wanted.map((dim, i) => (dim === 0 && !zeroIsZero ? (x.shape[i] ?? 0) : dim));
  const free = shape.indexOf(-1);
  if (free >= 0) shape[free] = x.size / elementCount(shape.filter((dim) => dim !== -1));
  return withShape(x, shape);
}

function unsqueeze(x: Tensor, axes: readonly number[] | undefined): Tensor | undefined {
  if (axes === undefined) return undefined;
  const rank = x.shape.length + axes.length;
  const added = new Set(axes.map((axis) => (axis < 0 ? axis + rank : axis)));
  const rest = [...x.shape];
  return withShape(
    x,
    Array.from({ length: rank }, (_, axis) => (added.has(axis) ? 1 : rest.shift()!)),
  );
}

function squeeze(x: Tensor, axes: readonly number[] | undefined): Tensor | undefined {
  const dropped = new Set(axes?.map((axis) => (axis < 0 ? axis + x.shape.length : axis)));
  return withShape(
    x,
    x.shape.filter((dim, axis) => (axes === undefined ? dim !== 1 : !dropped.has(axis))),
  );
}

function withShape(x: Tensor, shape: readonly number[]): Tensor | undefined {
  return elementCount(shape) === x.size ? new Tensor(x.dtype, shape, x.data) : undefined;
}

function gather(x: Tensor, indices: Tensor, axis: number): Tensor | undefined {
  if (x.shape.length !== 1 || axis !== 0 || x.dtype !== 'I64') return undefined;
  const all = numbersOf(x);
  const picked = numbersOf(indices).map((index) => all[index < 0 ? index + all.length : index]);
  return picked.includes(undefined) ? undefined : integers(picked as number[], indices.shape);
}

/** Numpy's rule: shapes meet from the right, a 1 spreads. */
function broadcastShape(a: readonly number[], b: readonly number[]): number[] | undefined {
  const rank = Math.max(a.length, b.length);
  const shape: number[] = [];
  for (let i = 0; i < rank; i++) {
    const [one, other] = [a[a.length - rank + i] ?? 1, b[b.length - rank + i] ?? 1];
    if (one !== other && one !== 1 && other !== 1) return undefined;
    shape.push(one === 1 ? other : one);
  }
  return elementCount(shape) <= MOST_ELEMENTS ? shape : undefined;
}

function broadcast(x: Tensor, wanted: readonly number[]): Tensor | undefined {
  const shape = broadcastShape(x.shape, wanted);
  if (shape === undefined) return undefined;
  const data = new DTYPES[x.dtype].array(elementCount(shape));
  const from = x.data as ArrayLike<number>;
  const index = indexer(x.shape, shape);
  for (let i = 0; i < data.length; i++) (data as { [index: number]: number })[i] = from[index(i)]!;
  return new Tensor(x.dtype, shape, data);
}

/** The element of a tensor that stands at each place of the shape to which it is spread. */
function indexer(shape: readonly number[], target: readonly number[]): (place: number) => number {
  const padded = [...Array<number>(target.length - shape.length).fill(1), ...shape];
  return (place) => {
    let index = 0;
    let step = 1;
    let rest = place;
    for (let axis = target.length - 1; axis >= 0; axis--) {
      if (padded[axis] !== 1) index += (rest % target[axis]!) * step;
      step *= padded[axis]!;
      rest = Math.floor(rest / target[axis]!);
    }
    return index;
  };
}

/** In the type of both: float32 rounds each result once, integers divide towards zero. */
function arithmetic(a: Tensor, b: Tensor, operate: (x: number, y: number) => number): Tensor | undefined {
  if (a.dtype !== b.dtype || (a.dtype !== 'F32' && a.dtype !== 'I64')) return undefined;
  const shape = broadcastShape(a.shape, b.shape);
  if (shape === undefined) return undefined;
  const [xs, ys] = [numbersOf(a), numbersOf(b)];
  const [at, bt] = [indexer(a.shape, shape), indexer(b.shape, shape)];
  const values = Array.from({ length: elementCount(shape) }, (_, i) => operate(xs[at(i)]!, ys[bt(i)]!));
  if (a.dtype === 'F32') return Tensor.f32(shape, values);
  return values.every(Number.isFinite) ? integers(values.map(Math.trunc), shape) : undefined;
}
