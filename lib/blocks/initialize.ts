import type { StateDict } from '../checkpoint/state-dict';
import { seededUniform, uniformValues } from '../tensor/random';
import { elementCount, Tensor } from '../tensor/tensor';
import type { TensorSpec, TensorSpecs } from './definition';

/**
 * Fresh tensors as PyTorch's constructors make them: convolutions uniform in +-1/sqrt(fan in) (Kaiming uniform with a = sqrt 5),
 * BatchNorms neutral (weight 1, bias 0, mean 0, variance 1). One generator (`seededUniform`) draws all, in the order of the keys.
 */
export function initialTensors(specs: TensorSpecs, seed: number): StateDict {
  const uniform = seededUniform(seed);
  return new Map([...specs].map(([key, spec]) => [key, initialTensor(spec, uniform)]));
}

function initialTensor({ shape, role, fanIn }: TensorSpec, uniform: () => number): Tensor {
  if (role === 'counter') return new Tensor('I64', shape, new BigInt64Array(1));
  const count = elementCount(shape);
  if (role === 'weight' || role === 'bias') {
    const bound = 1 / Math.sqrt(fanIn);
    return Tensor.f32(shape, uniformValues(uniform, count, -bound, bound));
  }
  return Tensor.f32(shape, new Float32Array(count).fill(role === 'gamma' || role === 'var' ? 1 : 0));
}

/**
 * Statistics of a network that has been trained, roughly: weight 0.3..2 with a quarter negative, bias and mean within +-1,
 * variance 0.05..5 (log-uniform). With fresh statistics a fused BatchNorm is close to nothing and proves little.
 */
export function roughStatistics(specs: TensorSpecs, seed: number): StateDict {
  const uniform = seededUniform(seed);
  const values: StateDict = new Map();
  for (const [key, { role, shape }] of specs) {
    const count = elementCount(shape);
    const draw = (value: () => number) =>
      values.set(key, Tensor.f32(shape, Float32Array.from({ length: count }, value)));
    if (role === 'gamma') draw(() => (0.3 + 1.7 * uniform()) * (uniform() < 0.25 ? -1 : 1));
    if (role === 'beta' || role === 'mean') draw(() => 2 * uniform() - 1);
    if (role === 'var') draw(() => 0.05 * 100 ** uniform());
  }
  return values;
}
