import { DTYPES, type DType } from '../tensor/dtype';
import { toFloat64 } from '../tensor/half';
import { broadcastShape, sliceRange } from '../tensor/shape-rules';
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

  /** shapes: of values, where they are known; looked at when a value is asked for. Default: what the graph says of its own. */
  constructor(
    graph: Graph,
    private readonly wiring: Wiring,
    private readonly shapes: ReadonlyMap<string, readonly number[]> = staticShapes(graph),
  ) {
    this.initializers = new Map(graph.initializer.map((tensor) => [tensor.name, tensor]));
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
    if (rule === undefined || (node.output.length !== 1 && node.opType !== 'Split')) return undefined;
    if (node.opType === 'Shape') return this.shapeOf(node);
    // CastLike asks its second input for nothing but its type.
    const inputs = node.input.map((name, i) =>
      node.opType === 'CastLike' && i === 1 ? undefined : name === '' ? undefined : this.get(name),
    );
    const asked = node.opType === 'CastLike' ? 1 : node.input.length;
    const needed = node.opType === 'Concat' ? asked : (NEEDED[node.opType] ?? 1);
    const isMissing = (name: string | undefined, i: number) =>
      inputs[i] === undefined && (i < needed || (i < asked && name !== ''));
    if (node.input.length < needed || node.input.some(isMissing)) return undefined;
    return node.opType === 'Split'
      ? split(node, inputs as Tensor[], node.output.indexOf(value))
      : rule(node, inputs as Tensor[]);
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

/** Inputs that an operator cannot do without, where they are more than one. */
const NEEDED: Readonly<Record<string, number>> = {
  Add: 2,
  Div: 2,
  Equal: 2,
  Expand: 2,
  Gather: 2,
  Mul: 2,
  Range: 3,
  Reshape: 2,
  Sub: 2,
  Where: 3,
};

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
  Concat: (node, inputs) => concat(inputs, intOf(node, 'axis', 0)),
  Gather: (node, [x, indices]) => gather(x!, indices!, intOf(node, 'axis', 0)),
  Slice: (node, [x, starts, ends, axes, steps]) => {
    const given = (tensor: Tensor | undefined, name: string) =>
      tensor === undefined ? intsOf(node, name) : numbersOf(tensor);
    return slice(x!, given(starts, 'starts'), given(ends, 'ends'), given(axes, 'axes'), given(steps, 'steps'));
  },
  Split: () => undefined,
  Range: (_, bounds) => {
    const [start, end, step] = bounds.map((bound) => numbersOf(bound)[0]) as [number, number, number];
    const count = Math.max(0, Math.ceil((end - start) / step));
    if (bounds.some(({ dtype, size }) => dtype !== 'I64' || size !== 1) || !(count <= MOST_ELEMENTS)) return undefined;
    return integers(Array.from({ length: count }, (_, i) => start + i * step));
  },
  ConstantOfShape(node, [sizes]) {
    const shape = numbersOf(sizes!);
    const proto = tensorAttribute(node, 'value');
    const value = proto === undefined ? Tensor.f32([1], [0]) : tensorOf(proto);
    return value === undefined ? undefined : pick(value, shape, () => 0);
  },
  Equal(_, [a, b]) {
    const shape = metShape(a!.shape, b!.shape);
    if (shape === undefined || a!.dtype !== b!.dtype) return undefined;
    const [xs, ys] = [numbersOf(a!), numbersOf(b!)];
    const [at, bt] = [indexer(a!.shape, shape), indexer(b!.shape, shape)];
    const equal = Uint8Array.from({ length: elementCount(shape) }, (_, i) => (xs[at(i)] === ys[bt(i)] ? 1 : 0));
    return new Tensor('BOOL', shape, equal);
  },
  Where(_, [condition, a, b]) {
    const [x, y] = [broadcast(a!, b!.shape), broadcast(b!, a!.shape)];
    const chosen = x === undefined ? undefined : broadcast(condition!, x.shape);
    if (x === undefined || y === undefined || chosen?.size !== x.size || a!.dtype !== b!.dtype) return undefined;
    const other = y.data as ArrayLike<number>;
    const made = pick(x, x.shape, (place) => place)!;
    for (let i = 0; i < made.size; i++) if (!chosen.data[i]) (made.data as { [index: number]: number })[i] = other[i]!;
    return made;
  },
  Transpose: (node, [x]) => transpose(x!, intsOf(node, 'perm')),
  Floor: (_, [x]) => (x!.dtype === 'F32' ? Tensor.f32(x!.shape, numbersOf(x!).map(Math.floor)) : undefined),
  Ceil: (_, [x]) => (x!.dtype === 'F32' ? Tensor.f32(x!.shape, numbersOf(x!).map(Math.ceil)) : undefined),
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
  if (dtype === undefined || dtype === 'F16' || dtype === 'BF16') return undefined; // exporters widen, they do not narrow
  const data = new DTYPES[dtype].array(x.size);
  const whole = dtype === 'I64';
  (DTYPES[x.dtype].floating ? toFloat64(x) : numbersOf(x)).forEach((value, i) => {
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

/** Elements of a tensor at the given indices along one axis, in a new shape. */
function gather(x: Tensor, indices: Tensor, axis: number): Tensor | undefined {
  const at = axis < 0 ? axis + x.shape.length : axis;
  const size = x.shape[at];
  if (size === undefined) return undefined;
  const places = numbersOf(indices).map((index) => (index < 0 ? index + size : index));
  if (places.some((place) => !(place >= 0 && place < size))) return undefined;
  const shape = [...x.shape.slice(0, at), ...indices.shape, ...x.shape.slice(at + 1)];
  const inner = elementCount(x.shape.slice(at + 1));
  return pick(x, shape, (place) => {
    const rest = place % inner;
    const index = Math.floor(place / inner) % places.length;
    const outer = Math.floor(place / inner / places.length);
    return (outer * size + places[index]!) * inner + rest;
  });
}

function concat(inputs: readonly Tensor[], axis: number): Tensor | undefined {
  const [first] = inputs as [Tensor];
  const at = axis < 0 ? axis + first.shape.length : axis;
  const inner = (x: Tensor) => elementCount(x.shape.slice(at));
  const outer = elementCount(first.shape.slice(0, at));
  if (
    inputs.some((x) => x.dtype !== first.dtype || x.shape.length !== first.shape.length || inner(x) * outer !== x.size)
  )
    return undefined;
  const shape = first.shape.map((size, i) => (i === at ? inputs.reduce((sum, x) => sum + x.shape[at]!, 0) : size));
  if (elementCount(shape) > MOST_ELEMENTS) return undefined;
  const data = new DTYPES[first.dtype].array(elementCount(shape));
  let place = 0;
  for (let n = 0; n < outer; n++) {
    for (const x of inputs) {
      const length = inner(x);
      (data as Float32Array).set((x.data as Float32Array).subarray(n * length, (n + 1) * length), place);
      place += length;
    }
  }
  return new Tensor(first.dtype, shape, data);
}

function slice(
  x: Tensor,
  starts: readonly number[] | undefined,
  ends: readonly number[] | undefined,
  axes: readonly number[] | undefined,
  steps: readonly number[] | undefined,
): Tensor | undefined {
  if (starts === undefined || ends === undefined) return undefined;
  const ranges = x.shape.map((size) => ({ first: 0, step: 1, count: size }));
  for (const [i, start] of starts.entries()) {
    const axis = axes?.[i] ?? i;
    const at = axis < 0 ? axis + x.shape.length : axis;
    if (ranges[at] === undefined) return undefined;
    ranges[at] = sliceRange(start, ends[i]!, steps?.[i] ?? 1, x.shape[at]!);
  }
  const strides = stridesOf(x.shape);
  const shape = ranges.map(({ count }) => count);
  const target = stridesOf(shape);
  return pick(x, shape, (place) =>
    ranges.reduce((sum, { first, step, count }, axis) => {
      const index = Math.floor(place / target[axis]!) % count;
      return sum + (first + index * step) * strides[axis]!;
    }, 0),
  );
}

/** Sizes of the parts that a Split makes. */
export function splitSizes(node: Node, size: number, given: readonly number[] | undefined): readonly number[] {
  if (given !== undefined) return given;
  const parts = node.output.length;
  const each = Math.ceil(size / parts);
  return Array.from({ length: parts }, (_, i) => Math.max(0, Math.min(each, size - i * each)));
}

function split(node: Node, [x, sizes]: readonly Tensor[], index: number): Tensor | undefined {
  const axis = intOf(node, 'axis', 0);
  const at = axis < 0 ? axis + x!.shape.length : axis;
  const parts = splitSizes(node, x!.shape[at] ?? 0, sizes === undefined ? intsOf(node, 'split') : numbersOf(sizes));
  const start = parts.slice(0, index).reduce((sum, part) => sum + part, 0);
  return parts[index] === undefined ? undefined : slice(x!, [start], [start + parts[index]], [at], undefined);
}

function transpose(x: Tensor, perm: readonly number[] | undefined): Tensor | undefined {
  const order = perm ?? x.shape.map((_, axis) => x.shape.length - 1 - axis);
  const shape = order.map((axis) => x.shape[axis]!);
  if (elementCount(shape) !== x.size) return undefined;
  const strides = stridesOf(x.shape);
  const target = stridesOf(shape);
  return pick(x, shape, (place) =>
    order.reduce((sum, axis, i) => sum + (Math.floor(place / target[i]!) % shape[i]!) * strides[axis]!, 0),
  );
}

function stridesOf(shape: readonly number[]): number[] {
  return shape.map((_, axis) => elementCount(shape.slice(axis + 1)));
}

/** A tensor of `shape` whose elements are picked from another. */
function pick(x: Tensor, shape: readonly number[], from: (place: number) => number): Tensor | undefined {
  const count = elementCount(shape);
  if (count > MOST_ELEMENTS || shape.some((size) => size < 0)) return undefined;
  const data = new DTYPES[x.dtype].array(count);
  for (let i = 0; i < count; i++) (data as { [index: number]: number })[i] = (x.data as ArrayLike<number>)[from(i)]!;
  return new Tensor(x.dtype, shape, data);
}

function broadcast(x: Tensor, wanted: readonly number[]): Tensor | undefined {
  const shape = broadcastShape(x.shape, wanted);
  if (shape === undefined) return undefined;
  return pick(x, shape, indexer(x.shape, shape));
}

/** The shape in which two meet, if it is not beyond what is evaluated. */
function metShape(a: readonly number[], b: readonly number[]): number[] | undefined {
  const shape = broadcastShape(a, b);
  return shape !== undefined && elementCount(shape) <= MOST_ELEMENTS ? shape : undefined;
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
  const shape = metShape(a.shape, b.shape);
  if (shape === undefined) return undefined;
  const [xs, ys] = [numbersOf(a), numbersOf(b)];
  const [at, bt] = [indexer(a.shape, shape), indexer(b.shape, shape)];
  const values = Array.from({ length: elementCount(shape) }, (_, i) => operate(xs[at(i)]!, ys[bt(i)]!));
  if (a.dtype === 'F32') return Tensor.f32(shape, values);
  return values.every(Number.isFinite) ? integers(values.map(Math.trunc), shape) : undefined;
}
