import type { Graph, GraphNode } from '../../lib/graph';
import { GRID_MODES, GRID_PADDINGS } from '../../lib/graph/operators/grid-sample';
import { SCATTER_FUNCTIONS } from '../../lib/graph/operators/indexing';
import { CELLS, DIRECTIONS, directionsOf, gatesOf } from '../../lib/graph/operators/recurrent';
import { nodeShape } from '../../lib/graph/shapes';
import {
  type BinaryFunction,
  PAD_MODES,
  RESIZE_ASPECTS,
  RESIZE_COORDINATES,
  RESIZE_MODES,
  RESIZE_NEAREST,
  type Reduction,
} from '../../lib/ops/tensor-op';
import { elementCount, Tensor } from '../../lib/tensor/tensor';
import { Random } from './random';

/** A network, an input for it, and the results that are asked for. */
export interface RandomNetwork {
  readonly graph: Graph;
  readonly tensors: ReadonlyMap<string, Tensor>;
  readonly input: Tensor;
}

type Shape = readonly number[];
type Op = GraphNode['op'];
/** A node without id; undefined where its kind does not fit the value. */
type Made = { readonly inputs?: readonly string[] } & Record<string, unknown>;

/** Functions without fields. */
const PLAIN = [
  'abs',
  'acos',
  'acosh',
  'asin',
  'asinh',
  'atan',
  'atanh',
  'ceil',
  'cos',
  'cosh',
  'erf',
  'exp',
  'floor',
  'gelu',
  'gelu_tanh',
  'is_nan',
  'log',
  'mish',
  'neg',
  'not',
  'not_zero',
  'reciprocal',
  'round',
  'round_bf16',
  'round_f16',
  'sign',
  'sin',
  'sinh',
  'softplus',
  'softsign',
  'sqrt',
  'tan',
  'tanh',
  'trunc',
] as const satisfies readonly Op[];
/** Those that any value can go through, whatever its rounding: without poles, domains and steps. */
const SMOOTH = [
  'abs',
  'asinh',
  'atan',
  'cos',
  'erf',
  'gelu',
  'gelu_tanh',
  'mish',
  'neg',
  'sin',
  'softplus',
  'softsign',
  'tanh',
] as const satisfies readonly Op[];
/** The same of functions of two and of many. */
const CONTINUOUS = ['add', 'sub', 'mul', 'div', 'prelu', 'min', 'max'] as const satisfies readonly BinaryFunction[];
const SUMS = [
  'mean',
  'sum',
  'l1',
  'l2',
  'sum_square',
  'log_sum_exp',
  'max',
  'min',
] as const satisfies readonly Reduction[];

const CHANNELS = [1, 2, 3, 4, 6, 8, 15, 16, 17, 32, 33, 65];
const MAX_ELEMENTS = 30_000;

/** A seeded network of 1 to `most` nodes of every kind, which fits its input; the same for the same seed. */
export function randomNetwork(seed: number, most = 14): RandomNetwork {
  return new Maker(new Random(seed)).make(most);
}

class Maker {
  private readonly tensors = new Map<string, Tensor>();
  private readonly nodes: GraphNode[] = [];
  private readonly shapes = new Map<string, Shape>();
  /** The same for one image, for which an engine makes its first plan. */
  private readonly ofOne = new Map<string, Shape>();

  constructor(private readonly random: Random) {}

  make(most: number): RandomNetwork {
    const { random } = this;
    const channels = random.pick(CHANNELS);
    const shape = [random.pick([1, 1, 1, 2, 3]), channels, this.side(), this.side()];
    this.shapes.set('x', shape);
    this.ofOne.set('x', [1, ...shape.slice(1)]);
    const wanted = random.int(1, most);
    // The first tells the channels where the graph does not.
    const teller = random.pick(['conv2d', 'batch_norm', 'bn_pad', 'squeeze_excite'] as const);
    const open = this.chance(0.3) && this.tryNode('x', teller) !== undefined;
    for (let tries = 0; this.nodes.length < wanted && tries < 20 * wanted; tries++) {
      if (this.chance(0.12)) this.block(this.value());
      else this.tryNode(this.value(), random.pick(OPS));
      if (this.shapes.get(this.latest())!.length === 2 && this.chance(0.3)) this.tryNode(this.latest(), 'linear');
    }
    while (this.nodes.length === 0) this.tryNode('x', random.pick(OPS));
    const last = this.nodes.at(-1)!.id;
    const more = this.nodes.map(({ id }) => id).filter((id) => id !== last && this.chance(0.15));
    const graph: Graph = {
      input: 'x',
      output: last,
      ...(more.length > 0 ? { outputs: [last, ...more] } : {}),
      nodes: this.nodes,
      ...(open ? {} : { inputShape: shape.slice(1) as [number, number, number] }),
    };
    return { graph, tensors: this.tensors, input: Tensor.f32(shape, random.floats(elementCount(shape))) };
  }

