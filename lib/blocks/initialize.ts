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
