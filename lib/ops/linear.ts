import { RepfuseError } from '../errors';
import { formatShape, Tensor } from '../tensor/tensor';
import { eagerOp, expectF32, expectShape, NO_OTHER_OPTIONS, type OpOptions, type PreparedOp, prepare } from './run';

const LINEAR = eagerOp('linear', prepareLinear, NO_OTHER_OPTIONS);

/**
 * Fully connected layer: y = x weight^T + bias.
 *
 * @param input [N, I]
 * @param weight [O, I]
 * @param bias [O], or nothing
 * @returns [N, O]
 * @throws ERR_REPFUSE_SHAPE, ERR_REPFUSE_INVALID_ARGUMENT
 */
export const linear = LINEAR.run;
/** `linear` on the pool. */
export const linearAsync = LINEAR.runAsync;

function prepareLinear(options: OpOptions, input: Tensor, weight: Tensor, bias?: Tensor | null): PreparedOp {
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