  private chance(share: number): boolean {
    return this.random.next() < share;
  }

  private side(): number {
    return this.random.pick([1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 16]);
  }

  /** A value to go on with, one of the last more often than not. */
  private value(): string {
    return this.chance(0.6) ? this.latest() : this.random.pick([...this.shapes.keys()]);
  }

  private latest(): string {
    return this.nodes.at(-1)?.id ?? 'x';
  }

  private tryNode(input: string, op: Op): string | undefined {
    const shape = this.shapes.get(input)!;
    if (shape.length !== 4 && OF_IMAGES.has(op)) return undefined;
    const made = this.maker[op](input, shape);
    return made === undefined ? undefined : this.add(input, op, made);
  }

  /** Adds a node where it fits. */
  private add(input: string, op: Op, { inputs = [input], ...fields }: Made): string | undefined {
    const node = { id: `n${this.nodes.length}_${op}`, op, inputs, ...fields } as unknown as GraphNode;
    let shape: Shape;
    let one: Shape;
    try {
      shape = nodeShape(node, this.shapes, this.tensors);
      one = nodeShape(node, this.ofOne, this.tensors);
    } catch {
      return undefined;
    }
    if (elementCount(shape) > MAX_ELEMENTS) return undefined;
    this.nodes.push(node);
    this.shapes.set(node.id, shape);
    this.ofOne.set(node.id, one);
    return node.id;
  }

  /** Branches of one value as they are trained, and their sum or concatenation: what is merged. */
  private block(input: string): void {
    if (this.shapes.get(input)!.length !== 4) return;
    const ends: string[] = [];
    for (let branch = this.random.int(2, 3); branch > 0; branch--) {
      let end = input;
      for (let length = this.random.int(0, 4); length > 0; length--) {
        end = this.tryNode(end, this.random.pick(AFFINE)) ?? end;
        if (this.chance(0.1)) end = this.tryNode(end, this.random.pick(['relu', 'clip', 'silu'] as const)) ?? end;
      }
      ends.push(end);
    }
    const [first, ...others] = ends as [string, ...string[]];
    let sum = first;
    for (const end of others) {
      if (this.chance(0.25)) sum = this.add(sum, 'concat', { inputs: [sum, end], axis: 1 }) ?? sum;
      else sum = this.add(sum, 'add', { inputs: [sum, end] }) ?? sum;
    }
  }

  private tensor(name: string, shape: Shape, values?: Float32Array): string {
    const key = `${name}.${this.tensors.size}`;
    const data = values ?? this.random.floats(elementCount(shape));
    this.tensors.set(key, Tensor.f32(shape, data));
    return key;
  }

  private positive(name: string, shape: Shape): string {
    return this.tensor(
      name,
      shape,
      this.random.floats(elementCount(shape), 0.3).map((value) => Math.abs(value) + 0.5),
    );
  }

  /** Of about the size that keeps values about 1. */
  private weight(shape: Shape): string {
    return this.tensor(
      'weight',
      shape,
      this.random.floats(elementCount(shape), 1.5 / Math.sqrt(elementCount(shape.slice(1)))),
    );
  }

  private bias(channels: number): string | null {
    return this.chance(0.5) ? this.tensor('bias', [channels]) : null;
  }

  private pair(low: number, high: number): readonly [number, number] {
    const first = this.random.int(low, high);
    return [first, this.chance(0.7) ? first : this.random.int(low, high)];
  }

