import type { Attribute, Graph, Node, Tensor as TensorProto } from '../../lib/onnx/schema/onnx_pb';
import { erf } from './erf';
import { referenceConv2d } from './reference-conv';

/** A value of a graph: numbers, whatever their type, in float64. */
export interface Value {
  readonly shape: readonly number[];
  readonly data: ArrayLike<number>;
}

/**
 * Runs an ONNX graph in float64, node by node, by the definitions of its operators: independent of everything that folds or compiles one.
 *
 * @returns every value of the graph by name
 */
export function referenceOnnx(graph: Graph, inputs: Readonly<Record<string, Value>>): Map<string, Value> {
  const values = new Map<string, Value>(Object.entries(inputs));
  for (const tensor of graph.initializer) if (!values.has(tensor.name)) values.set(tensor.name, valueOfProto(tensor));
  for (const node of graph.node) {
    const operator = OPERATORS[node.opType];
    if (operator === undefined) throw new Error(`the reference has no ${node.opType}`);
    const made = operator(
      node.input.map((name) => values.get(name)!),
      new Attributes(node),
    );
    for (const [i, value] of (Array.isArray(made) ? made : [made]).entries()) values.set(node.output[i]!, value);
  }
  return values;
}

class Attributes {
  constructor(private readonly node: Node) {}

  get(name: string): Attribute | undefined {
    return this.node.attribute.find((attribute) => attribute.name === name);
  }
  int(name: string, otherwise: number): number {
    const found = this.get(name);
    return found === undefined ? otherwise : Number(found.i);
  }
  float(name: string, otherwise: number): number {
    return this.get(name)?.f ?? otherwise;
  }
  ints(name: string): number[] | undefined {
    return this.get(name)?.ints.map((v) => Math.max(Math.min(Number(v), 2 ** 40), -(2 ** 40)));
  }
  text(name: string, otherwise: string): string {
    const found = this.get(name);
    return found === undefined ? otherwise : Buffer.from(found.s).toString();
  }
}

function valueOfProto(proto: TensorProto): Value {
  const shape = proto.dims.map(Number);
  if (proto.rawData.length === 0) {
    const { floatData, int64Data, int32Data, doubleData } = proto;
    return { shape, data: [...floatData, ...int64Data.map(Number), ...int32Data, ...doubleData] };
  }
  const bytes = new Uint8Array(proto.rawData).buffer;
  switch (proto.dataType) {
    case 1:
      return { shape, data: new Float32Array(bytes) };
    case 7:
      return { shape, data: Array.from(new BigInt64Array(bytes), Number) };
    case 6:
      return { shape, data: new Int32Array(bytes) };
    case 9:
      return { shape, data: new Uint8Array(bytes) };
    case 11:
      return { shape, data: new Float64Array(bytes) };
    default:
      throw new Error(`the reference has no type ${proto.dataType}`);
  }
}

const count = (shape: readonly number[]) => shape.reduce((product, dim) => product * dim, 1);
const map = ({ shape, data }: Value, f: (v: number) => number): Value => ({ shape, data: Float64Array.from(data, f) });

function broadcast(a: Value, b: Value, f: (x: number, y: number) => number): Value {
  const rank = Math.max(a.shape.length, b.shape.length);
  const pad = ({ shape }: Value) => [...Array<number>(rank - shape.length).fill(1), ...shape];
  const [as, bs] = [pad(a), pad(b)];
  const shape = as.map((dim, axis) => (dim === 1 ? bs[axis]! : dim));
  const at = (from: readonly number[], place: readonly number[]) =>
    place.reduce((index, position, axis) => index * from[axis]! + (from[axis] === 1 ? 0 : position), 0);
  const data = new Float64Array(count(shape));
  const place = shape.map(() => 0);
  for (let i = 0; i < data.length; i++) {
    data[i] = f(a.data[at(as, place)]!, b.data[at(bs, place)]!);
    for (let axis = rank - 1; axis >= 0 && ++place[axis]! === shape[axis]; axis--) place[axis] = 0;
  }
  return { shape, data };
}

function four(a: Attributes): readonly [number, number, number, number] {
  return (a.ints('pads') ?? [0, 0, 0, 0]) as unknown as readonly [number, number, number, number];
}

