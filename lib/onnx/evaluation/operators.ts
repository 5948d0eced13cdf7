import { DTYPES } from '../../tensor/dtype';
import { floatValues } from '../../tensor/half';
import { elementCount, Tensor } from '../../tensor/tensor';
import { exactInts, floatOf, floatsOf, hasAttribute, intOf, intsOf, isOfOnnx, tensorAttribute } from '../attributes';
import type { Node } from '../schema/onnx_pb';
import { dtypeOf, tensorOf } from '../values';
import {
  type BinaryRule,
  binary,
  compare,
  divided,
  integerWriter,
  isFloat,
  power,
  remainder,
  roundedToEven,
  type UnaryRule,
  unary,
} from './arithmetic';
import type { Budget } from './budget';
import { cast } from './cast';
import { integers, listOf } from './elements';
import {
  chosen,
  concatenated,
  gathered,
  reshaped,
  sliced,
  split,
  spread,
  squeezed,
  tiled,
  transposed,
  unsqueezed,
} from './movement';
import { batchNormalized } from './normalization';
import { cumulated, type Reduction, reduced } from './reductions';

type Inputs = readonly (Tensor | undefined)[];
type Result = Tensor | readonly Tensor[] | undefined;

/** How an operator is evaluated; undefined where it cannot be: then its value is not known, and the node stays. */
interface Operator {
  /** Inputs that it cannot do without, and all that it has. Those that are left out are undefined. */
  readonly inputs: readonly [least: number, most: number];
  readonly evaluate: (node: Node, inputs: Inputs, budget: Budget) => Result;
}

/**
 * The values that a node makes of constants. What is malformed, or beyond the budget, is not known.
 *
 * @param inputs undefined where they are left out
 * @throws ERR_REPFUSE_GRAPH for an attribute of another type, ERR_REPFUSE_FORMAT for a malformed tensor in one
 */
export function evaluateNode(node: Node, inputs: Inputs, budget: Budget): readonly Tensor[] | undefined {
  const operator = OPERATORS.get(node.opType);
  if (operator === undefined || !hasItsInputs(node, operator)) return undefined;
  const made = operator.evaluate(node, inputs, budget);
  const results = made instanceof Tensor ? [made] : made;
  return results !== undefined && results.length >= node.output.length ? results : undefined;
}

/** Whether a node could have a value that is always the same. */
export function canEvaluate(node: Node): boolean {
  const operator = OPERATORS.get(node.opType);
  return isOfOnnx(node.domain) && operator !== undefined && hasItsInputs(node, operator);
}

function hasItsInputs({ input }: Node, { inputs: [least, most] }: Operator): boolean {
  return input.length <= most && input.length >= least && input.slice(0, least).every((name) => name !== '');
}

const MANY = Number.POSITIVE_INFINITY;

function operator(least: number, most: number, evaluate: Operator['evaluate']): Operator {
  return { inputs: [least, most], evaluate };
}

function ofTwo(rule: BinaryRule | ((node: Node) => BinaryRule)): Operator {
  return operator(2, 2, (node, [a, b], budget) =>
    binary(a!, b!, typeof rule === 'function' ? rule(node) : rule, budget),
  );
}

function ofMany(rule: BinaryRule): Operator {
  return operator(1, MANY, (_, inputs, budget) => inputs.reduce((sum, x) => sum && x && binary(sum, x, rule, budget)));
}

function ofOne(rule: UnaryRule): Operator {
  return operator(1, 1, (_, [x], budget) => unary(x!, rule, budget));
}

/** Numbers (bigints at run time, where they are integers) or, for those marked so, truth values. */
function comparison(test: (x: number, y: number) => boolean, ofTruth = false): Operator {
  return operator(2, 2, (_, [a, b], budget) =>
    ofTruth && a!.dtype !== 'BOOL' ? undefined : compare(a!, b!, test, budget),
  );
}

function reduction(how: Reduction): Operator {
  return operator(1, 2, (node, [x, given], budget) => {
    const axes = given === undefined ? intsOf(node, 'axes') : listOf(given);
    if (given !== undefined && axes === undefined) return undefined;
    const isNone = axes === undefined || axes.length === 0;
    if (isNone && intOf(node, 'noop_with_empty_axes', 0) !== 0) return x;
    return reduced(x!, isNone ? undefined : axes, intOf(node, 'keepdims', 1) !== 0, how, budget);
  });
}

/** A list given as an input, else as an attribute; undefined where it is neither, null where it is none that can be used. */
function listed(node: Node, tensor: Tensor | undefined, name: string): readonly number[] | undefined | null {
  return tensor === undefined ? intsOf(node, name) : (listOf(tensor) ?? null);
}

const larger = (x: bigint, y: bigint) => (x > y ? x : y);
const smaller = (x: bigint, y: bigint) => (x < y ? x : y);
const isBelow = (x: number) => x < 0;

