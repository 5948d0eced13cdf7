import { checkArgument } from '../arguments/check';
import { listOf } from '../arguments/schemas';
import { RepfuseError } from '../errors';
import { TENSOR } from '../tensor/schemas';
import { type Float32Tensor, formatShape, Tensor } from '../tensor/tensor';
import { expectF32 } from './run';

const TENSORS = listOf(TENSOR);

/** Joins activations along channels: [N, C1, H, W], [N, C2, H, W], ... -> [N, C1 + C2 + ..., H, W]. @throws ERR_REPFUSE_SHAPE */
export function concatChannels(tensors: readonly Tensor[]): Float32Tensor {
  const inputs = checkArgument('inputs', TENSORS, tensors);
  for (const [index, input] of inputs.entries()) expectF32(input, `inputs[${index}]`, 4);
  const [batch = 0, , height = 0, width = 0] = inputs[0]?.shape ?? [];
  const other = inputs.find(({ shape }) => shape[0] !== batch || shape[2] !== height || shape[3] !== width);
  if (inputs.length === 0 || other !== undefined) {
    throw new RepfuseError(
      'ERR_REPFUSE_SHAPE',
      `Expected activations of one batch and size to join but received ${inputs.map(({ shape }) => formatShape(shape)).join(', ') || 'none'}`,
    );
  }
  const channels = inputs.reduce((sum, { shape }) => sum + shape[1]!, 0);
  const joined = Tensor.f32([batch, channels, height, width]);
  const data = joined.data as Float32Array;
  let at = 0;
  for (let image = 0; image < batch; image++) {
    for (const { data: from, size } of inputs) {
      const item = size / batch;
      data.set((from as Float32Array).subarray(image * item, (image + 1) * item), at);
      at += item;
    }
  }
  return joined;
}