function pool(x: Value, a: Attributes, average: boolean): Value {
  const [kh, kw] = a.ints('kernel_shape') as [number, number];
  const [sh, sw] = (a.ints('strides') ?? [1, 1]) as [number, number];
  const [top, left, bottom, right] = four(a);
  const [n, c, h, w] = x.shape as [number, number, number, number];
  const out = (size: number, k: number, s: number, pads: number) => Math.floor((size + pads - k) / s) + 1;
  const [oh, ow] = [out(h, kh, sh, top + bottom), out(w, kw, sw, left + right)];
  const data = new Float64Array(n * c * oh * ow);
  for (let i = 0; i < data.length; i++) {
    const [plane, oy, ox] = [Math.floor(i / (oh * ow)), Math.floor(i / ow) % oh, i % ow];
    let sum = 0;
    let inside = 0;
    let most = Number.NEGATIVE_INFINITY;
    for (let u = 0; u < kh; u++) {
      for (let v = 0; v < kw; v++) {
        const [y, z] = [oy * sh - top + u, ox * sw - left + v];
        if (y < 0 || z < 0 || y >= h || z >= w) continue;
        const value = x.data[(plane * h + y) * w + z]!;
        sum += value;
        most = Math.max(most, value);
        inside++;
      }
    }
    data[i] = average ? sum / (a.int('count_include_pad', 0) ? kh * kw : inside) : most;
  }
  return { shape: [n, c, oh, ow], data };
}

function matmul(a: Value, b: Value): Value {
  const [rows, inner] = a.shape.slice(-2) as [number, number];
  const columns = b.shape.at(-1)!;
  const data = new Float64Array(rows * columns);
  for (let i = 0; i < rows; i++)
    for (let j = 0; j < columns; j++)
      for (let k = 0; k < inner; k++) data[i * columns + j]! += a.data[i * inner + k]! * b.data[k * columns + j]!;
  return { shape: [rows, columns], data };
}

function transposed({ shape, data }: Value): Value {
  const [rows, columns] = shape as [number, number];
  const out = Float64Array.from(
    { length: rows * columns },
    (_, i) => data[(i % rows) * columns + Math.floor(i / rows)]!,
  );
  return { shape: [columns, rows], data: out };
}

function padded(x: Value, pads: readonly number[], value: number, mode: string): Value {
  const rank = x.shape.length;
  const shape = x.shape.map((dim, axis) => dim + pads[axis]! + pads[axis + rank]!);
  const data = new Float64Array(count(shape));
  for (let i = 0; i < data.length; i++) {
    let [rest, index, step, inside] = [i, 0, 1, true];
    for (let axis = rank - 1; axis >= 0; axis--) {
      const last = x.shape[axis]! - 1;
      let position = (rest % shape[axis]!) - pads[axis]!;
      if (mode === 'edge') position = Math.min(Math.max(position, 0), last);
      if (mode === 'reflect') position = position < 0 ? -position : position > last ? 2 * last - position : position;
      inside &&= position >= 0 && position <= last;
      index += position * step;
      step *= x.shape[axis]!;
      rest = Math.floor(rest / shape[axis]!);
    }
    data[i] = inside ? x.data[index]! : value;
  }
  return { shape, data };
}

function concat(values: readonly Value[], axis: number): Value {
  const [first] = values as [Value];
  const at = axis < 0 ? axis + first.shape.length : axis;
  const outer = count(first.shape.slice(0, at));
  const sizes = values.map(({ shape }) => count(shape.slice(at)));
  const data: number[] = [];
  for (let i = 0; i < outer; i++)
    for (const [j, { data: part }] of values.entries())
      for (let k = 0; k < sizes[j]!; k++) data.push(part[i * sizes[j]! + k]!);
  const shape = first.shape.map((dim, k) => (k === at ? values.reduce((sum, v) => sum + v.shape[at]!, 0) : dim));
  return { shape, data };
}

function reshape(x: Value, wanted: readonly number[]): Value {
  const shape = wanted.map((dim, i) => (dim === 0 ? x.shape[i]! : dim));
  const free = shape.indexOf(-1);
  if (free >= 0) shape[free] = count(x.shape) / -count(shape);
  return { shape, data: x.data };
}

function perImage(x: Value, f: (plane: Float64Array) => number, shape: (n: number, c: number) => number[]): Value {
  const [n, c] = x.shape as [number, number];
  const size = count(x.shape.slice(2));
  const data = Float64Array.from({ length: n * c }, (_, i) =>
    f(Float64Array.from({ length: size }, (_, k) => x.data[i * size + k]!)),
  );
  return { shape: shape(n, c), data };
}

