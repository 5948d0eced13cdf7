import { checkOptions } from '../arguments/check';
import { RepfuseError } from '../errors';
import { type Float32Tensor, formatShape, Tensor } from '../tensor/tensor';
import {
  ASYNC_OP_OPTIONS,
  type AsyncOpOptions,
  expectF32,
  OP_OPTIONS,
  type OpOptions,
  type PreparedOp,
  prepare,
  run,
  runAsync,
} from './run';

export type UnaryOp = (input: Tensor, options?: OpOptions) => Float32Tensor;
export type AsyncUnaryOp = (input: Tensor, options?: OpOptions & AsyncOpOptions) => Promise<Float32Tensor>;

/** max(x, 0) of a tensor of any shape. */
export const relu: UnaryOp = (input, options) => runUnary('relu', input, options);
/** `relu` on the pool. */
export const reluAsync: AsyncUnaryOp = (input, options) => startUnary('relu', input, options);
/** 1 / (1 + exp(-x)), in float64, of a tensor of any shape. */
export const sigmoid: UnaryOp = (input, options) => runUnary('sigmoid', input, options);
/** `sigmoid` on the pool. */
export const sigmoidAsync: AsyncUnaryOp = (input, options) => startUnary('sigmoid', input, options);
/** x * sigmoid(x), in float64, of a tensor of any shape. */
export const silu: UnaryOp = (input, options) => runUnary('silu', input, options);
/** `silu` on the pool. */
export const siluAsync: AsyncUnaryOp = (input, options) => startUnary('silu', input, options);
/** x * clamp(x + 3, 0, 6) / 6, in float64, of a tensor of any shape. */
export const hardswish: UnaryOp = (input, options) => runUnary('hardswish', input, options);
/** `hardswish` on the pool. */
export const hardswishAsync: AsyncUnaryOp = (input, options) => startUnary('hardswish', input, options);

/** Softmax along axis 1 (channels), in float64. [N, C] or [N, C, ...]. @throws ERR_REPFUSE_SHAPE */
export function softmax(input: Tensor, options: OpOptions = {}): Float32Tensor {
  return run(prepareSoftmax(input, checkOptions('softmax', OP_OPTIONS, options)));
}

/** `softmax` on the pool. */
export async function softmaxAsync(input: Tensor, options: OpOptions & AsyncOpOptions = {}): Promise<Float32Tensor> {
  const checked = checkOptions('softmaxAsync', ASYNC_OP_OPTIONS, options);
  return runAsync(prepareSoftmax(input, checked), checked);
}

/** a + b of tensors of one shape. @throws ERR_REPFUSE_SHAPE */
export function add(a: Tensor, b: Tensor, options: OpOptions = {}): Float32Tensor {
  return run(prepareAdd(a, b, checkOptions('add', OP_OPTIONS, options)));
}

/** `add` on the pool. */
export async function addAsync(a: Tensor, b: Tensor, options: OpOptions & AsyncOpOptions = {}): Promise<Float32Tensor> {
  const checked = checkOptions('addAsync', ASYNC_OP_OPTIONS, options);
  return runAsync(prepareAdd(a, b, checked), checked);
}

type UnaryOperator = 'relu' | 'sigmoid' | 'silu' | 'hardswish';

function prepareUnary(operator: UnaryOperator, input: Tensor, options: OpOptions): PreparedOp {
  expectF32(input, 'input');
  return prepare(operator, { count: input.size, input: input.data }, Tensor.f32(input.shape), options);
}

function runUnary(operator: UnaryOperator, input: Tensor, options: OpOptions | undefined): Float32Tensor {
  return run(prepareUnary(operator, input, checkOptions(operator, OP_OPTIONS, options)));
}

async function startUnary(
  operator: UnaryOperator,
  input: Tensor,
  options: (OpOptions & AsyncOpOptions) | undefined,
): Promise<Float32Tensor> {
  const checked = checkOptions(`${operator}Async`, ASYNC_OP_OPTIONS, options);
  return runAsync(prepareUnary(operator, input, checked), checked);
}

function prepareSoftmax(input: Tensor, options: OpOptions): PreparedOp {
  const { length } = expectF32(input, 'input').shape;
  const [outer, channels, ...rest] = expectF32(input, 'input', Math.max(2, length)).shape as [number, number];
  const inner = (rest as number[]).reduce((product, dim) => product * dim, 1);
  return prepare('softmax', { outer, channels, inner, input: input.data }, Tensor.f32(input.shape), options);
}

function prepareAdd(a: Tensor, b: Tensor, options: OpOptions): PreparedOp {
  expectF32(a, 'a');
  expectF32(b, 'b');
  if (formatShape(a.shape) !== formatShape(b.shape)) {
    throw new RepfuseError(
      'ERR_REPFUSE_SHAPE',
      `Expected two tensors of one shape but received ${formatShape(a.shape)} and ${formatShape(b.shape)}`,
    );
  }
  return prepare('add', { count: a.size, a: a.data, b: b.data }, Tensor.f32(a.shape), options);
}
