import { checkOptions } from '../arguments/check';
import { RepfuseError } from '../errors';
import { type Float32Tensor, formatShape, Tensor } from '../tensor/tensor';
import {
  ASYNC_OP_OPTIONS,
  type AsyncOpOptions,
  expectF32,
  expectShape,
  OP_OPTIONS,
  type OpOptions,
  type PreparedOp,
  prepare,
  run,
  runAsync,
} from './run';

/**
 * Fully connected layer: y = x weight^T + bias.
 *
 * @param input [N, I]
 * @param weight [O, I]
 * @param bias [O], or nothing
 * @returns [N, O]
 * @throws ERR_REPFUSE_SHAPE, ERR_REPFUSE_INVALID_ARGUMENT
 */
export function linear(input: Tensor, weight: Tensor, bias?: Tensor | null, options: OpOptions = {}): Float32Tensor {
  return run(prepareLinear(input, weight, bias, checkOptions('linear', OP_OPTIONS, options)));
}

/** `linear` on the pool. */
export async function linearAsync(
  input: Tensor,
  weight: Tensor,
  bias?: Tensor | null,
  options: OpOptions & AsyncOpOptions = {},
): Promise<Float32Tensor> {
  const checked = checkOptions('linearAsync', ASYNC_OP_OPTIONS, options);
  return runAsync(prepareLinear(input, weight, bias, checked), checked);
}

function prepareLinear(input: Tensor, weight: Tensor, bias: Tensor | null | undefined, options: OpOptions): PreparedOp {
  const [rows, inFeatures] = expectF32(input, 'input', 2).shape as [number, number];
  const [outFeatures, expected] = expectF32(weight, 'weight', 2).shape as [number, number];
  if (inFeatures !== expected) {
    throw new RepfuseError(
      'ERR_REPFUSE_SHAPE',
      `Expected ${expected} features for weight ${formatShape(weight.shape)} but received ${inFeatures}`,
    );
  }
  if (bias != null) expectShape(bias, 'bias', [outFeatures]);
  return prepare(
    'linear',
    { rows, inFeatures, outFeatures, input: input.data, weight: weight.data, bias: bias?.data ?? null },
    Tensor.f32([rows, outFeatures]),
    options,
  );
}
