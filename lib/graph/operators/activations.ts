import { Tensor } from '../../tensor/tensor';
import { BOOLEAN, NONZERO, NUMBER, nullable } from './fields';
import { type Epilogue, type NodeOf, type OnnxContext, type OnnxNode, type Operator, TYPES } from './operator';

/** x < 0 ? slope x : x. */
export interface LeakyReluNode extends NodeOf<'leaky_relu'> {
  readonly slope: number;
}

/** null: no bound. */
export interface ClipNode extends NodeOf<'clip'> {
  readonly min: number | null;
  readonly max: number | null;
}

/** alpha x + beta, clipped to [0, 1]. */
export interface HardSigmoidNode extends NodeOf<'hard_sigmoid'> {
  readonly alpha: number;
  readonly beta: number;
}

/** x < 0 ? alpha (e^x - 1) : x. */
export interface EluNode extends NodeOf<'elu'> {
  readonly alpha: number;
}

/** x < 0 ? alpha (e^(x / alpha) - 1) : x. */
export interface CeluNode extends NodeOf<'celu'> {
  readonly alpha: number;
}

/** gamma (x > 0 ? x : alpha (e^x - 1)). */
export interface SeluNode extends NodeOf<'selu'> {
  readonly alpha: number;
  readonly gamma: number;
}

/** x > alpha ? x : 0. */
export interface ThresholdedReluNode extends NodeOf<'thresholded_relu'> {
  readonly alpha: number;
}

/** x < -lambda ? x + bias : x > lambda ? x - bias : 0. */
export interface ShrinkNode extends NodeOf<'shrink'> {
  readonly lambda: number;
  readonly bias: number;
}

/** 1 where the value is an infinity of a sign that is asked for, else 0. */
export interface IsInfNode extends NodeOf<'is_inf'> {
  readonly negative: boolean;
  readonly positive: boolean;
}

/** Functions without fields that ONNX has too: its operator, and the name of the native one. */
const PLAIN = {
  abs: ['Abs', 'abs'],
  asin: ['Asin', 'asin'],
  asinh: ['Asinh', 'asinh'],
  atan: ['Atan', 'atan'],
  ceil: ['Ceil', 'ceil'],
  cos: ['Cos', 'cos'],
  cosh: ['Cosh', 'cosh'],
  erf: ['Erf', 'erf'],
  exp: ['Exp', 'exp'],
  floor: ['Floor', 'floor'],
  neg: ['Neg', 'neg'],
  round: ['Round', 'round'],
  sign: ['Sign', 'sign'],
  sin: ['Sin', 'sin'],
  sinh: ['Sinh', 'sinh'],
  softplus: ['Softplus', 'softplus'],
  softsign: ['Softsign', 'softsign'],
  sqrt: ['Sqrt', 'sqrt'],
  tan: ['Tan', 'tan'],
  tanh: ['Tanh', 'tanh'],
  acos: ['Acos', 'acos'],
  // Not finite at 0, and so no epilogue: a convolution computes channels beyond its last one too, from zeros.
  acosh: ['Acosh', 'acosh', 'alone'],
  atanh: ['Atanh', 'atanh', 'alone'],
  log: ['Log', 'log', 'alone'],
  reciprocal: ['Reciprocal', 'reciprocal', 'alone'],
} as const;
/** A function without fields that ONNX has too. */
export type PlainFunction = keyof typeof PLAIN;

export type ActivationNode =
  | { [Op in PlainFunction]: NodeOf<Op> }[PlainFunction]
  | NodeOf<'gelu'>
  | NodeOf<'gelu_tanh'>
  | NodeOf<'hardswish'>
  | NodeOf<'is_nan'>
  | NodeOf<'mish'>
  | NodeOf<'not'>
  | NodeOf<'not_zero'>
  | NodeOf<'relu'>
  | NodeOf<'round_bf16'>
  | NodeOf<'round_f16'>
  | NodeOf<'sigmoid'>
  | NodeOf<'silu'>
  | NodeOf<'trunc'>
  | CeluNode
  | ClipNode
  | EluNode
  | HardSigmoidNode
  | IsInfNode
  | LeakyReluNode
  | SeluNode
  | ShrinkNode
  | ThresholdedReluNode;

type Records = { readonly [Op in ActivationNode['op']]: Operator<Extract<ActivationNode, { readonly op: Op }>> };

/**
 * Functions of one value, one row each: the node's fields, the native activation, ONNX's operator. Where a row has no `run`, an eager run goes
 * through the native operator on tensors too.
 */
