import { RepfuseError } from '../errors';
import { formatShape, Tensor } from '../tensor/tensor';
import { type AsyncOpOptions, expectF32, type OpOptions, type PreparedOp, prepare, run, runAsync } from './run';

type Unary = (input: Tensor, options?: OpOptions) => Tensor;
type UnaryAsync = (input: Tensor, options?: OpOptions & AsyncOpOptions) => Promise<Tensor>;

/** max(x, 0) of a tensor of any shape. */
export const relu: Unary = (input, options = {}) => run(prepareUnary('relu', input, options));
/** `relu` on the pool. */
export const reluAsync: UnaryAsync = (input, options = {}) => startUnary('relu', input, options);
/** 1 / (1 + exp(-x)), in float64, of a tensor of any shape. */
export const sigmoid: Unary = (input, options = {}) => run(prepareUnary('sigmoid', input, options));
/** `sigmoid` on the pool. */
export const sigmoidAsync: UnaryAsync = (input, options = {}) => startUnary('sigmoid', input, options);
/** x * sigmoid(x), in float64, of a tensor of any shape. */
export const silu: Unary = (input, options = {}) => run(prepareUnary('silu', input, options));
/** `silu` on the pool. */
export const siluAsync: UnaryAsync = (input, options = {}) => startUnary('silu', input, options);
/** x * clamp(x + 3, 0, 6) / 6, in float64, of a tensor of any shape. */
export const hardswish: Unary = (input, options = {}) => run(prepareUnary('hardswish', input, options));
/** `hardswish` on the pool. */
export const hardswishAsync: UnaryAsync = (input, options = {}) => startUnary('hardswish', input, options);

/** Softmax along axis 1 (channels), in float64. [N, C] or [N, C, ...]. @throws ERR_REPFUSE_SHAPE */
export function softmax(input: Tensor, options: OpOptions = {}): Tensor {
  return run(prepareSoftmax(input, options));
}

/** `softmax` on the pool. */
export async function softmaxAsync(input: Tensor, options: OpOptions & AsyncOpOptions = {}): Promise<Tensor> {
  return runAsync(prepareSoftmax(input, options), options);
}

/** a + b of tensors of one shape. @throws ERR_REPFUSE_SHAPE */
export function add(a: Tensor, b: Tensor, options: OpOptions = {}): Tensor {
  return run(prepareAdd(a, b, options));
}

/** `add` on the pool. */
export async function addAsync(a: Tensor, b: Tensor, options: OpOptions & AsyncOpOptions = {}): Promise<Tensor> {
  return runAsync(prepareAdd(a, b, options), options);
}

function prepareUnary(
  operator: 'relu' | 'sigmoid' | 'silu' | 'hardswish',
  input: Tensor,
  options: OpOptions,
): PreparedOp {
  expectF32(input, 'input', input.shape?.length);
  return prepare(operator, { count: input.size, input: input.data }, Tensor.f32(input.shape), options);
}

async function startUnary(
  operator: 'relu' | 'sigmoid' | 'silu' | 'hardswish',
  input: Tensor,
  options: OpOptions & AsyncOpOptions,
): Promise<Tensor> {
  return runAsync(prepareUnary(operator, input, options), options);
}

function prepareSoftmax(input: Tensor, options: OpOptions): PreparedOp {
  const [outer, channels, ...rest] = expectF32(input, 'input', Math.max(2, input.shape?.length)).shape as [
    number,
    number,
  ];
  const inner = (rest as number[]).reduce((product, dim) => product * dim, 1);
  return prepare('softmax', { outer, channels, inner, input: input.data }, Tensor.f32(input.shape), options);
}

function prepareAdd(a: Tensor, b: Tensor, options: OpOptions): PreparedOp {
  expectF32(a, 'a', a.shape?.length);
  expectF32(b, 'b', b.shape?.length);
  if (formatShape(a.shape) !== formatShape(b.shape)) {
    throw new RepfuseError(
      'ERR_REPFUSE_SHAPE',
      `Expected two tensors of one shape but received ${formatShape(a.shape)} and ${formatShape(b.shape)}`,
    );
  }
  return prepare('add', { count: a.size, a: a.data, b: b.data }, Tensor.f32(a.shape), options);
}