  private sides(most: number): readonly number[] {
    if (this.chance(0.4)) return [0, 0];
    if (this.chance(0.7)) return this.pair(0, most);
    return [0, 0, 0, 0].map(() => this.random.int(0, most));
  }

  /** A number of groups that divides both. */
  private groups(a: number, b: number): number {
    const fits = [1, 2, 3, 4, 5, 8, 16, a].filter((groups) => a % groups === 0 && b % groups === 0);
    return this.chance(0.5) ? 1 : this.random.pick(fits);
  }

  private batchNorm(channels: number): Made {
    const prefix = `bn.${this.tensors.size}`;
    const affine = this.chance(0.8);
    const set = (part: string, key: string) => {
      this.tensors.set(`${prefix}.${part}`, this.tensors.get(key)!);
      this.tensors.delete(key);
    };
    set('running_var', this.positive('v', [channels]));
    set('running_mean', this.tensor('m', [channels]));
    if (affine) {
      set('weight', this.positive('w', [channels]));
      set('bias', this.tensor('b', [channels]));
    }
    return { prefix, eps: this.random.pick([0, 1e-5, 1e-3]), affine };
  }

  private window(): Made {
    const kernel = this.pair(1, 4);
    const stride = this.pair(1, 3);
    const dilation = this.chance(0.1) ? { dilation: this.pair(1, 2) } : {};
    const most = Math.floor(Math.min(...kernel) / 2);
    return { kernel, stride, padding: this.sides(most), ...dilation, ...(this.chance(0.2) ? { ceil_mode: true } : {}) };
  }

  private axes(rank: number): number[] {
    return Array.from({ length: rank }, (_, axis) => axis).filter(() => this.chance(0.4));
  }

  /** Another value of that shape, or the same. */
  private alike(shape: Shape): string | undefined {
    const fits = [...this.shapes].filter(([, other]) => other.join() === shape.join());
    return this.random.pick(fits)?.[0];
  }

  private readonly plain = (): Made => ({});

