import {
  ceilOf,
  floorOf,
  greater,
  isSame,
  leastOf,
  lesser,
  minus,
  product,
  type Size,
  type Sizes,
  sum,
  times,
  truncated,
} from '../../sizes/size';
import { DTYPES, type DType } from '../../tensor/dtype';
import { elementCount, Tensor } from '../../tensor/tensor';
import { intOf, intsOf } from '../attributes';
import type { Node } from '../schema/onnx_pb';
import { dtypeOf, numbersOf } from '../values';
import type { Budget } from './budget';
import { integers, metShape } from './elements';
import { spread } from './movement';
import { evaluateNode, sizesTold } from './operators';

/** A value of shape arithmetic whose entries depend on the open sizes of the inputs. */
export interface OpenList {
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly entries: readonly Quotient[];
}

/** `of` / `by`, not rounded; `by` is positive. */
interface Quotient {
  readonly of: Size;
  readonly by: Size;
}

/** What is known of a value before the network runs. */
export type KnownValue = Tensor | OpenList;

/** More entries than shape arithmetic ever has. */
const MAX_ENTRIES = 4096;

export function isOpenList(value: KnownValue): value is OpenList {
  return !(value instanceof Tensor);
}

/** What a Shape tells of a shape. */
export function openShapeOf(node: Node, shape: Sizes): KnownValue {
  const sizes = sizesTold(node, shape);
  return closed({ dtype: 'I64', shape: [sizes.length], entries: sizes.map(whole) });
}

/** What a Size tells of a shape. */
export function openCountOf(shape: Sizes): KnownValue {
  return closed({ dtype: 'I64', shape: [], entries: [whole(product(shape))] });
}

/** The entries as sizes; undefined where one is a fraction. */
export function sizesOf(value: KnownValue): Sizes | undefined {
  if (!isOpenList(value)) return value.size > MAX_ENTRIES ? undefined : numbersOf(value);
  const sizes = value.entries.map(({ of, by }) => (by === 1 ? of : undefined));
  return sizes.includes(undefined) ? undefined : (sizes as Sizes);
}

/** The one entry of a value as a quotient of two sizes. */
export function quotientsOf(value: KnownValue): readonly (readonly [Size, Size])[] | undefined {
  return entriesOf(value)?.map(({ of, by }) => [of, by] as const);
}

/**
 * What a node makes of values of which some are open lists. What is not arithmetic on sizes, or beyond the budget, is not known.
 *
 * @param inputs undefined where they are left out
 */
export function evaluateOpen(
  node: Node,
  inputs: readonly (KnownValue | undefined)[],
  budget: Budget,
): readonly KnownValue[] | undefined {
  if (!budget.spend(effortOf(inputs))) return undefined;
  const moved = MOVED.get(node.opType);
  if (moved !== undefined) return move(node, inputs, moved, budget);
  const made = make(node, inputs, budget);
  return made && [isOpenList(made) ? closed(made) : made];
}

/** By the length of what is computed with: a file could ask for arithmetic on long expressions again and again. */
function effortOf(inputs: readonly (KnownValue | undefined)[]): number {
  const lists = inputs.filter((input) => input !== undefined && isOpenList(input)) as readonly OpenList[];
  const lengthOf = (size: Size) => (typeof size === 'number' ? 1 : size.text.length);
  return lists.reduce(
    (sum, { entries }) => sum + entries.reduce((own, { of, by }) => own + lengthOf(of) + lengthOf(by), 16),
    0,
  );
}

/** Operators that move entries, and which of their inputs hold them. */
const MOVED: ReadonlyMap<string, readonly number[] | 'all'> = new Map<string, readonly number[] | 'all'>([
  ['Concat', 'all'],
  ['Expand', [0]],
  ['Flatten', [0]],
  ['Gather', [0]],
  ['Identity', [0]],
  ['Reshape', [0]],
  ['Slice', [0]],
  ['Split', [0]],
  ['Squeeze', [0]],
  ['Tile', [0]],
  ['Transpose', [0]],
  ['Unsqueeze', [0]],
  ['Where', [1, 2]],
]);

/** Entries are moved as integers that name them. */
function move(
  node: Node,
  inputs: readonly (KnownValue | undefined)[],
  places: readonly number[] | 'all',
  budget: Budget,
): readonly KnownValue[] | undefined {
  const entries: Quotient[] = [];
  const holds = (i: number) => places === 'all' || places.includes(i);
  const dtype = inputs.find((input, i) => input !== undefined && holds(i))?.dtype;
  const named: (Tensor | undefined)[] = [];
  for (const [i, input] of inputs.entries()) {
    if (input === undefined || !holds(i)) {
      if (input !== undefined && isOpenList(input)) return undefined; // what it moves by is not known
      named.push(input);
      continue;
    }
    const own = entriesOf(input);
    if (own === undefined) return undefined;
    named.push(
      integers(
        own.map((_, at) => entries.length + at),
        input.shape,
      ),
    );
    entries.push(...own);
  }
  return evaluateNode(node, named, budget)?.map(({ shape, data }) =>
    closed({ dtype: dtype!, shape, entries: Array.from(data as BigInt64Array, (at) => entries[Number(at)]!) }),
  );
}