const mean = (plane: Float64Array) => plane.reduce((sum, v) => sum + v, 0) / plane.length;

const OPERATORS: Readonly<Record<string, (inputs: readonly Value[], a: Attributes) => Value | Value[]>> = {
  Conv: ([x, w, b], a) =>
    referenceConv2d({
      input: x!.data,
      inputShape: x!.shape,
      weight: w!.data,
      weightShape: w!.shape,
      bias: b?.data,
      stride: (a.ints('strides') ?? [1, 1]) as [number, number],
      padding: a.text('auto_pad', 'NOTSET').startsWith('SAME') ? samePads(x!, w!, a) : four(a),
      dilation: (a.ints('dilations') ?? [1, 1]) as [number, number],
      groups: a.int('group', 1),
    }),
  BatchNormalization: ([x, scale, bias, average, variance], a) => {
    const size = count(x!.shape.slice(2));
    const channels = x!.shape[1]!;
    const data = Float64Array.from(x!.data, (v, i) => {
      const c = Math.floor(i / size) % channels;
      return (
        ((v - average!.data[c]!) / Math.sqrt(variance!.data[c]! + a.float('epsilon', 1e-5))) * scale!.data[c]! +
        bias!.data[c]!
      );
    });
    return { shape: x!.shape, data };
  },
  Add: ([x, y]) => broadcast(x!, y!, (p, q) => p + q),
  Sub: ([x, y]) => broadcast(x!, y!, (p, q) => p - q),
  Mul: ([x, y]) => broadcast(x!, y!, (p, q) => p * q),
  Div: ([x, y]) => broadcast(x!, y!, (p, q) => p / q),
  Sum: (inputs) => inputs.reduce((sum, value) => broadcast(sum, value, (p, q) => p + q)),
  Relu: ([x]) => map(x!, (v) => Math.max(v, 0)),
  Sigmoid: ([x]) => map(x!, (v) => 1 / (1 + Math.exp(-v))),
  HardSigmoid: ([x], a) => map(x!, (v) => Math.max(0, Math.min(1, a.float('alpha', 0.2) * v + a.float('beta', 0.5)))),
  Clip: ([x, low, high], a) => {
    const [least, most] = [low?.data[0] ?? a.float('min', -Infinity), high?.data[0] ?? a.float('max', Infinity)];
    return map(x!, (v) => Math.min(Math.max(v, least), most));
  },
  Identity: ([x]) => x!,
  Dropout: ([x]) => x!,
  MaxPool: ([x], a) => pool(x!, a, false),
  AveragePool: ([x], a) => pool(x!, a, true),
  GlobalAveragePool: ([x]) => perImage(x!, mean, (n, c) => [n, c, 1, 1]),
  ReduceMean: ([x], a) => perImage(x!, mean, (n, c) => (a.int('keepdims', 1) ? [n, c, 1, 1] : [n, c])),
  Flatten: ([x], a) => {
    const axis = a.int('axis', 1);
    return { shape: [count(x!.shape.slice(0, axis)), count(x!.shape.slice(axis))], data: x!.data };
  },
  Reshape: ([x, shape]) => reshape(x!, Array.from(shape!.data)),
  Unsqueeze: ([x, axes], a) => {
    const added = axes === undefined ? a.ints('axes')! : Array.from(axes.data);
    const rest = [...x!.shape];
    return {
      shape: Array.from({ length: rest.length + added.length }, (_, i) => (added.includes(i) ? 1 : rest.shift()!)),
      data: x!.data,
    };
  },
  Gemm: ([x, w, b], a) => {
    const product = matmul(a.int('transA', 0) ? transposed(x!) : x!, a.int('transB', 0) ? transposed(w!) : w!);
    const scaled = map(product, (v) => v * a.float('alpha', 1));
    return b === undefined
      ? scaled
      : broadcast(
          scaled,
          map(b, (v) => v * a.float('beta', 1)),
          (p, q) => p + q,
        );
  },
  MatMul: ([x, y]) => {
    if (x!.shape.length < 3) return matmul(x!, y!);
    const rows = x!.shape.slice(0, -1);
    const flat = matmul({ shape: [count(rows), x!.shape.at(-1)!], data: x!.data }, y!); // of one matrix
    return { shape: [...rows, y!.shape.at(-1)!], data: flat.data };
  },
  ConvTranspose: ([x, w, b], a) => convTranspose(x!, w!, b, a),
  Softmax: ([x]) => {
    const classes = x!.shape.at(-1)!;
    const data = new Float64Array(count(x!.shape));
    for (let row = 0; row < data.length; row += classes) {
      const e = Array.from({ length: classes }, (_, i) => Math.exp(x!.data[row + i]!));
      const sum = e.reduce((p, q) => p + q, 0);
      for (const [i, v] of e.entries()) data[row + i] = v / sum;
    }
    return { shape: x!.shape, data };
  },
  Split: ([x, sizes]) => {
    const rest = count(x!.shape.slice(1));
    const plane = count(x!.shape.slice(2));
    let begin = 0;
    return Array.from(sizes!.data, (size) => {
      const from = begin;
      begin += size;
      const data = Array.from({ length: x!.shape[0]! }, (_, n) =>
        Array.from(x!.data).slice(n * rest + from * plane, n * rest + begin * plane),
      ).flat();
      return { shape: [x!.shape[0]!, size, ...x!.shape.slice(2)], data };
    });
  },
  Neg: ([x]) => map(x!, (v) => -v),
  Concat: (inputs, a) => concat(inputs, a.int('axis', 0)),
  Constant: (_, a) => {
    const tensor = a.get('value')?.t;
    if (tensor !== undefined) return valueOfProto(tensor);
    const ints = a.ints('value_ints');
    return ints?.length
      ? { shape: [ints.length], data: ints }
      : { shape: [], data: [a.int('value_int', a.float('value_float', 0))] };
  },
  Shape: ([x], a) => {
    const shape = x!.shape.slice(a.int('start', 0), a.get('end') ? a.int('end', 0) : undefined);
    return { shape: [shape.length], data: shape };
  },
  Gather: ([x, indices]) => map(indices!, (i) => x!.data[i < 0 ? i + x!.data.length : i]!),
  Cast: ([x]) => x!,
  CastLike: ([x]) => x!,
  Expand: ([x, shape]) =>
    broadcast(x!, { shape: Array.from(shape!.data), data: new Float64Array(count(Array.from(shape!.data))) }, (p) => p),
  Slice: ([x, starts, ends, axes], a) => {
    if (axes !== undefined) {
      // Of one axis, by steps of 1, as a permutation, a cut and its reverse.
      const [axis] = Array.from(axes.data) as [number];
      const order = [axis, ...x!.shape.keys()].filter((each, i, all) => all.indexOf(each) === i);
      const front = permuted(x!, order);
      const inner = count(front.shape.slice(1));
      const [from, to] = [starts!.data[0]!, Math.min(ends!.data[0]!, front.shape[0]!)];
      const cut = Float64Array.from(front.data).slice(from * inner, to * inner);
      return permuted(
        { shape: [to - from, ...front.shape.slice(1)], data: cut },
        [...x!.shape.keys()].map((each) => order.indexOf(each)),
      );
    }
    const [from, to] = [starts?.data[0] ?? a.ints('starts')![0]!, ends?.data[0] ?? a.ints('ends')![0]!];
    const data = Array.from(x!.data).slice(from, Math.min(to, x!.data.length));
    return { shape: [data.length], data };
  },
  Pad: ([x, pads, value], a) => padded(x!, Array.from(pads!.data), value?.data[0] ?? 0, a.text('mode', 'constant')),
  Erf: ([x]) => map(x!, erf),
  Tanh: ([x]) => map(x!, Math.tanh),
  LeakyRelu: ([x], a) => map(x!, (v) => (v < 0 ? a.float('alpha', 0.01) * v : v)),
  PRelu: ([x, slope]) => broadcast(x!, slope!, (v, s) => (v < 0 ? s * v : v)),
  Transpose: ([x], a) => permuted(x!, a.ints('perm')!),
  DepthToSpace: ([x], a) => {
    const size = a.int('blocksize', 0);
    const [n, c, h, w] = x!.shape as [number, number, number, number];
    const split = c / size / size;
    const isFirst = a.text('mode', 'DCR') === 'CRD';
    const six = { shape: isFirst ? [n, split, size, size, h, w] : [n, size, size, split, h, w], data: x!.data };
    const spread = permuted(six, isFirst ? [0, 1, 4, 2, 5, 3] : [0, 3, 4, 1, 5, 2]);
    return { shape: [n, split, h * size, w * size], data: spread.data };
  },
  Resize: ([x, , scales, sizes], a) => {
    const [down, across] = [2, 3].map((axis) => scales?.data[axis] ?? sizes!.data[axis]! / x!.shape[axis]!);
    return resized(x!, down!, across!, a.text('mode', 'nearest') === 'linear');
  },
};

