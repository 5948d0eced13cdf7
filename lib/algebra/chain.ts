import type { Tensor } from '../tensor/tensor';

/** `[vertical, horizontal]`. */
export type Axes = readonly [number, number];

/** A convolution kernel OIHW as it was given, or a depthwise kernel whose every tap is `value` (identity, average pooling). */
export interface Kernel {
  /** What error messages call it, such as `rbr_dense.conv.weight`. */
  readonly name: string;
  readonly tensor: Tensor | null;
  readonly value: number;
  readonly outChannels: number;
  readonly inPerGroup: number;
  readonly size: Axes;
  readonly groups: number;
}

/** One link of a chain: a kernel, then a scale per output channel of it (null: 1). */
export interface Factor {
  readonly kernel: Kernel;
  readonly scale: Float64Array | null;
  /** Number of its first channel in the map on its output side, and on its input side. */
  readonly outBegin: number;
  readonly inBegin: number;
  /** Input pixels between neighbouring taps. */
  readonly step: Axes;
}

/**
 * A product of factors, the one nearest the output first. Output pixel y sees its tap (0, 0) at input pixel
 * `y * stride + offset`, so a chain does not depend on the grid of the kernel that it becomes part of.
 */
export interface Chain {
  readonly factors: readonly Factor[];
  readonly offset: Axes;
}

/** A constant on the channels from `begin` of a map, seen through the factors that follow it. */
export interface BiasTerm {
  readonly factors: readonly Factor[];
  readonly constant: Float64Array;
  readonly begin: number;
}

type Span = readonly [begin: number, end: number];

/** Channels on a factor's input side that channels `out` of its output side reach; null for none. */
function reach({ kernel, outBegin, inBegin }: Factor, out: Span): Span | null {
  const begin = Math.max(out[0], outBegin) - outBegin;
  const end = Math.min(out[1], outBegin + kernel.outChannels) - outBegin;
  if (begin >= end) return null;
  const perGroup = kernel.outChannels / kernel.groups;
  const first = Math.floor(begin / perGroup);
  const last = Math.floor((end - 1) / perGroup);
  return [inBegin + first * kernel.inPerGroup, inBegin + (last + 1) * kernel.inPerGroup];
}

/** Whether the chains connect group g of the outputs only with group g of the inputs, for every one of `groups` groups. */
export function fitsGroups(chains: readonly Chain[], outChannels: number, inChannels: number, groups: number): boolean {
  if (outChannels % groups !== 0 || inChannels % groups !== 0) return false;
  const outputs = outChannels / groups;
  const inputs = inChannels / groups;
  for (let group = 0; group < groups; group++) {
    for (const { factors } of chains) {
      let span: Span | null = [group * outputs, (group + 1) * outputs];
      for (const factor of factors) span = span && reach(factor, span);
      if (span !== null && (span[0] < group * inputs || span[1] > (group + 1) * inputs)) return false;
    }
  }
  return true;
}

/** The largest number of groups that the chains fit; 1 is always possible. */
export function finestGroups(chains: readonly Chain[], outChannels: number, inChannels: number): number {
  for (let groups = Math.min(outChannels, inChannels); groups > 1; groups--) {
    if (fitsGroups(chains, outChannels, inChannels, groups)) return groups;
  }
  return 1;
}
