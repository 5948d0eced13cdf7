import { checkArgument, checkOptions } from '../arguments/check';
import { membersOf, nullish } from '../arguments/schemas';
import { TENSOR } from '../tensor/schemas';
import { type Float32Tensor, Tensor } from '../tensor/tensor';
import { sigmoid, sigmoidAsync } from './activation';
import { conv2d, conv2dAsync } from './conv2d';
import { globalAvgPool, globalAvgPoolAsync } from './pool';
import {
  ASYNC_OP_OPTIONS,
  type AsyncOpOptions,
  expectShape,
  OP_OPTIONS,
  type OpOptions,
  type PreparedOp,
  prepare,
  run,
  runAsync,
  sizesOf,
} from './run';

/** The two 1x1 convolutions of a squeeze-excite block: weights [R, C, 1, 1] and [C, R, 1, 1], biases [R] and [C]. */
export interface SqueezeExcite {
  readonly reduce: { readonly weight: Tensor; readonly bias?: Tensor | null };
  readonly expand: { readonly weight: Tensor; readonly bias?: Tensor | null };
}

const CONVOLUTION = membersOf<SqueezeExcite['reduce']>()({ weight: TENSOR, bias: nullish(TENSOR) });
const WEIGHTS = membersOf<SqueezeExcite>()({ reduce: CONVOLUTION, expand: CONVOLUTION });

/**
 * x * sigmoid(expand(relu(reduce(mean of x over its pixels)))). [N, C, H, W] -> the same.
 * Source: Hu et al., Squeeze-and-Excitation Networks, CVPR 2018, equations 2 to 4.
 *
 * @throws ERR_REPFUSE_SHAPE
 */
export function squeezeExcite(input: Tensor, weights: SqueezeExcite, options: OpOptions = {}): Float32Tensor {
  const { reduce, expand } = checkArgument('weights', WEIGHTS, weights);
  const checked = checkOptions('squeezeExcite', OP_OPTIONS, options);
  const squeezed = conv2d(globalAvgPool(input, checked), reduce.weight, reduce.bias, {
    ...checked,
    activation: 'relu',
  });
  const gate = sigmoid(conv2d(squeezed, expand.weight, expand.bias, checked), checked);
  return run(prepareGate(input, gate, checked));
}

/** `squeezeExcite` on the pool. */
export async function squeezeExciteAsync(
  input: Tensor,
  weights: SqueezeExcite,
  options: OpOptions & AsyncOpOptions = {},
): Promise<Float32Tensor> {
  const { reduce, expand } = checkArgument('weights', WEIGHTS, weights);
  const checked = checkOptions('squeezeExciteAsync', ASYNC_OP_OPTIONS, options);
  const mean = await globalAvgPoolAsync(input, checked);
  const squeezed = await conv2dAsync(mean, reduce.weight, reduce.bias, { ...checked, activation: 'relu' });
  const gate = await sigmoidAsync(await conv2dAsync(squeezed, expand.weight, expand.bias, checked), checked);
  return runAsync(prepareGate(input, gate, checked), checked);
}

function prepareGate(input: Tensor, gate: Tensor, options: OpOptions): PreparedOp {
  const [batch, channels, height, width] = sizesOf(input);
  expectShape(gate, 'the output of expand', [batch, channels, 1, 1]);
  return prepare(
    'gate',
    { planes: batch * channels, size: height * width, input: input.data, gate: gate.data },
    Tensor.f32(input.shape),
    options,
  );
}