function permuted(x: Value, perm: readonly number[]): Value {
  const shape = perm.map((axis) => x.shape[axis]!);
  const strides = x.shape.map((_, axis) => count(x.shape.slice(axis + 1)));
  const data = Float64Array.from({ length: x.data.length }, (_, i) => {
    let [rest, index] = [i, 0];
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      index += (rest % shape[axis]!) * strides[perm[axis]!]!;
      rest = Math.floor(rest / shape[axis]!);
    }
    return x.data[index]!;
  });
  return { shape, data };
}

/** Nearest by floor of asymmetric coordinates, or linear by half pixels: what networks ask for. */
function resized(x: Value, down: number, across: number, linear: boolean): Value {
  const [n, c, h, w] = x.shape as [number, number, number, number];
  const [oh, ow] = [Math.floor(h * down), Math.floor(w * across)];
  const pixel = (plane: number, y: number, z: number) =>
    x.data[(plane * h + Math.min(Math.max(y, 0), h - 1)) * w + Math.min(Math.max(z, 0), w - 1)]!;
  const data = Float64Array.from({ length: n * c * oh * ow }, (_, i) => {
    const [plane, oy, ox] = [Math.floor(i / (oh * ow)), Math.floor(i / ow) % oh, i % ow];
    if (!linear) return pixel(plane, Math.floor(oy / down), Math.floor(ox / across));
    const [y, z] = [(oy + 0.5) / down - 0.5, (ox + 0.5) / across - 0.5];
    const [top, left] = [Math.floor(y), Math.floor(z)];
    const row = (at: number) => pixel(plane, at, left) * (1 - z + left) + pixel(plane, at, left + 1) * (z - left);
    return row(top) * (1 - y + top) + row(top + 1) * (y - top);
  });
  return { shape: [n, c, oh, ow], data };
}

