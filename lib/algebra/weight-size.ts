import { elementCount } from '../tensor/tensor';
import type { AffineConv, ConvGeometry } from './affine-conv';
import type { Kernel } from './chain';

/** Elements that a fused weight may hold in any case, and how many times the taps of the kernels that it is made of it may have beyond. */
const MIN_ALLOWED = 2 ** 22;
const TIMES = 64;
/** Largest stride, padding or dilation of a graph. */
const MAX_NUMBER = 2 ** 31 - 1;

/** What a description holds: vectors of its channels, and every way through its parts. In steps of a budget. */
export function effortOf({ outChannels, value }: AffineConv): number {
  const ways = [...value.chains, ...value.biasTerms].reduce((sum, { factors }) => sum + factors.length + 1, 0);
  return 4 * outChannels + ways / 4;
}

/** Elements of the weight that a description becomes. */
export function weightElements({ outChannels, inChannels, groups, kernel }: ConvGeometry): number {
  return outChannels * (inChannels / groups) * elementCount(kernel);
}

/**
 * Whether a description may become one convolution: of a weight that is not out of proportion, and of strides, paddings and dilations that others can
 * read (those of convolutions behind each other multiply).
 */
export function isPracticable(conv: AffineConv): boolean {
  const numbers = [...conv.stride, ...conv.dilation, ...conv.padding];
  return numbers.every((number) => Math.abs(number) <= MAX_NUMBER) && weightElements(conv) <= mostWeightElements(conv);
}

/**
 * How many it may be: taps that lie far apart (dilations, offsets) and averages over large windows make a kernel of hardly anything but zeros or of
 * one number, of any size.
 */
export function mostWeightElements(conv: AffineConv): number {
  const kernels = new Set<Kernel>();
  for (const { factors } of conv.value.chains) for (const { kernel } of factors) kernels.add(kernel);
  let taps = 1;
  for (const { tensor, size } of kernels) if (tensor !== null) taps += elementCount(size);
  return Math.max(MIN_ALLOWED, TIMES * weightElements({ ...conv, kernel: [1, taps] }));
}