type OfShape = (node: Node, given: Pick<Tensor, 'shape' | 'dtype'>, budget: Budget) => Tensor | undefined;

/** What asks for nothing but shape and type of its input. */
const OF_SHAPES: ReadonlyMap<string, OfShape> = new Map<string, OfShape>([
  ['Shape', (node, { shape }) => shapeOf(node, shape)],
  ['Size', (_, { shape }) => integers([elementCount(shape)], [])],
  ['EyeLike', eyeLike],
]);

const OPERATORS: ReadonlyMap<string, Operator> = new Map<string, Operator>([
  ['Constant', operator(0, 0, (node) => constantOf(node))],
  ['Identity', operator(1, 1, (_, [x]) => x)],
  ...[...OF_SHAPES].map(([type, make]): [string, Operator] => [
    type,
    operator(1, 1, (node, [x], budget) => make(node, x!, budget)),
  ]),
  ['Cast', operator(1, 1, (node, [x], budget) => cast(x!, dtypeOf(intOf(node, 'to', 0)), budget))],
  ['CastLike', operator(2, 2, (_, [x, like], budget) => cast(x!, like!.dtype, budget))],
  ['Expand', operator(2, 2, (_, [x, shape], budget) => withList(shape, (list) => spread(x!, list, budget)))],
  ['Tile', operator(2, 2, (_, [x, repeats], budget) => withList(repeats, (list) => tiled(x!, list, budget)))],
  [
    'Reshape',
    operator(2, 2, (node, [x, shape]) =>
      withList(shape, (list) => reshaped(x!, list, intOf(node, 'allowzero', 0) !== 0)),
    ),
  ],
  [
    'Unsqueeze',
    operator(1, 2, (node, [x, given]) => {
      const axes = listed(node, given, 'axes');
      return axes ? unsqueezed(x!, axes) : undefined;
    }),
  ],
  [
    'Squeeze',
    operator(1, 2, (node, [x, given]) => {
      const axes = listed(node, given, 'axes');
      return axes === null ? undefined : squeezed(x!, axes);
    }),
  ],
  [
    'Concat',
    operator(1, MANY, (node, inputs, budget) =>
      inputs.includes(undefined) ? undefined : concatenated(inputs as Tensor[], intOf(node, 'axis', 0), budget),
    ),
  ],
  ['Gather', operator(2, 2, (node, [x, at], budget) => gathered(x!, at!, intOf(node, 'axis', 0), budget))],
  ['Slice', operator(1, 5, sliceOf)],
  ['Split', operator(1, 2, splitOf)],
  ['Transpose', operator(1, 1, (node, [x], budget) => transposed(x!, intsOf(node, 'perm'), budget))],
  ['Where', operator(3, 3, (_, [condition, a, b], budget) => chosen(condition!, a!, b!, budget))],
  ['Range', operator(3, 3, (_, bounds, budget) => rangeOf(bounds as Tensor[], budget))],
  ['ConstantOfShape', operator(1, 1, constantOfShape)],
  ['BatchNormalization', operator(5, 5, batchNormOf)],
  ['Equal', comparison((x, y) => x === y)],
  ['Less', comparison((x, y) => x < y)],
  ['LessOrEqual', comparison((x, y) => x <= y)],
  ['Greater', comparison((x, y) => x > y)],
  ['GreaterOrEqual', comparison((x, y) => x >= y)],
  ['And', comparison((x, y) => Boolean(x) && Boolean(y), true)],
  ['Or', comparison((x, y) => Boolean(x) || Boolean(y), true)],
  ['Xor', comparison((x, y) => Boolean(x) !== Boolean(y), true)],
  ['Add', ofTwo({ float: (x, y) => x + y, integer: (x, y) => x + y })],
  ['Sub', ofTwo({ float: (x, y) => x - y, integer: (x, y) => x - y })],
  ['Mul', ofTwo({ float: (x, y) => x * y, integer: (x, y) => x * y })],
  ['Div', ofTwo({ float: (x, y) => x / y, integer: divided })],
  [
    'Mod',
    ofTwo((node) => {
      const fmod = intOf(node, 'fmod', 0) !== 0;
      return { ...(fmod ? { float: (x: number, y: number) => x % y } : {}), integer: (x, y) => remainder(x, y, fmod) };
    }),
  ],
  ['Pow', operator(2, 2, (_, [base, exponent], budget) => powerOf(base!, exponent!, budget))],
  ['Max', ofMany({ float: Math.max, integer: larger })],
  ['Min', ofMany({ float: Math.min, integer: smaller })],
  ['Sum', ofMany({ float: (x, y) => x + y })],
  ['Neg', ofOne({ float: (x) => -x, integer: (x) => -x })],
  ['Abs', ofOne({ float: Math.abs, integer: (x) => (x < 0n ? -x : x) })],
  ['Floor', ofOne({ float: Math.floor })],
  ['Ceil', ofOne({ float: Math.ceil })],
  ['Round', ofOne({ float: roundedToEven })],
  ['Sqrt', ofOne({ float: Math.sqrt })],
  ['Reciprocal', ofOne({ float: (x) => 1 / x })],
  ['Relu', ofOne({ float: (x) => (isBelow(x) ? 0 : x), integer: (x) => larger(x, 0n) })],
  ['Not', operator(1, 1, (_, [x], budget) => notOf(x!, budget))],
  ['Clip', operator(1, 3, clipOf)],
  ['ReduceSum', reduction({ float: (sum, x) => sum + x, integer: (sum, x) => sum + x, start: 0 })],
  ['ReduceProd', reduction({ float: (sum, x) => sum * x, integer: (sum, x) => sum * x, start: 1 })],
  ['ReduceMean', reduction({ float: (sum, x) => sum + x, start: 0, finish: (sum, count) => sum / count })],
  ['ReduceMax', reduction({ float: Math.max, integer: larger, start: -Infinity })],
  ['ReduceMin', reduction({ float: Math.min, integer: smaller, start: Infinity })],
  ['ReduceSumSquare', reduction({ float: (sum, x) => sum + x * x, integer: (sum, x) => sum + x * x, start: 0 })],
  ['ReduceL2', reduction({ float: (sum, x) => sum + x * x, start: 0, finish: Math.sqrt })],
  [
    'CumSum',
    operator(2, 2, (node, [x, axis], budget) => {
      const [at, ...more] = listOf(axis!) ?? [];
      if (at === undefined || more.length > 0) return undefined;
      return cumulated(x!, at, intOf(node, 'exclusive', 0) !== 0, intOf(node, 'reverse', 0) !== 0, budget);
    }),
  ],
]);

