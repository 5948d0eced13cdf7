import { floatOf } from '../../onnx/attributes';
import type { Node } from '../../onnx/schema/onnx_pb';
import { numbersOf } from '../../onnx/values';
import type { Reader } from './reader';

/** What a value may be computed by: the one value that all is made of, a number, a node, or a product of a number and others in any order. */
type Pattern = 'x' | number | OfNode | Product;
interface OfNode {
  readonly type: string;
  readonly inputs: readonly Pattern[];
  /** What else must hold of the node. */
  readonly holds?: (reader: Reader, node: Node) => boolean;
}
interface Product {
  readonly factor: number;
  readonly of: readonly Pattern[];
}

const node = (type: string, ...inputs: readonly Pattern[]): OfNode => ({ type, inputs });
const product = (factor: number, ...of: readonly Pattern[]): Product => ({ factor, of });

function clip(input: Pattern, low: number, high: number): OfNode {
  const holds = (reader: Reader, each: Node) => {
    const bounds = [low, high].map((_, i) =>
      reader.opset < 11 ? floatOf(each, i === 0 ? 'min' : 'max', NaN) : numberOf(reader, each.input[i + 1] ?? ''),
    );
    return bounds[0] === low && bounds[1] === high;
  };
  return { type: 'Clip', inputs: [input], holds };
}

const HARD_SIGMOID: OfNode = {
  type: 'HardSigmoid',
  inputs: ['x'],
  holds: (_, each) => isNear(floatOf(each, 'alpha', 0.2), 1 / 6) && floatOf(each, 'beta', 0.5) === 0.5,
};
/** e^x + 1. */
const MORE_THAN_EXP = node('Add', node('Exp', 'x'), 1);

const ROOT = Math.sqrt(2 / Math.PI);
const CUBE_SHARE = 0.044715;
const CUBES = [node('Pow', 'x', 3), product(1, 'x', 'x', 'x'), product(1, 'x', node('Pow', 'x', 2))];
const SQUARES = [node('Pow', 'x', 2), product(1, 'x', 'x')];
/** What the tanh of GELU's approximation is of. */
const CUBICS = [
  ...CUBES.map((cube) => product(ROOT, node('Add', 'x', product(CUBE_SHARE, cube)))),
  ...SQUARES.map((square) => product(ROOT, 'x', node('Add', product(CUBE_SHARE, square), 1))),
];

type Whole = 'gelu' | 'gelu_tanh' | 'hardswish' | 'mish' | 'silu';

/** Functions of one value that exporters write by their parts: one row each. */
const PATTERNS: readonly (readonly [Whole, Product])[] = [
  ['silu', product(1, 'x', node('Sigmoid', 'x'))],
  ['hardswish', product(1, 'x', HARD_SIGMOID)],
  ['hardswish', product(1 / 6, 'x', clip(node('Add', 'x', 3), 0, 6))],
  ['hardswish', product(1, 'x', clip(node('Add', product(1 / 6, 'x'), 0.5), 0, 1))],
  ['gelu', product(0.5, 'x', node('Add', node('Erf', product(Math.SQRT1_2, 'x')), 1))],
  ['gelu', product(0.5, 'x', node('Sub', 1, node('Erf', product(-Math.SQRT1_2, 'x'))))],
  ...CUBICS.map((cubic) => ['gelu_tanh', product(0.5, 'x', node('Add', node('Tanh', cubic), 1))] as const),
  ['mish', product(1, 'x', node('Tanh', node('Softplus', 'x')))],
  ['mish', product(1, 'x', node('Tanh', node('Log', MORE_THAN_EXP)))],
];

/** The function that a product is, and the value that it is of; undefined where it is none of those above. */
export function patternAt(reader: Reader, root: Node): { readonly op: Whole; readonly x: string } | undefined {
  for (const [op, { factor, of }] of PATTERNS) {
    for (const found of products(reader, root, of, undefined, 0))
      if (found.x !== undefined && isNear(found.factor, factor)) return { op, x: found.x };
  }
  return undefined;
}

/** Nodes between a product's first and its last factor. */
const MOST_FACTORS = 6;