  private readonly maker: Readonly<Record<Op, (input: string, shape: Shape) => Made | undefined>> = {
    sizes: () => ({ values: [this.random.pick([1, 3, 7])], scalar: this.chance(0.5) }),
    conv2d: (_, [, c = 0]) => {
      const depthwise = this.chance(0.2);
      const out = depthwise ? c : this.random.pick(CHANNELS);
      const groups = depthwise ? c : this.groups(c, out);
      const kernel = this.chance(0.4) ? [1, 1] : this.chance(0.6) ? [3, 3] : this.pair(1, 5);
      return {
        weight: this.weight([out, c / groups, ...kernel]),
        bias: this.bias(out),
        stride: this.chance(0.6) ? [1, 1] : this.pair(1, 3),
        padding: this.sides(3),
        dilation: this.chance(0.8) ? [1, 1] : this.pair(1, 3),
        groups,
      };
    },
    conv_transpose2d: (_, [, c = 0]) => {
      const out = this.random.pick(CHANNELS.slice(0, 9));
      const groups = this.groups(c, out);
      const [stride, dilation] = [this.pair(1, 3), this.chance(0.7) ? ([1, 1] as const) : this.pair(1, 2)];
      return {
        weight: this.weight([c, out / groups, ...this.pair(1, 4)]),
        bias: this.bias(out),
        stride,
        padding: this.sides(2),
        output_padding: [this.random.int(0, stride[0] - 1), this.random.int(0, stride[1] - 1)],
        dilation,
        groups,
      };
    },
    batch_norm: (_, [, c = 0]) => this.batchNorm(c),
    bn_pad: (_, [, c = 0]) => ({ ...this.batchNorm(c), pad: this.random.int(0, 2) }),
    identity_conv1x1: (_, [, c = 0]) => {
      const groups = this.groups(c, c);
      return { weight: this.weight([c, c / groups, 1, 1]), groups };
    },
    avg_pool2d: () => ({ ...this.window(), count_include_pad: this.chance(0.5) }),
    max_pool2d: () => this.window(),
    lp_pool2d: () => ({ ...this.window(), power: this.random.int(1, 3) }),
    linear: (_, shape) => {
      const out = this.random.pick(CHANNELS);
      return shape.length === 2 ? { weight: this.weight([out, shape[1]!]), bias: this.bias(out) } : undefined;
    },
    squeeze_excite: (_, [, c = 0]) => {
      const [squeezed, prefix] = [this.random.pick([1, 2, 3, 16]), `se.${this.tensors.size}`];
      const set = (name: string, shape: Shape) => {
        const key = this.weight(shape);
        this.tensors.set(`${prefix}.${name}`, this.tensors.get(key)!);
        this.tensors.delete(key);
      };
      set('reduce.weight', [squeezed, c, 1, 1]);
      set('reduce.bias', [squeezed]);
      set('expand.weight', [c, squeezed, 1, 1]);
      set('expand.bias', [c]);
      return { reduce: `${prefix}.reduce`, expand: `${prefix}.expand`, activation: 'relu', gate: 'sigmoid' };
    },
    crop: () => ({ rows: this.pair(0, 2), cols: this.pair(0, 2) }),
    add: (input, shape) => {
      const other = this.alike(shape);
      return other === undefined ? undefined : { inputs: this.chance(0.5) ? [input, other] : [other, input] };
    },
    global_avg_pool: this.plain,
    hardswish: this.plain,
    relu: this.plain,
    sigmoid: this.plain,
    silu: this.plain,
    ...(Object.fromEntries(PLAIN.map((op) => [op, this.plain])) as Record<(typeof PLAIN)[number], () => Made>),
    elu: () => ({ alpha: this.random.pick([1, 0.5]) }),
    celu: () => ({ alpha: this.random.pick([1, 0.5, 2]) }),
    selu: () => ({ alpha: 1.6732632, gamma: 1.050701 }),
    thresholded_relu: () => ({ alpha: 0.3 }),
    shrink: () => ({ lambda: 0.5, bias: this.random.pick([0, 0.25]) }),
    is_inf: () => ({ negative: this.chance(0.5), positive: this.chance(0.5) }),
    flatten: (_, { length }) => (this.chance(0.3) ? {} : { axis: this.random.int(0, length) }),
    softmax: (_, { length }) =>
      this.chance(0.3) ? {} : { axis: this.random.int(0, length - 1), joint: this.chance(0.3) },
    leaky_relu: () => ({ slope: this.random.pick([0.1, 0.3, -0.5, 0, 2]) }),
    clip: () => ({
      min: this.random.pick([null, 0, -0.5, -1]),
      max: this.random.pick([null, 6, 1, 0.5]),
    }),
    hard_sigmoid: () => ({ alpha: this.random.pick([0.2, 1 / 6]), beta: 0.5 }),
    binary: (input, shape) => this.binary(input, shape),
    constant: (_, shape) => {
      const own = this.chance(0.5) ? shape : this.chance(0.5) ? shape.map((size) => (this.chance(0.5) ? 1 : size)) : [];
      return { inputs: [], tensor: this.tensor('constant', own) };
    },
    concat: (input, shape) => {
      const axis = this.chance(0.7) ? 1 : this.random.int(0, Math.max(0, shape.length - 1));
      const fits = [...this.shapes]
        .filter(
          ([, other]) => other.length === shape.length && other.every((size, i) => i === axis || size === shape[i]),
        )
        .map(([id]) => id);
      return { inputs: [input, ...Array.from({ length: this.random.int(0, 3) }, () => this.random.pick(fits))], axis };
    },
    transpose: (_, { length }) => {
      const perm = Array.from({ length }, (_, axis) => axis);
      for (let i = length - 1; i > 0; i--) {
        const j = this.random.int(0, i);
        [perm[i], perm[j]] = [perm[j]!, perm[i]!];
      }
      return { perm };
    },
    slice: (_, shape) => {
      const turned = shape.map(() => this.chance(0.1));
      const step = turned.map((back) => (back ? -1 : 1) * this.random.pick([1, 1, 1, 2, 3]));
      return {
        starts: turned.map((back, axis) =>
          back ? this.random.pick([-1, shape[axis]!, 99]) : this.random.pick([0, 0, 0, 1, -2]),
        ),
        ends: turned.map((back) => (back ? -99 : this.random.pick([99, 99, -1, 3]))),
        steps: step,
      };
    },
    pad: (_, shape) => {
      if (shape.length === 4 && this.chance(0.3)) {
        const [top, left, bottom, right] = [0, 0, 0, 0].map(() => this.random.int(this.chance(0.15) ? -1 : 0, 2));
        const frame = { before: [0, 0, top, left], after: [0, 0, bottom, right] };
        return { ...frame, mode: 'constant', value: 0, fill: this.tensor('fill', [shape[1]!]) };
      }
      const images = this.chance(0.6);
      const sides = () =>
        shape.map((_, axis) => (images && axis < 2 ? 0 : this.random.pick([0, 0, 1, 2, this.chance(0.2) ? -1 : 0])));
      return {
        before: sides(),
        after: sides(),
        mode: this.random.pick(PAD_MODES),
        value: this.random.pick([0, 0, 1.5, -2]),
      };
    },
    reshape: (_, shape) => {
      if (shape.length === 0) return { shape: [1, 1, 1, 1] };
      if (this.chance(0.4)) return { shape: [0, -1] };
      if (this.chance(0.4)) return { shape: shape.length < 3 ? [-1] : [0, ...shape.slice(1, -2), -1] };
      if (shape.length < 4) return { shape: [...shape, ...Array<number>(4 - shape.length).fill(1)] };
      return { shape: [shape[0]!, shape[1]!, shape[3]!, shape[2]!] };
    },
    squeeze: (_, shape) => ({ axes: shape.flatMap((size, axis) => (size === 1 && this.chance(0.6) ? [axis] : [])) }),
    unsqueeze: (_, shape) => ({ axes: this.axes(shape.length + 1).slice(0, 1) }),
    reduce: (_, shape) => {
      return { function: this.random.pick(SUMS), axes: this.axes(shape.length), keepdims: this.chance(0.6) };
    },
    matmul: (input, shape) => {
      const size = shape.at(-1);
      if (size === undefined) return undefined;
      const fits = [...this.shapes].filter(([, other]) => (other.length > 1 ? other.at(-2) : other[0]) === size);
      if (fits.length > 0 && this.chance(0.6)) return { inputs: [input, this.random.pick(fits)[0]] };
      const width = this.random.pick(CHANNELS);
      const tensor = this.tensor('matrix', [size, width], this.random.floats(size * width, 1 / Math.sqrt(size)));
      if (this.chance(0.5)) return { constant: tensor };
      const matrix = this.add(input, 'constant', { inputs: [], tensor });
      return matrix === undefined ? undefined : { inputs: [input, matrix] };
    },
    resize: (input) => {
      const like = [...this.shapes].filter(([, shape]) => shape.length === 4);
      const { random } = this;
      const sized = this.chance(0.4);
      const scaled = !sized || this.chance(0.2);
      return {
        inputs: this.chance(0.2) && like.length > 0 ? [input, random.pick(like)[0]] : [input],
        mode: random.pick(RESIZE_MODES),
        coordinates: random.pick(RESIZE_COORDINATES),
        nearest: random.pick(RESIZE_NEAREST),
        aspect: random.pick(RESIZE_ASPECTS),
        exclude_outside: this.chance(0.2),
        antialias: this.chance(0.2),
        cubic_a: random.pick([-0.75, -0.5]),
        extrapolation: random.pick([0, 1]),
        scales: scaled ? [random.pick([0.5, 1, 2, 1.3]), random.pick([0.5, 1, 2, 0.7])] : [0, 0],
        sizes: sized ? [random.int(1, 9), scaled ? 0 : random.int(1, 9)] : [0, 0],
        crop: this.chance(0.5) ? [0, 0, 1, 1] : [0.1, 0.2, 0.9, 0.7],
      };
    },
    where: (input, shape) => {
      const condition = this.add(input, 'binary', { function: 'greater', constant: this.tensor('constant', []) });
      const other = this.alike(shape);
      return condition === undefined || other === undefined ? undefined : { inputs: [condition, input, other] };
    },
    select_channels: (_, [, c = 0]) => ({
      channels: Array.from({ length: this.random.int(1, 20) }, () => this.random.int(0, c - 1)),
    }),
    depth_to_space: () => ({ block: this.pair(1, 3), channels_first: this.chance(0.5) }),
    space_to_depth: () => ({ block: this.pair(1, 3), channels_first: this.chance(0.5) }),
    expand: (_, shape) => {
      const own = shape.map((size) => (size === 1 ? this.random.int(1, 4) : this.random.pick([1, size])));
      return { shape: this.chance(0.3) && shape.length < 6 ? [this.random.int(1, 3), ...own] : own };
    },
    gather: (input, shape) => {
      if (shape.length === 0) return undefined;
      const axis = this.random.int(0, shape.length - 1);
      const own = Array.from({ length: this.random.int(0, 2) }, () => this.random.int(1, 4));
      return this.withIndices(input, own, shape[axis]!, (indices) => ({ inputs: [input, indices], axis }));
    },
    gather_elements: (input, shape) => {
      if (shape.length === 0) return undefined;
      const axis = this.random.int(0, shape.length - 1);
      const own = shape.map((size, i) => (i === axis ? this.random.int(1, 4) : i === 0 ? 1 : this.random.int(1, size)));
      return this.withIndices(input, own, shape[axis]!, (indices) => ({ inputs: [input, indices], axis }));
    },
    gather_nd: (input, shape) => {
      if (shape.length === 0) return undefined;
      const named = this.random.int(1, shape.length);
      const own = [this.random.int(1, 3), named];
      const most = Math.min(...shape.slice(0, named));
      return this.withIndices(input, own, most, (indices) => ({ inputs: [input, indices], batch_dims: 0 }));
    },
    scatter_elements: (input, shape) => {
      if (shape.length === 0) return undefined;
      const axis = this.random.int(0, shape.length - 1);
      const own = shape.map((size, i) => (i === axis ? this.random.int(1, 3) : i === 0 ? 1 : this.random.int(1, size)));
      return this.withIndices(input, own, shape[axis]!, (indices) => {
        const updates = this.add(input, 'constant', { inputs: [], tensor: this.tensor('updates', own) });
        return { inputs: [input, indices, updates!], axis, ...this.scatterFunction() };
      });
    },
    scatter_nd: (input, shape) => {
      if (shape.length === 0) return undefined;
      const named = this.random.int(1, shape.length);
      const count = this.random.int(1, 3);
      const most = Math.min(...shape.slice(0, named));
      return this.withIndices(input, [count, named], most, (indices) => {
        const tensor = this.tensor('updates', [count, ...shape.slice(named)]);
        const updates = this.add(input, 'constant', { inputs: [], tensor });
        return updates === undefined ? undefined : { inputs: [input, indices, updates], ...this.scatterFunction() };
      });
    },
    // Places of values between which rounding decides: a test of its own.
    top_places: () => undefined,
    trilu: (_, { length }) => (length < 2 ? undefined : { upper: this.chance(0.5), diagonal: this.random.int(-2, 2) }),
    cum_sum: (_, { length }) =>
      length === 0
        ? undefined
        : { axis: this.random.int(0, length - 1), exclusive: this.chance(0.4), reverse: this.chance(0.4) },
    grid_sample: (input, [n = 0]) => {
      const shape = [n, this.random.int(1, 5), this.random.int(1, 5), 2];
      const tensor = this.tensor('grid', shape, this.random.floats(elementCount(shape), 0.7));
      const grid = this.add(input, 'constant', { inputs: [], tensor });
      if (grid === undefined) return undefined;
      const [mode, padding] = [this.random.pick(GRID_MODES), this.random.pick(GRID_PADDINGS)];
      return { inputs: [input, grid], mode, padding, align_corners: this.chance(0.5) };
    },
    // Lists of what was found end a path of their own: a test of a whole network tells what is behind one.
    non_max_suppression: () => undefined,
    non_zero: () => undefined,
    recurrent: (_, shape) => {
      if (shape.length !== 3) return undefined;
      const fits = CELLS.flatMap((cell) => DIRECTIONS.map((direction) => ({ cell, direction }))).filter(
        (each) => shape[2]! % (gatesOf(each) * directionsOf(each)) === 0,
      );
      const made = this.random.pick(fits);
      const rows = shape[2]! / directionsOf(made);
      const units = rows / gatesOf(made);
      return { ...made, units, weight: this.weight([directionsOf(made), rows, units + 1]) };
    },
  };