function withList(tensor: Tensor | undefined, make: (list: readonly number[]) => Result): Result {
  const list = tensor && listOf(tensor);
  return list && make(list);
}

/** Ones along a diagonal. */
function eyeLike(node: Node, { shape, dtype }: Pick<Tensor, 'shape' | 'dtype'>, budget: Budget): Tensor | undefined {
  const [rows = 0, columns = 0, ...more] = shape;
  const type = hasAttribute(node, 'dtype') ? dtypeOf(intOf(node, 'dtype', 1)) : dtype;
  const eye = more.length > 0 || shape.length < 2 ? undefined : budget.allocate('F32', shape);
  if (eye === undefined || type === undefined) return undefined;
  const first = intOf(node, 'k', 0);
  for (let row = Math.max(0, -first); row < rows && row + first < columns; row++) eye[row * columns + row + first] = 1;
  return cast(new Tensor('F32', shape, eye), type, budget);
}

/** The value of a node that asks for nothing but shape and type. */
export function evaluateOfShape(node: Node, given: Pick<Tensor, 'shape' | 'dtype'>, budget: Budget) {
  return OF_SHAPES.get(node.opType)?.(node, given, budget);
}

/** Whether a node asks for nothing but the shape and type of its input. */
export function isOfShape({ opType }: Node): boolean {
  return OF_SHAPES.has(opType);
}

/** What a Shape tells of a shape. */
export function shapeOf(node: Node, shape: readonly number[]): Tensor {
  return integers(sizesTold(node, shape));
}

/** The sizes of which a Shape tells. */
export function sizesTold<S>(node: Node, shape: readonly S[]): readonly S[] {
  const end = hasAttribute(node, 'end') ? intOf(node, 'end', 0) : shape.length;
  return shape.slice(intOf(node, 'start', 0), end);
}

function constantOf(node: Node): Tensor | undefined {
  const tensor = tensorAttribute(node, 'value');
  if (tensor !== undefined) return tensorOf(tensor);
  const [one] = exactInts(node, 'value_int', 'one') ?? [];
  if (one !== undefined) return new Tensor('I64', [], BigInt64Array.of(one));
  const whole = exactInts(node, 'value_ints', 'list');
  if (whole !== undefined) return new Tensor('I64', [whole.length], BigInt64Array.from(whole));
  if (hasAttribute(node, 'value_float')) return Tensor.f32([], [floatOf(node, 'value_float', 0)]);
  const floats = floatsOf(node, 'value_floats');
  return floats === undefined || floats.length === 0 ? undefined : Tensor.f32([floats.length], [...floats]);
}

function sliceOf(node: Node, [x, first, last, along, by]: Inputs, budget: Budget): Result {
  const [starts, ends] = [listed(node, first, 'starts'), listed(node, last, 'ends')];
  const [axes, steps] = [listed(node, along, 'axes'), listed(node, by, 'steps')];
  if (!starts || !ends || axes === null || steps === null) return undefined;
  return sliced(x!, { starts, ends, axes, steps }, budget);
}

