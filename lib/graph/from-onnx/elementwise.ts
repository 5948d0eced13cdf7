import { floatOf, intOf, stringOf } from '../../onnx/attributes';
import type { Node } from '../../onnx/schema/onnx_pb';
import { dtypeOf, numbersOf } from '../../onnx/values';
import type { BinaryFunction } from '../../ops/tensor-op';
import { areSame } from '../../sizes/size';
import { DTYPES } from '../../tensor/dtype';
import { Tensor } from '../../tensor/tensor';
import { type GraphNode, OPERATORS } from '../operators';
import { patternAt } from './patterns';
import { about, type Reader, refused, type Take } from './reader';

/** Those that a record gives an ONNX operator of the same one input and numbers. */
const TWINS: readonly (readonly [string, Take])[] = Object.entries(OPERATORS).flatMap(([op, { onnx }]) => {
  if (typeof onnx === 'function') return [];
  const { type, floats = {} } = onnx;
  const take: Take = (reader, node) => {
    const fields = Object.entries(floats).map(([name, [field, otherwise]]) => [field, floatOf(node, name, otherwise)]);
    reader.push({ ...about(node, op as GraphNode['op']), ...Object.fromEntries(fields) } as GraphNode);
  };
  return [[type, take] as const];
});

/** Functions of one value, and of two. */
export const ELEMENTWISE_OPERATORS: Readonly<Record<string, Take>> = {
  ...Object.fromEntries(TWINS),
  Identity: (reader, node) => reader.alias(node),
  Dropout: (reader, node) => reader.alias(node),
  Swish(reader, node) {
    if (floatOf(node, 'alpha', 1) !== 1) throw refused(node, 'it has an alpha');
    reader.push(about(node, 'silu'));
  },
  Clip(reader, node) {
    const isOfValues = [1, 2].some(
      (i) => (node.input[i] ?? '') !== '' && reader.constant(node.input[i]!) === undefined,
    );
    if (isOfValues) {
      takeClipOfValues(reader, node);
      return;
    }
    const { min, max } = bounds(reader, node);
    if (min === 0 && max === null) reader.push(about(node, 'relu'));
    else reader.push({ ...about(node, 'clip'), min, max });
  },
  PRelu: (reader, node) => takeBinary(reader, node, 'prelu'),
  Add(reader, node) {
    const zero = withConstant(reader, node);
    // Exporters begin a sum of branches with 0.
    if (zero?.values.every((value) => value === 0) && zero.keepsShape) reader.alias(node, zero.x);
    else takeBinary(reader, node, 'add');
  },
  Sub: (reader, node) => takeBinary(reader, node, 'sub'),
  Mul(reader, node) {
    if (!takeWhole(reader, node)) takeBinary(reader, node, 'mul');
  },
  Div(reader, node) {
    if (isOfIntegers(reader, node)) {
      const quotient = `${node.output[0]}.quotient`;
      pushBinary(reader, quotient, 'div', node.input[0]!, node.input[1]!);
      reader.push({ id: node.output[0]!, op: 'trunc', inputs: [quotient] });
      return;
    }
    if (!takeWhole(reader, node)) takeBinary(reader, node, 'div');
  },
  Pow: (reader, node) => takeBinary(reader, node, 'pow'),
  Mod(reader, node) {
    const isOfSign = intOf(node, 'fmod', 0) !== 0;
    takeBinary(reader, node, isOfSign ? 'fmod' : 'mod');
  },
  Equal: (reader, node) => takeBinary(reader, node, 'equal'),
  Less: (reader, node) => takeBinary(reader, node, 'less'),
  LessOrEqual: (reader, node) => takeBinary(reader, node, 'less_or_equal'),
  Greater: (reader, node) => takeBinary(reader, node, 'greater'),
  GreaterOrEqual: (reader, node) => takeBinary(reader, node, 'greater_or_equal'),
  And: (reader, node) => takeBinary(reader, node, 'and'),
  Or: (reader, node) => takeBinary(reader, node, 'or'),
  Xor: (reader, node) => takeBinary(reader, node, 'xor'),
  Not: (reader, node) => reader.push(about(node, 'not')),
  IsNaN: (reader, node) => reader.push(about(node, 'is_nan')),
  IsInf(reader, node) {
    const [negative, positive] = ['detect_negative', 'detect_positive'].map((name) => intOf(node, name, 1) !== 0);
    reader.push({ ...about(node, 'is_inf'), negative: negative!, positive: positive! });
  },
  Gelu(reader, node) {
    const approximate = stringOf(node, 'approximate', 'none');
    reader.push(about(node, approximate === 'tanh' ? 'gelu_tanh' : 'gelu'));
  },
  Mish: (reader, node) => reader.push(about(node, 'mish')),
  Cast: takeCast,
  Where(reader, node) {
    reader.push({ ...about(node, 'where'), inputs: node.input });
  },
  Sum: (reader, node) => takeAll(reader, node, 'add'),
  Min: (reader, node) => takeAll(reader, node, 'min'),
  Max: (reader, node) => takeAll(reader, node, 'max'),
  Mean(reader, node) {
    const sum = takeAll(reader, node, 'add', '.sum');
    const count = reader.set(`${node.output[0]}.count`, Tensor.f32([], [node.input.length]));
    reader.push({ id: node.output[0]!, op: 'binary', inputs: [sum], function: 'div', constant: count });
  },
};

