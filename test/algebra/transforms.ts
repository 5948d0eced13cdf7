import {
  type AffineConv,
  addBranches,
  alignTo,
  averagePool,
  composeSequential,
  concatOutputs,
  conv,
  foldBatchNorm,
  identity,
} from '../../lib/algebra';
import { Tensor } from '../../lib/tensor/tensor';
import type { FixtureTensor, Manifest } from '../support/fixtures';
import {
  type Dense,
  type DenseGrid,
  dense,
  denseAdd,
  denseAlign,
  denseBatchNorm,
  denseCompose,
  denseConcat,
} from '../support/reference-algebra';

/** A conv of the case, built twice: by the algebra and, independently, by the dense reference. */
export interface Pair {
  readonly fused: AffineConv;
  readonly reference: Dense;
}

type Tensors = ReadonlyMap<string, FixtureTensor>;

/** Builds the fused convolution of a transforms case. */
export function buildTransform(manifest: Manifest, tensors: Tensors, allowInexactBorder = false): Pair {
  const { op, config } = manifest;
  const grid: DenseGrid = {
    kernel: manifest.fused.kernel,
    before: manifest.fused.padding,
    dilation: manifest.fused.dilation,
  };
  const branches = (config.branches ?? []).map((branch: Manifest, i: number) =>
    withBatchNorm(convPair(`branch${i}`, branch, tensors), `branch${i}.bn`, config.bn, tensors),
  ) as Pair[];
  const fusedOf = (pairs: readonly Pair[]) => pairs.map((pair) => pair.fused);
  const referenceOf = (pairs: readonly Pair[]) => pairs.map((pair) => pair.reference);

  switch (op) {
    case 'conv_bn':
      return withBatchNorm(convPair('conv', config.conv, tensors), 'bn', config.bn, tensors);
    case 'add':
      return { fused: addBranches(fusedOf(branches)), reference: denseAdd(referenceOf(branches), grid) };
    case 'multiscale':
      return align({ fused: addBranches(fusedOf(branches)), reference: denseAdd(referenceOf(branches), grid) }, grid);
    case 'concat':
      return {
        fused: concatOutputs(fusedOf(branches), { input: config.input }),
        reference: denseConcat(referenceOf(branches), grid, config.input === 'split'),
      };
    case 'sequential': {
      const first = withBatchNorm(convPair('first', config.first, tensors), 'bn1', config.bn1, tensors);
      const second = convPair('second', config.second, tensors);
      const border = config.border === 'bias' ? 'bias' : 'zero';
      const fused = composeSequential(first.fused, second.fused, { border, allowInexactBorder });
      const reference = denseCompose(first.reference, second.reference, grid);
      return withBatchNorm({ fused, reference }, 'bn2', config.bn2, tensors);
    }
    case 'avgpool': {
      const { kernel, stride, padding, count_include_pad: countIncludePad, ceil_mode: ceilMode } = config.pool;
      const { channels, groups } = config;
      const options = { channels, groups, kernel, stride, padding, countIncludePad, ceilMode, allowInexactBorder };
      const values = new Float64Array(channels * kernel[0] * kernel[1]).fill(1 / (kernel[0] * kernel[1]));
      const geometry = { stride, before: padding, dilation: [1, 1] };
      const reference = dense(values, [channels, 1, ...kernel], null, channels, geometry);
      return withBatchNorm({ fused: averagePool(options), reference }, 'bn', config.bn, tensors);
    }
    case 'identity': {
      const { channels, groups } = config;
      const geometry = { stride: [1, 1], before: [0, 0], dilation: [1, 1] };
      const ones = dense(new Float64Array(channels).fill(1), [channels, 1, 1, 1], null, channels, geometry);
      const own = withBatchNorm({ fused: identity(channels, groups), reference: ones }, 'bn', config.bn, tensors);
      if (!config.plus_conv) return align(own, grid);
      const other = convPair('conv', manifest.fused, tensors);
      return {
        fused: addBranches([own.fused, other.fused]),
        reference: denseAdd([own.reference, other.reference], grid),
      };
    }
    default:
      throw new Error(`unknown op ${op}`);
  }
}

export function tensorOf(tensors: Tensors, name: string): Tensor | null {
  const found = tensors.get(name);
  return found === undefined ? null : new Tensor(found.dtype as 'F32', found.shape, found.data as Float32Array);
}

function convPair(name: string, config: Manifest, tensors: Tensors): Pair {
  const { stride, padding, dilation, groups } = config;
  const weight = tensorOf(tensors, `${name}.weight`)!;
  const bias = tensorOf(tensors, `${name}.bias`);
  const geometry = { stride, before: padding, dilation };
  return {
    fused: conv(weight, bias, { stride, padding, dilation, groups, name: `${name}.weight` }),
    reference: dense(weight.data as Float32Array, weight.shape, bias && (bias.data as Float32Array), groups, geometry),
  };
}

function withBatchNorm(pair: Pair, name: string, config: Manifest | undefined, tensors: Tensors): Pair {
  if (config === undefined) return pair;
  const runningMean = tensorOf(tensors, `${name}.running_mean`)!;
  const runningVar = tensorOf(tensors, `${name}.running_var`)!;
  const weight = tensorOf(tensors, `${name}.weight`);
  const bias = tensorOf(tensors, `${name}.bias`);
  const { eps } = config;
  return {
    fused: foldBatchNorm(pair.fused, { runningMean, runningVar, weight, bias, eps }, { name }),
    reference: denseBatchNorm(pair.reference, {
      gamma: weight && (weight.data as Float32Array),
      beta: bias && (bias.data as Float32Array),
      mean: runningMean.data as Float32Array,
      variance: runningVar.data as Float32Array,
      eps,
    }),
  };
}

function align({ fused, reference }: Pair, grid: DenseGrid): Pair {
  const { kernel, before, dilation } = grid;
  const two = (values: readonly number[]) => [values[0]!, values[1]!] as const;
  return {
    fused: alignTo(fused, { kernel: two(kernel), padding: two(before), dilation: two(dilation) }),
    reference: denseAlign(reference, grid),
  };
}
