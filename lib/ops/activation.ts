import { RepfuseError } from '../errors';
import { type Float32Tensor, formatShape, Tensor } from '../tensor/tensor';
import {
  type AsyncOpOptions,
  eagerOp,
  expectF32,
  NO_OTHER_OPTIONS,
  type OpOptions,
  type PreparedOp,
  prepare,
} from './run';

export type UnaryOp = (input: Tensor, options?: OpOptions) => Float32Tensor;
export type AsyncUnaryOp = (input: Tensor, options?: OpOptions & AsyncOpOptions) => Promise<Float32Tensor>;

const [RELU, SIGMOID, SILU, HARDSWISH] = [unary('relu'), unary('sigmoid'), unary('silu'), unary('hardswish')];
const SOFTMAX = eagerOp('softmax', prepareSoftmax, NO_OTHER_OPTIONS);
const ADD = eagerOp('add', prepareAdd, NO_OTHER_OPTIONS);

/** max(x, 0) of a tensor of any shape. */
export const relu: UnaryOp = RELU.run;
/** `relu` on the pool. */
export const reluAsync: AsyncUnaryOp = RELU.runAsync;
/** 1 / (1 + exp(-x)), in float64, of a tensor of any shape. */
export const sigmoid: UnaryOp = SIGMOID.run;
/** `sigmoid` on the pool. */
export const sigmoidAsync: AsyncUnaryOp = SIGMOID.runAsync;
/** x * sigmoid(x), in float64, of a tensor of any shape. */
export const silu: UnaryOp = SILU.run;
/** `silu` on the pool. */
export const siluAsync: AsyncUnaryOp = SILU.runAsync;
/** x * clamp(x + 3, 0, 6) / 6, in float64, of a tensor of any shape. */
export const hardswish: UnaryOp = HARDSWISH.run;
/** `hardswish` on the pool. */
export const hardswishAsync: AsyncUnaryOp = HARDSWISH.runAsync;

/** Softmax along axis 1 (channels), in float64. [N, C] or [N, C, ...]. @throws ERR_REPFUSE_SHAPE */
export const softmax = SOFTMAX.run;
/** `softmax` on the pool. */
export const softmaxAsync = SOFTMAX.runAsync;

/** a + b of tensors of one shape. @throws ERR_REPFUSE_SHAPE */
export const add = ADD.run;
/** `add` on the pool. */
export const addAsync = ADD.runAsync;

function unary(operator: 'relu' | 'sigmoid' | 'silu' | 'hardswish') {
  const prepareUnary = (options: OpOptions, input: Tensor) => {
    expectF32(input, 'input');
    return prepare(operator, { count: input.size, input: input.data }, Tensor.f32(input.shape), options);
  };
  return eagerOp(operator, prepareUnary, NO_OTHER_OPTIONS);
}

function prepareSoftmax(options: OpOptions, input: Tensor): PreparedOp {
  const { length } = expectF32(input, 'input').shape;
  const [outer, channels, ...rest] = expectF32(input, 'input', Math.max(2, length)).shape as [number, number];
  const inner = (rest as number[]).reduce((product, dim) => product * dim, 1);
  return prepare('softmax', { outer, channels, inner, input: input.data }, Tensor.f32(input.shape), options);
}

function prepareAdd(options: OpOptions, a: Tensor, b: Tensor): PreparedOp {
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