type Rule = (a: Quotient, b: Quotient, isFloat: boolean, node: Node) => Quotient | undefined;

const BINARY: Readonly<Record<string, Rule>> = {
  Add: added,
  Sub: (a, b) => added(a, { of: times(-1, b.of), by: b.by }),
  Mul: (a, b) => quotient(times(a.of, b.of), times(a.by, b.by)),
  Div: (a, b, isFloat) => {
    if (!(leastOf(b.of) > 0)) return undefined;
    return isFloat ? quotient(times(a.of, b.by), times(a.by, b.of)) : whole(truncated(a.of, b.of));
  },
  Mod: (a, b, isFloat, node) => {
    if (isFloat || !(leastOf(b.of) > 0)) return undefined;
    const count = intOf(node, 'fmod', 0) === 0 ? floorOf(a.of, b.of) : truncated(a.of, b.of);
    return whole(minus(a.of, times(b.of, count)));
  },
  Min: (a, b) => (a.by === 1 && b.by === 1 ? whole(lesser(a.of, b.of)) : undefined),
  Max: (a, b) => (a.by === 1 && b.by === 1 ? whole(greater(a.of, b.of)) : undefined),
};

/** Of the least and the greatest that a difference can be, where it is decided. */
const COMPARISONS: Readonly<Record<string, (least: number, most: number) => boolean | undefined>> = {
  Equal: (least, most) => (least > 0 || most < 0 ? false : least === 0 && most === 0 ? true : undefined),
  Greater: (least, most) => (least > 0 ? true : most <= 0 ? false : undefined),
  GreaterOrEqual: (least, most) => (least >= 0 ? true : most < 0 ? false : undefined),
  Less: (least, most) => (most < 0 ? true : least >= 0 ? false : undefined),
  LessOrEqual: (least, most) => (most <= 0 ? true : least > 0 ? false : undefined),
};

const UNARY: Readonly<Record<string, (x: Quotient) => Quotient | undefined>> = {
  Neg: ({ of, by }) => ({ of: times(-1, of), by }),
  Floor: ({ of, by }) => whole(floorOf(of, by)),
  Ceil: ({ of, by }) => whole(ceilOf(of, by)),
  Round: (x) => (x.by === 1 ? x : undefined),
  Abs: (x) => (leastOf(x.of) >= 0 ? x : undefined),
  Relu: ({ of, by }) => (by === 1 ? whole(greater(of, 0)) : undefined),
};

const FOLDS: Readonly<Record<string, (a: Size, b: Size) => Size>> = {
  ReduceProd: times,
  ReduceSum: (a, b) => sum(a, b),
  ReduceMax: greater,
  ReduceMin: lesser,
};

function make(node: Node, inputs: readonly (KnownValue | undefined)[], budget: Budget): KnownValue | undefined {
  const { opType } = node;
  const [a, b] = inputs;
  if (a === undefined) return undefined;
  if (opType === 'Shape') return openShapeOf(node, a.shape); // how many entries there are
  if (opType === 'Size') return openCountOf(a.shape);
  if (opType === 'Cast' || opType === 'CastLike') {
    const to = opType === 'Cast' ? dtypeOf(intOf(node, 'to', 0)) : b?.dtype;
    return isOpenList(a) && to !== undefined ? castTo(a, to) : undefined;
  }
  const unary = Object.hasOwn(UNARY, opType) ? UNARY[opType]! : undefined;
  if (unary !== undefined) return listOf(a.dtype, a.shape, entriesOf(a)?.map(unary));
  const fold = Object.hasOwn(FOLDS, opType) ? FOLDS[opType]! : undefined;
  if (fold !== undefined) return folded(node, a, b, fold);
  if (b === undefined || inputs.length > 2) return undefined;
  const pairs = pairsOf(a, b, budget);
  if (pairs === undefined) return undefined;
  const isFloat = DTYPES[a.dtype].floating;
  const rule = Object.hasOwn(BINARY, opType) ? BINARY[opType]! : undefined;
  if (rule !== undefined)
    return listOf(
      a.dtype,
      pairs.shape,
      pairs.entries.map(([x, y]) => rule(x, y, isFloat, node)),
    );
  const compare = Object.hasOwn(COMPARISONS, opType) ? COMPARISONS[opType]! : undefined;
  if (compare === undefined) return undefined;
  const decided = pairs.entries.map(([x, y]) => {
    const difference = minus(times(x.of, y.by), times(y.of, x.by));
    return compare(leastOf(difference), -leastOf(times(-1, difference)));
  });
  if (decided.includes(undefined)) return undefined;
  return new Tensor('BOOL', pairs.shape, Uint8Array.from(decided as boolean[], Number));
}