  /** What reads `shape` indices of places among `size`, which are a constant. */
  private withIndices(
    input: string,
    shape: Shape,
    size: number,
    made: (indices: string) => Made | undefined,
  ): Made | undefined {
    const places = Float32Array.from({ length: elementCount(shape) }, () => this.random.int(-size, size - 1));
    const indices = this.add(input, 'constant', { inputs: [], tensor: this.tensor('indices', shape, places) });
    return indices === undefined ? undefined : made(indices);
  }

  private scatterFunction(): Made {
    return this.chance(0.5) ? {} : { function: this.random.pick(SCATTER_FUNCTIONS) };
  }

  private binary(input: string, shape: Shape): Made | undefined {
    const name = this.random.pick(CONTINUOUS);
    const safe = (of: Shape) => (name === 'div' ? this.positive('constant', of) : this.tensor('constant', of));
    if (name === 'div' || this.chance(0.5)) {
      const { length } = shape;
      const own = this.random.pick([
        shape,
        [],
        [1],
        shape.map((size, axis) => (axis === 1 ? size : 1)),
        shape.slice(this.random.int(0, length)).map((size) => (this.chance(0.3) ? 1 : size)),
        [...shape].map((size) => (this.chance(0.5) ? 1 : size)),
        ...(length < 5 ? [[2, ...shape.map(() => 1)]] : []),
      ]);
      const first = name !== 'div' && this.chance(0.3) ? { constant_first: true } : {};
      return { function: name, constant: safe(own), ...first };
    }
    const meets = (other: Shape) =>
      [...other]
        .reverse()
        .every((size, i) => size === 1 || size === (shape.at(-1 - i) ?? size) || shape.at(-1 - i) === 1);
    const other = this.random.pick([...this.shapes].filter(([, each]) => meets(each)))[0];
    return { function: name, inputs: this.chance(0.5) ? [input, other] : [other, input] };
  }
}

