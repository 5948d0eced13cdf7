import { Tensor } from '../tensor/tensor';
import { sigmoid, sigmoidAsync } from './activation';
import { conv2d, conv2dAsync } from './conv2d';
import { globalAvgPool, globalAvgPoolAsync } from './pool';
import { type AsyncOpOptions, type OpOptions, type PreparedOp, prepare, run, runAsync, sizesOf } from './run';

/** The two 1x1 convolutions of a squeeze-excite block: weights [R, C, 1, 1] and [C, R, 1, 1], biases [R] and [C]. */
export interface SqueezeExcite {
  readonly reduce: { readonly weight: Tensor; readonly bias?: Tensor | null };
  readonly expand: { readonly weight: Tensor; readonly bias?: Tensor | null };
}

/**
 * x * sigmoid(expand(relu(reduce(mean of x over its pixels)))). [N, C, H, W] -> the same.
 * Source: Hu et al., Squeeze-and-Excitation Networks, CVPR 2018, equations 2 to 4.
 *
 * @throws ERR_REPFUSE_SHAPE
 */
export function squeezeExcite(input: Tensor, { reduce, expand }: SqueezeExcite, options: OpOptions = {}): Tensor {
  const squeezed = conv2d(globalAvgPool(input, options), reduce.weight, reduce.bias, {
    ...options,
    activation: 'relu',
  });
  const gate = sigmoid(conv2d(squeezed, expand.weight, expand.bias, options), options);
  return run(prepareGate(input, gate, options));
}

/** `squeezeExcite` on the pool. */
export async function squeezeExciteAsync(
  input: Tensor,
  { reduce, expand }: SqueezeExcite,
  options: OpOptions & AsyncOpOptions = {},
): Promise<Tensor> {
  const mean = await globalAvgPoolAsync(input, options);
  const squeezed = await conv2dAsync(mean, reduce.weight, reduce.bias, { ...options, activation: 'relu' });
  const gate = await sigmoidAsync(await conv2dAsync(squeezed, expand.weight, expand.bias, options), options);
  return runAsync(prepareGate(input, gate, options), options);
}

function prepareGate(input: Tensor, gate: Tensor, options: OpOptions): PreparedOp {
  const [batch, channels, height, width] = sizesOf(input);
  return prepare(
    'gate',
    { planes: batch * channels, size: height * width, input: input.data, gate: gate.data },
    Tensor.f32(input.shape),
    options,
  );
}