function castTo(list: OpenList, to: DType): OpenList | undefined {
  if (to === 'BOOL') return undefined;
  const { floating } = DTYPES[to];
  const entries = list.entries.map((entry) => (floating ? entry : whole(truncated(entry.of, entry.by))));
  return { ...list, dtype: to, entries };
}

/** Of all entries, or of those of a list. */
function folded(
  node: Node,
  x: KnownValue,
  axesGiven: KnownValue | undefined,
  fold: (a: Size, b: Size) => Size,
): OpenList | undefined {
  if (axesGiven !== undefined && isOpenList(axesGiven)) return undefined;
  const axes = axesGiven === undefined ? intsOf(node, 'axes') : numbersOf(axesGiven);
  const sizes = sizesOf(x);
  if (sizes === undefined || x.shape.length !== 1 || sizes.length === 0) return undefined;
  if (axes !== undefined && axes.length === 0 && intOf(node, 'noop_with_empty_axes', 0) !== 0) return undefined;
  const shape = intOf(node, 'keepdims', 1) !== 0 ? [1] : [];
  return { dtype: x.dtype, shape, entries: [whole(sizes.reduce(fold))] };
}

function pairsOf(a: KnownValue, b: KnownValue, budget: Budget) {
  const [ofA, ofB] = [entriesOf(a), entriesOf(b)];
  if (ofA === undefined || ofB === undefined) return undefined;
  const names = [a, b].map(({ shape }) => integers([...Array(elementCount(shape)).keys()], shape));
  const shape = metShape(names);
  if (shape === undefined || elementCount(shape) > MAX_ENTRIES) return undefined;
  const [first, second] = names.map((tensor) => spread(tensor, shape, budget));
  if (first === undefined || second === undefined) return undefined;
  const entries = Array.from(first.data as BigInt64Array, (at, i) => {
    return [ofA[Number(at)]!, ofB[Number((second.data as BigInt64Array)[i])]!] as const;
  });
  return { shape, entries };
}

function listOf(
  dtype: DType,
  shape: readonly number[],
  entries: readonly (Quotient | undefined)[] | undefined,
): OpenList | undefined {
  if (entries === undefined || entries.includes(undefined)) return undefined;
  return { dtype, shape, entries: entries as readonly Quotient[] };
}

function entriesOf(value: KnownValue): readonly Quotient[] | undefined {
  if (isOpenList(value)) return value.entries;
  if (value.size > MAX_ENTRIES || value.dtype === 'BOOL') return undefined;
  const entries = numbersOf(value).map(quotientOf);
  return entries.includes(undefined) ? undefined : (entries as Quotient[]);
}

/** A number as a whole number over a power of two: of few digits, so that products stay exact. */
function quotientOf(value: number): Quotient | undefined {
  for (let by = 1; by <= 2 ** 12; by *= 2) {
    if (Number.isSafeInteger(value * by)) return { of: value * by, by };
  }
  return undefined;
}

function whole(of: Size): Quotient {
  return { of, by: 1 };
}

function added(a: Quotient, b: Quotient): Quotient {
  return quotient(sum(times(a.of, b.by), times(b.of, a.by)), times(a.by, b.by));
}

/** In lowest terms as far as that is known. */
function quotient(of: Size, by: Size): Quotient {
  const floor = floorOf(of, by);
  return isSame(times(floor, by), of) ? whole(floor) : { of, by };
}

/** A list none of whose entries is open is a tensor. */
function closed(list: OpenList): KnownValue {
  const numbers = list.entries.map(({ of, by }) =>
    typeof of === 'number' && typeof by === 'number' ? of / by : undefined,
  );
  if (numbers.includes(undefined)) return list;
  const { array } = DTYPES[list.dtype];
  const isBig = list.dtype === 'I64';
  const data = Array.from(numbers as number[], (each) => (isBig ? BigInt(each) : each));
  if (list.dtype === 'F16' || list.dtype === 'BF16') return Tensor.f32(list.shape, numbers as number[]);
  return new Tensor(list.dtype, list.shape, (array as unknown as { from(data: unknown): Tensor['data'] }).from(data));
}