/** Every input adds its kernel to the output. */
function convTranspose(x: Value, w: Value, b: Value | undefined, a: Attributes): Value {
  const [n, channels, height, width] = x.shape as [number, number, number, number];
  const [, outPerGroup, kh, kw] = w.shape as [number, number, number, number];
  const groups = a.int('group', 1);
  const [sh, sw] = (a.ints('strides') ?? [1, 1]) as [number, number];
  const [top, left, bottom, right] = four(a);
  const [oh, ow] = [(height - 1) * sh + kh - top - bottom, (width - 1) * sw + kw - left - right];
  const outputs = outPerGroup * groups;
  const data = Float64Array.from(
    { length: n * outputs * oh * ow },
    (_, i) => b?.data[Math.floor(i / (oh * ow)) % outputs] ?? 0,
  );
  for (let i = 0; i < x.data.length; i++) {
    const [image, c] = [Math.floor(i / (channels * height * width)), Math.floor(i / (height * width)) % channels];
    const [y, z] = [Math.floor(i / width) % height, i % width];
    for (let o = 0; o < outPerGroup; o++) {
      const plane = image * outputs + Math.floor(c / (channels / groups)) * outPerGroup + o;
      for (let u = 0; u < kh; u++) {
        for (let v = 0; v < kw; v++) {
          const [oy, ox] = [y * sh - top + u, z * sw - left + v];
          if (oy < 0 || ox < 0 || oy >= oh || ox >= ow) continue;
          data[(plane * oh + oy) * ow + ox]! += x.data[i]! * w.data[((c * outPerGroup + o) * kh + u) * kw + v]!;
        }
      }
    }
  }
  return { shape: [n, outputs, oh, ow], data };
}

function samePads(x: Value, w: Value, a: Attributes): [number, number, number, number] {
  const stride = a.ints('strides') ?? [1, 1];
  const dilation = a.ints('dilations') ?? [1, 1];
  const sides = [0, 1].map((axis) => {
    const [size, span] = [x.shape[2 + axis]!, (w.shape[2 + axis]! - 1) * dilation[axis]! + 1];
    const total = Math.max(0, (Math.ceil(size / stride[axis]!) - 1) * stride[axis]! + span - size);
    const low = Math.floor(total / 2);
    return a.text('auto_pad', '') === 'SAME_UPPER' ? [low, total - low] : [total - low, low];
  });
  return [sides[0]![0]!, sides[1]![0]!, sides[0]![1]!, sides[1]![1]!];
}