interface Found {
  /** The numbers among the factors, multiplied. */
  readonly factor: number;
  readonly x: string | undefined;
}

/** The ways in which a node is a product of numbers and these. */
function* products(
  reader: Reader,
  root: Node | undefined,
  of: readonly Pattern[],
  x: string | undefined,
  depth: number,
): Generator<Found, void, void> {
  if (root === undefined || depth > MOST_FACTORS || root.input.length !== 2) return;
  const [first, second] = root.input as [string, string];
  if (root.opType === 'Div') {
    const divisor = numberOf(reader, second);
    if (divisor === undefined) return;
    for (const found of factors(reader, first, of, x, depth)) yield { ...found, factor: found.factor / divisor };
  }
  if (root.opType !== 'Mul') return;
  for (const [a, b] of [
    [first, second],
    [second, first],
  ] as const) {
    const number = numberOf(reader, b);
    if (number !== undefined) {
      for (const found of factors(reader, a, of, x, depth)) yield { ...found, factor: found.factor * number };
      continue;
    }
    if (numberOf(reader, a) !== undefined) continue;
    // The first of those that are left stands in one of the two, with none or some of the others.
    for (const [own, others] of of.length < 2 ? [] : splits(of)) {
      for (const left of factors(reader, a, own, x, depth)) {
        for (const right of factors(reader, b, others, left.x, depth))
          yield { factor: left.factor * right.factor, x: right.x };
      }
    }
  }
}

/** The first alone or with one of the others, and the rest. */
function splits(of: readonly Pattern[]): readonly (readonly [readonly Pattern[], readonly Pattern[]])[] {
  const [first, ...others] = of as [Pattern, ...Pattern[]];
  const pairs = others.map((other, i) => [[first, other], others.filter((_, j) => j !== i)] as const);
  return [[[first], others], ...pairs.filter(([, rest]) => rest.length > 0)];
}

/** The ways in which a value is a product of numbers and these, one of which it may be itself. */
function* factors(
  reader: Reader,
  value: string,
  of: readonly Pattern[],
  x: string | undefined,
  depth: number,
): Generator<Found, void, void> {
  if (of.length === 1) {
    for (const found of matches(reader, value, of[0]!, x)) yield { factor: 1, x: found };
  }
  yield* products(reader, reader.producer(value), of, x, depth + 1);
}

/** The values that x is where another is computed so. */
function* matches(
  reader: Reader,
  value: string,
  pattern: Pattern,
  x: string | undefined,
): Generator<string | undefined, void, void> {
  if (pattern === 'x') {
    const own = reader.value(value);
    if (x === undefined || x === own) yield own;
  } else if (typeof pattern === 'number') {
    const number = numberOf(reader, value);
    if (number !== undefined && isNear(number, pattern)) yield x;
  } else if ('factor' in pattern) {
    for (const found of factors(reader, value, pattern.of, x, 0))
      if (isNear(found.factor, pattern.factor)) yield found.x;
  } else {
    const made = reader.producer(value);
    if (made?.opType !== pattern.type || made.input.length < pattern.inputs.length) return;
    if (pattern.holds?.(reader, made) === false) return;
    const [first, second] = pattern.inputs as [Pattern, Pattern?];
    const [a, b] = made.input as [string, string?];
    if (second === undefined) {
      yield* matches(reader, a, first, x);
      return;
    }
    yield* both(reader, [a, first], [b!, second], x);
    if (made.opType === 'Add') yield* both(reader, [b!, first], [a, second], x);
  }
}

function* both(
  reader: Reader,
  [a, first]: readonly [string, Pattern],
  [b, second]: readonly [string, Pattern],
  x: string | undefined,
): Generator<string | undefined, void, void> {
  for (const found of matches(reader, a, first, x)) yield* matches(reader, b, second, found);
}

function numberOf(reader: Reader, value: string): number | undefined {
  const constant = reader.constant(value);
  return constant?.size === 1 && constant.shape.length <= 1 ? numbersOf(constant)[0] : undefined;
}

/** As a float32 may be written in decimals. */
function isNear(a: number, b: number): boolean {
  return Math.abs(a - b) <= 1e-6 * Math.abs(b);
}
