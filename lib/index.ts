export { ERROR_CODES, type ErrorCode, RepfuseError } from './errors';
export { type Info, info } from './native/info';
export * as ops from './ops';
export type { DType, TensorData } from './tensor/dtype';
export { Tensor } from './tensor/tensor';