export const ACTIVATIONS: Records = {
  ...(Object.fromEntries(
    Object.entries(PLAIN).map(([op, [type, name, isAlone]]) => [
      op,
      activation({ ...named(name), onnx: { type }, isAlone: isAlone !== undefined }),
    ]),
  ) as Pick<Records, PlainFunction>),
  hardswish: activation({
    ...named('hardswish'),
    run: (_, [x], { ops, options }) => ops.hardswish(x, options),
    onnx: { type: 'HardSwish' },
  }),
  relu: activation({
    ...named('relu'),
    run: (_, [x], { ops, options }) => ops.relu(x, options),
    onnx: { type: 'Relu' },
  }),
  sigmoid: activation({
    ...named('sigmoid'),
    run: (_, [x], { ops, options }) => ops.sigmoid(x, options),
    onnx: { type: 'Sigmoid' },
  }),
  silu: activation({
    ...named('silu'),
    run: (_, [x], { ops, options }) => ops.silu(x, options),
    onnx: ({ id, inputs }) => [
      { opType: 'Sigmoid', inputs, part: 'sigmoid' },
      { opType: 'Mul', inputs: [...inputs, `${id}.sigmoid`] },
    ],
  }),
  gelu: activation({ ...named('gelu'), onnx: gelu('none') }),
  gelu_tanh: activation({ ...named('geluTanh'), onnx: gelu('tanh') }),
  mish: activation({
    ...named('mish'),
    onnx: ({ id, inputs }, { opset }) => {
      if (opset >= 18) return { opType: 'Mish', inputs };
      return [
        { opType: 'Softplus', inputs, part: 'softplus' },
        { opType: 'Tanh', inputs: [`${id}.softplus`], part: 'tanh' },
        { opType: 'Mul', inputs: [...inputs, `${id}.tanh`] },
      ];
    },
  }),
  trunc: activation({
    ...named('trunc'),
    onnx: ({ id, inputs }) => [cast(inputs[0]!, TYPES.int64, 'whole'), cast(`${id}.whole`, TYPES.float32)],
  }),
  round_f16: activation({ ...named('roundF16'), onnx: throughType(TYPES.float16) }),
  round_bf16: activation({ ...named('roundBf16'), onnx: throughType(TYPES.bfloat16) }),
  not_zero: activation({
    ...named('notZero'),
    onnx: ({ id, inputs }) => [cast(inputs[0]!, TYPES.bool, 'truth'), cast(`${id}.truth`, TYPES.float32)],
  }),
  not: activation({
    ...named('not'),
    onnx: ({ id, inputs }) => [
      cast(inputs[0]!, TYPES.bool, 'truth'),
      { opType: 'Not', inputs: [`${id}.truth`], part: 'answer' },
      cast(`${id}.answer`, TYPES.float32),
    ],
  }),
  is_nan: activation({
    ...named('isNan'),
    onnx: ({ id, inputs }) => [{ opType: 'IsNaN', inputs, part: 'answer' }, cast(`${id}.answer`, TYPES.float32)],
  }),
  is_inf: activation({
    fields: { negative: BOOLEAN, positive: BOOLEAN },
    epilogue: ({ negative, positive }) => ({ activation: 'isInf', alpha: Number(negative), beta: Number(positive) }),
    onnx: ({ id, inputs, negative, positive }) => [
      { opType: 'IsInf', inputs, attributes: { detect_negative: negative, detect_positive: positive }, part: 'answer' },
      cast(`${id}.answer`, TYPES.float32),
    ],
  }),
  elu: activation({
    fields: { alpha: NUMBER },
    epilogue: ({ alpha }) => ({ activation: 'elu', alpha }),
    onnx: { type: 'Elu', floats: { alpha: ['alpha', 1] } },
  }),
  celu: activation({
    fields: { alpha: NONZERO },
    epilogue: ({ alpha }) => ({ activation: 'celu', alpha }),
    onnx: { type: 'Celu', floats: { alpha: ['alpha', 1] } },
  }),
  selu: activation({
    fields: { alpha: NUMBER, gamma: NUMBER },
    epilogue: ({ alpha, gamma }) => ({ activation: 'selu', alpha, beta: gamma }),
    onnx: {
      type: 'Selu',
      floats: { alpha: ['alpha', Math.fround(1.6732632423543772)], gamma: ['gamma', Math.fround(1.0507009873554805)] },
    },
  }),
  thresholded_relu: activation({
    fields: { alpha: NUMBER },
    epilogue: ({ alpha }) => ({ activation: 'thresholdedRelu', alpha }),
    onnx: { type: 'ThresholdedRelu', floats: { alpha: ['alpha', 1] } },
  }),
  shrink: activation({
    fields: { lambda: NUMBER, bias: NUMBER },
    epilogue: ({ lambda, bias }) => ({ activation: 'shrink', alpha: lambda, beta: bias }),
    onnx: { type: 'Shrink', floats: { lambd: ['lambda', 0.5], bias: ['bias', 0] } },
  }),
  leaky_relu: activation({
    fields: { slope: NUMBER },
    epilogue: ({ slope }) => ({ activation: 'leakyRelu', alpha: slope }),
    onnx: { type: 'LeakyRelu', floats: { alpha: ['slope', Math.fround(0.01)] } },
  }),
  clip: activation({
    fields: { min: nullable(NUMBER), max: nullable(NUMBER) },
    epilogue: ({ min, max }) => ({ activation: 'clip', alpha: min ?? -Infinity, beta: max ?? Infinity }),
    onnx: ({ inputs, min, max }) => {
      const bounds = [min, max].map((bound) => (bound === null ? null : Tensor.f32([], [bound])));
      return { opType: 'Clip', inputs: [...inputs, ...bounds] };
    },
  }),
  hard_sigmoid: activation({
    fields: { alpha: NUMBER, beta: NUMBER },
    epilogue: ({ alpha, beta }) => ({ activation: 'hardSigmoid', alpha, beta }),
    onnx: { type: 'HardSigmoid', floats: { alpha: ['alpha', Math.fround(0.2)], beta: ['beta', 0.5] } },
  }),
};

