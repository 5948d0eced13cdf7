export { ERROR_CODES, type ErrorCode, RepfuseError } from './errors';
export { type Info, info } from './native/info';
export type { DType, TensorData } from './tensor/dtype';
export { Tensor } from './tensor/tensor';
