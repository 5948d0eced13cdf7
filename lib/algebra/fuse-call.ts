import { RepfuseError } from '../errors';
import type { TensorData } from '../tensor/dtype';
import { type AffineConv, axes, paddingOf } from './affine-conv';
import type { Factor } from './chain';

/** The native argument object of a description (native/src/addon/fuse.cc), and how to read its errors. */
export interface FuseCall {
  readonly args: Readonly<Record<string, unknown>>;
  /** The error with the tensor at fault in place of its index. */
  named(error: unknown): unknown;
}

/** Places the chains on the grid of the convolution. */
export function fuseCall(conv: AffineConv): FuseCall {
  const arrays: TensorData[] = [];
  const factors: Factor[] = [];
  const native: object[] = [];

  const arrayIndex = (data: TensorData) => {
    const known = arrays.indexOf(data);
    return known >= 0 ? known : arrays.push(data) - 1;
  };
  const factorIndex = (factor: Factor) => {
    const known = factors.indexOf(factor);
    if (known >= 0) return known;
    const { kernel } = factor;
    native.push({
      shape: [kernel.outChannels, kernel.inPerGroup, ...kernel.size],
      groups: kernel.groups,
      array: kernel.tensor === null ? -1 : arrayIndex(kernel.tensor.data),
      bf16: kernel.tensor?.dtype === 'BF16',
      value: kernel.value,
      scale: factor.scale,
      outBegin: factor.outBegin,
      inBegin: factor.inBegin,
      step: axes((axis) => (kernel.size[axis] === 1 ? 1 : factor.step[axis]! / conv.dilation[axis]!)),
    });
    return factors.push(factor) - 1;
  };

  const { chains, bias, biasTerms } = conv.value;
  const args = {
    outChannels: conv.outChannels,
    inPerGroup: conv.inChannels / conv.groups,
    kernel: conv.kernel,
    groups: conv.groups,
    arrays,
    factors: native,
    chains: chains.map((chain) => ({
      factors: chain.factors.map(factorIndex),
      origin: axes((axis) => (chain.offset[axis]! + paddingOf(conv, axis)[0]) / conv.dilation[axis]!),
    })),
    biases: [{ factors: [], constant: bias, begin: 0 }, ...biasTerms].map((term) => ({
      factors: term.factors.map(factorIndex),
      constant: term.constant,
      begin: term.begin,
    })),
  };

  const named = (error: unknown) => {
    if (!(error instanceof RepfuseError) || error.code !== 'ERR_REPFUSE_NOT_FINITE') return error;
    const { code, message, details } = error;
    const kernel = factors[details.where as number]?.kernel;
    if (kernel === undefined) {
      return new RepfuseError(
        code,
        `Expected fused values within float32 but received an overflow (${message})`,
        details,
      );
    }
    return new RepfuseError(code, `Expected finite values for ${kernel.name} but received others (${message})`, {
      name: kernel.name,
      tensor: kernel.tensor,
    });
  };
  return { args, named };
}