function splitOf(node: Node, [x, given]: Inputs, budget: Budget): Result {
  const sizes = listed(node, given, 'split');
  const axis = intOf(node, 'axis', 0);
  const whole = x!.shape.at(axis);
  if (sizes === null || whole === undefined) return undefined;
  return split(x!, axis, splitSizes(node, whole, sizes), budget);
}

/** Sizes of the parts that a Split makes. */
export function splitSizes(node: Node, size: number, given: readonly number[] | undefined): readonly number[] {
  if (given !== undefined) return given;
  const parts = node.output.length;
  const each = Math.ceil(size / parts);
  return Array.from({ length: parts }, (_, i) => Math.max(0, Math.min(each, size - i * each)));
}

function rangeOf(bounds: readonly Tensor[], budget: Budget): Result {
  const [first] = bounds as [Tensor];
  if (!bounds.every(({ dtype, size }) => dtype === first.dtype && size === 1)) return undefined;
  if (DTYPES[first.dtype].floating) return rangeOfFloats(bounds, budget);
  if (first.dtype !== 'I64' && first.dtype !== 'I32') return undefined;
  const [start, end, step] = bounds.map(({ data }) => BigInt(data[0]!)) as [bigint, bigint, bigint];
  if (step === 0n) return undefined;
  const span = step > 0n ? end - start : start - end;
  const stride = step > 0n ? step : -step;
  const count = span <= 0n ? 0 : Number((span + stride - 1n) / stride);
  const data = budget.allocate(first.dtype, [count]);
  if (data === undefined) return undefined;
  const write = integerWriter(data, first.dtype);
  for (let i = 0; i < count; i++) write(i, start + BigInt(i) * step);
  return new Tensor(first.dtype, [count], data);
}

/** Each from the start, in float64: steps that are added up one by one are rounded as often. */
function rangeOfFloats(bounds: readonly Tensor[], budget: Budget): Result {
  const [start, end, step] = bounds.map((bound) => floatValues(bound)[0]) as [number, number, number];
  const count = Math.max(0, Math.ceil((end - start) / step));
  const data = Number.isFinite(step) && Number.isSafeInteger(count) ? budget.allocate('F64', [count]) : undefined;
  if (data === undefined) return undefined;
  for (let i = 0; i < count; i++) data[i] = start + i * step;
  return cast(new Tensor('F64', [count], data), bounds[0]!.dtype, budget);
}

function batchNormOf(node: Node, [x, ...statistics]: Inputs, budget: Budget): Result {
  if (intOf(node, 'spatial', 1) === 0) return undefined;
  const eps = floatOf(node, 'epsilon', Math.fround(1e-5));
  const momentum = floatOf(node, 'momentum', Math.fround(0.9));
  const how = intOf(node, 'training_mode', 0) === 0 ? { eps } : { eps, momentum };
  return batchNormalized(x!, statistics as Tensor[], how, budget);
}

function constantOfShape(node: Node, [sizes]: Inputs, budget: Budget): Result {
  const proto = tensorAttribute(node, 'value');
  const value = proto === undefined ? Tensor.f32([1], [0]) : tensorOf(proto);
  if (value?.size !== 1) return undefined;
  return withList(sizes, (shape) => {
    const one = new Tensor(value.dtype, [], value.data);
    return shape.every((size) => size >= 0) ? spread(one, shape, budget) : undefined;
  });
}

function powerOf(base: Tensor, exponent: Tensor, budget: Budget): Result {
  if (isFloat(exponent.dtype) && !isFloat(base.dtype)) return undefined;
  const alike = cast(exponent, base.dtype, budget);
  return alike && binary(base, alike, { float: (x, y) => x ** y, integer: power }, budget);
}

function notOf(x: Tensor, budget: Budget): Result {
  const data = x.dtype === 'BOOL' ? budget.allocate('BOOL', x.shape) : undefined;
  if (data === undefined) return undefined;
  for (let i = 0; i < data.length; i++) data[i] = x.data[i] ? 0 : 1;
  return new Tensor('BOOL', x.shape, data);
}

function clipOf(node: Node, [x, low, high]: Inputs, budget: Budget): Result {
  const bound = (tensor: Tensor | undefined, name: string) =>
    tensor ?? (hasAttribute(node, name) ? Tensor.f32([], [floatOf(node, name, 0)]) : undefined);
  const [min, max] = [bound(low, 'min'), bound(high, 'max')];
  if ([min, max].some((each) => each !== undefined && each.shape.length !== 0)) return undefined;
  const raised = min === undefined ? x : binary(x!, min, { float: Math.max, integer: larger }, budget);
  return max === undefined || raised === undefined
    ? raised
    : binary(raised, max, { float: Math.min, integer: smaller }, budget);
}