const OF_IMAGES: ReadonlySet<Op> = new Set<Op>([
  'avg_pool2d',
  'batch_norm',
  'bn_pad',
  'conv2d',
  'conv_transpose2d',
  'crop',
  'depth_to_space',
  'global_avg_pool',
  'grid_sample',
  'identity_conv1x1',
  'lp_pool2d',
  'max_pool2d',
  'resize',
  'space_to_depth',
  'squeeze_excite',
]);
const AFFINE = [
  'conv2d',
  'conv2d',
  'conv2d',
  'identity_conv1x1',
  'batch_norm',
  'bn_pad',
  'avg_pool2d',
  'crop',
] as const;

/** Those that networks are made of more often. */
const OPS: readonly Op[] = [
  ...([
    'conv2d',
    'conv2d',
    'conv2d',
    'conv2d',
    'batch_norm',
    'bn_pad',
    'add',
    'add',
    'concat',
    'relu',
    'pad',
    'crop',
  ] as const),
  ...([
    'add',
    'avg_pool2d',
    'batch_norm',
    'binary',
    'bn_pad',
    'clip',
    'concat',
    'constant',
    'conv2d',
    'conv_transpose2d',
    'crop',
    'cum_sum',
    'depth_to_space',
    'elu',
    'erf',
    'expand',
    'celu',
    'flatten',
    'gather',
    'gather_elements',
    'gather_nd',
    'global_avg_pool',
    'grid_sample',
    'hard_sigmoid',
    'hardswish',
    'identity_conv1x1',
    'leaky_relu',
    'linear',
    'lp_pool2d',
    'matmul',
    'max_pool2d',
    'pad',
    'recurrent',
    'reduce',
    'relu',
    'reshape',
    'resize',
    'scatter_elements',
    'scatter_nd',
    'sigmoid',
    'silu',
    'slice',
    'softmax',
    'space_to_depth',
    'squeeze',
    'squeeze_excite',
    'selu',
    'transpose',
    'trilu',
    'unsqueeze',
  ] as const satisfies readonly Op[]),
  ...SMOOTH,
];