/** What sets an activation apart from the others. */
type Row<N extends NodeOf> = Pick<Operator<N>, 'fields' | 'run' | 'onnx'> & {
  readonly epilogue: (node: N) => Epilogue;
  /** A step of its own always. */
  readonly isAlone?: boolean;
};

/** Of an activation without fields, by its native name. */
function named(name: string) {
  return { fields: {}, epilogue: () => ({ activation: name }) };
}

function activation<N extends NodeOf>({ epilogue, isAlone = false, ...row }: Row<N>): Operator<N> {
  const native = (node: N) => ({ kind: 'activation', ...epilogue(node) });
  return {
    ...row,
    inputs: 1,
    shape: (_, [input]) => input,
    keepsChannels: () => true,
    native,
    ...(isAlone
      ? { steps: (node, engine) => engine[engine.isImages() ? 'images' : 'tensor'](native(node)) }
      : { epilogue }),
  };
}

/** ONNX's Gelu; for operator sets that have none x (1 + f(u)) / 2, f and u as the approximation says. */
function gelu<N extends NodeOf>(approximate: 'none' | 'tanh') {
  return ({ id, inputs }: N, { opset }: OnnxContext): OnnxNode | OnnxNode[] => {
    const [x] = inputs as [string];
    if (opset >= 20) return { opType: 'Gelu', inputs, attributes: { approximate } };
    const part = (name: string, opType: string, ...of: (string | Tensor)[]): OnnxNode => ({
      opType,
      inputs: of,
      part: name,
    });
    const own = (name: string) => `${id}.${name}`;
    const number = (value: number) => Tensor.f32([], [value]);
    const inner =
      approximate === 'none'
        ? [part('u', 'Mul', x, number(Math.SQRT1_2)), part('f', 'Erf', own('u'))]
        : [
            part('square', 'Mul', x, x),
            part('scaled', 'Mul', own('square'), number(CUBE_SHARE)),
            part('more', 'Add', own('scaled'), number(1)),
            part('product', 'Mul', own('more'), x),
            part('u', 'Mul', own('product'), number(Math.sqrt(2 / Math.PI))),
            part('f', 'Tanh', own('u')),
          ];
    return [
      ...inner,
      part('sum', 'Add', own('f'), number(1)),
      part('whole', 'Mul', x, own('sum')),
      { opType: 'Mul', inputs: [own('whole'), number(0.5)] },
    ];
  };
}

/** Of x^3 in the approximation of GELU by tanh. */
const CUBE_SHARE = 0.044715;

/** Rounded to the values of a half type. */
function throughType<N extends NodeOf>(type: number) {
  return ({ id, inputs }: N) => [cast(inputs[0]!, type, 'half'), cast(`${id}.half`, TYPES.float32)];
}

/** A node's value cast to another type, as a part of it; the last one is float32 again. */
function cast(from: OnnxNode['inputs'][number], to: number, part?: string): OnnxNode {
  return { opType: 'Cast', inputs: [from], attributes: { to }, ...(part === undefined ? {} : { part }) };
}