/** A function of two, over any number of values. @returns the id of the result */
function takeAll(reader: Reader, node: Node, name: BinaryFunction, suffix = ''): string {
  const [first, ...rest] = node.input as [string, ...string[]];
  if (rest.length === 0) {
    if (suffix === '') reader.alias(node);
    return first;
  }
  let result = first;
  for (const [i, value] of rest.entries()) {
    const id = i === rest.length - 1 ? `${node.output[0]}${suffix}` : `${node.output[0]}.${i}`;
    pushBinary(reader, id, name, result, value);
    result = id;
  }
  return result;
}

function isOfIntegers(reader: Reader, node: Node): boolean {
  const type = reader.typeOf(node.output[0]!);
  return type !== undefined && !DTYPES[type].floating;
}

/** To integers the fraction goes, to truth values all but 0 is 1, to half types it is rounded. To float32 and float64 nothing is done: here all are float32. */
function takeCast(reader: Reader, node: Node): void {
  const to = dtypeOf(intOf(node, 'to', 0));
  const from = reader.typeOf(node.input[0]!);
  if (to === undefined) throw refused(node, `its type is ${intOf(node, 'to', 0)}`);
  if (to === 'F16' || to === 'BF16') {
    if (from === to) reader.alias(node);
    else reader.push(about(node, to === 'F16' ? 'round_f16' : 'round_bf16'));
  } else if (to === 'BOOL') {
    if (from === 'BOOL') reader.alias(node);
    else reader.push(about(node, 'not_zero'));
  } else if (DTYPES[to].floating || (from !== undefined && !DTYPES[from].floating)) reader.alias(node);
  else reader.push(about(node, 'trunc'));
}

/** By bounds that are computed: the upper one wins. */
function takeClipOfValues(reader: Reader, node: Node): void {
  const id = node.output[0]!;
  const [x, least = '', most = ''] = node.input as [string, string?, string?];
  const bounded = most === '' ? id : `${id}.least`;
  if (least !== '') pushBinary(reader, bounded, 'max', x, least);
  if (most !== '') pushBinary(reader, id, 'min', least === '' ? x : bounded, most);
}

/** A function that is written by its parts. @returns whether the node is one */
function takeWhole(reader: Reader, node: Node): boolean {
  const whole = patternAt(reader, node);
  if (whole === undefined) return false;
  reader.push({ id: node.output[0]!, op: whole.op, inputs: [whole.x] });
  return true;
}

function bounds(reader: Reader, node: Node): { min: number | null; max: number | null } {
  const named = (index: number, name: string, otherwise: number) => {
    const value = reader.opset < 11 ? floatOf(node, name, otherwise) : (reader.scalar(node, index) ?? otherwise);
    return Number.isFinite(value) ? value : null;
  };
  return { min: named(1, 'min', -Infinity), max: named(2, 'max', Infinity) };
}

function bothWays({ input }: Node): readonly (readonly [string, string])[] {
  const [first, second] = input as [string, string];
  return [
    [first, second],
    [second, first],
  ];
}

/** A function of a value and a constant: the value, and the constant's elements. */
function withConstant(reader: Reader, node: Node) {
  for (const [x, other] of bothWays(node)) {
    const constant = reader.constant(other);
    if (constant === undefined || reader.constant(x) !== undefined) continue;
    const values = constant.size <= 4096 ? numbersOf(constant) : [NaN];
    return { x, values, keepsShape: reader.keepsShape(x, constant) };
  }
  return undefined;
}

function takeBinary(reader: Reader, node: Node, name: BinaryFunction): void {
  pushBinary(reader, node.output[0]!, name, node.input[0]!, node.input[1]!);
}

/** With a constant for one operand, or as a sum of two values of one shape, where that is what it is. */
export function pushBinary(reader: Reader, id: string, name: BinaryFunction, first: string, second: string): void {
  for (const [x, other, constant_first] of [
    [first, second, false],
    [second, first, true],
  ] as const) {
    const constant = reader.operand(other);
    if (constant === undefined) continue;
    const key = reader.set(other, constant);
    const order = constant_first ? { constant_first } : {};
    reader.push({ id, op: 'binary', inputs: [x], function: name, constant: key, ...order });
    return;
  }
  const inputs = [first, second];
  if (name === 'add' && areSame(reader.sizes(first), reader.sizes(second))) reader.push({ id, op: 'add', inputs });
  else reader.push({ id, op: 'binary', inputs, function: name });
}
