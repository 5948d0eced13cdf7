import type { ReparameterizableBlock } from '../../lib/blocks';
import { seededUniform } from '../../lib/tensor/random';
import { Tensor } from '../../lib/tensor/tensor';

type Draw = (uniform: () => number) => number;

/** By the last name of the key. Draws are in the order of the keys. */
const VALUES: Readonly<Record<string, Draw>> = {
  weight: (uniform) => (0.3 + 1.7 * uniform()) * (uniform() < 0.25 ? -1 : 1),
  bias: (uniform) => 2 * uniform() - 1,
  running_mean: (uniform) => 2 * uniform() - 1,
  running_var: (uniform) => 0.05 * 100 ** uniform(),
};

/**
 * Gives every BatchNorm of a block the statistics of a network that has been trained, roughly: weight 0.3..2 with a quarter
 * negative, bias and mean within +-1, variance 0.05..5 (log-uniform). With fresh statistics a fused BatchNorm is close to nothing
 * and proves little.
 */
export function randomizeStatistics(block: ReparameterizableBlock, seed: number): void {
  const uniform = seededUniform(seed);
  const tensors = block.stateDict();
  for (const [key, { shape }] of tensors) {
    const dot = key.lastIndexOf('.');
    const draw = VALUES[key.slice(dot + 1)];
    if (draw === undefined || !tensors.has(`${key.slice(0, dot)}.running_mean`)) continue;
    tensors.set(
      key,
      Tensor.f32(
        shape,
        Float32Array.from({ length: shape[0]! }, () => draw(uniform)),
      ),
    );
  }
  block.loadStateDict(tensors);
}
