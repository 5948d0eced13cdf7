import type { StateDict } from '../checkpoint/state-dict';
import type { Tensor } from '../tensor/tensor';
import type { ConvRule, FamilyRule, StageRule } from './rule';
import { convKeys, type ResolvedBranch, requiredKeys } from './stages';

export type Kernel = readonly [outChannels: number, inPerGroup: number, height: number, width: number];

/** Sizes of a convolution's kernel, or of a linear layer's weight as those of a 1x1 convolution. */
export function kernelShape({ shape }: Tensor): Kernel {
  const [out = 0, inPerGroup = 0, height = 1, width = 1] = shape;
  return [out, inPerGroup, height, width];
}

/** What a block's convolutions see and what they become, as far as the shapes of its tensors tell. */
export interface FusedShape {
  /** The block's kernel: branches are aligned to its height and width, a sum yields its output channels. */
  readonly block: Kernel;
  /** Groups of the branches; null where no tensor fixes them: then the fused values do not depend on them. */
  readonly groups: number | null;
  /** The fused convolution. */
  readonly fused: Kernel;
  readonly fusedGroups: number | null;
  /** Shape of the fused weight: OIHW, or [out, in] where the main layer is linear. */
  readonly weightShape: readonly number[];
}

/**
 * The shape of a block, from its main convolution where that stands alone. A depthwise main convolution behind another one has the inputs
 * of that; kernels that are joined are aligned to the largest.
 *
 * @param known groups that something else tells
 */
export function fusedShape(
  { anchor, combine = 'sum' }: FamilyRule,
  branches: readonly ResolvedBranch[],
  tensors: StateDict,
  prefix: string,
  known?: number,
): FusedShape | undefined {
  const main = tensors.get(prefix + anchor);
  if (main === undefined) return undefined;
  const [out, ownInputs, height, width] = kernelShape(main);
  const kernelOf = (stage: ConvRule) => {
    const tensor = tensors.get(prefix + convKeys(stage).weight);
    return tensor === undefined ? undefined : kernelShape(tensor);
  };
  const first = branches.map(({ stages }) => convolutions(stages)).find((convs) => convs.some(isOf(anchor)))?.[0];
  const inPerGroup = (first && !first.depthwise && kernelOf(first)?.[1]) || ownInputs;
  const joined = combine === 'sum' ? [] : branches.map(({ stages }) => convolutions(stages).at(-1));
  const kernels = joined.map((stage) => stage && kernelOf(stage));
  const most = (axis: 2 | 3, own: number) => Math.max(own, ...kernels.map((kernel) => kernel?.[axis] ?? 0));
  const block: Kernel = [out, inPerGroup, most(2, height), most(3, width)];
  const groups = known ?? deriveGroups(branches, tensors, prefix, inPerGroup);
  const outChannels = combine === 'sum' ? out : kernels.reduce((sum, kernel) => sum + (kernel?.[0] ?? 0), 0);
  // Depthwise kernels that read one map and are joined make a dense one; those that read a part each stay depthwise.
  const isDense = combine === 'concat' && branches.length > 1 && groups !== null;
  const fused: Kernel = [outChannels, isDense ? inPerGroup * groups : inPerGroup, block[2], block[3]];
  return {
    block,
    groups,
    fused,
    fusedGroups: isDense ? 1 : combine === 'split' ? outChannels : groups,
    weightShape: main.shape.length === 2 ? fused.slice(0, 2) : fused,
  };
}

function convolutions(stages: readonly StageRule[]): ConvRule[] {
  return stages.filter((stage): stage is ConvRule => 'conv' in stage);
}

function isOf(key: string): (stage: ConvRule) => boolean {
  return (stage) => convKeys(stage).weight === key;
}

/** Channels of a branch's input, where a BatchNorm, a constant or a factor before any convolution tells them. */
function inputChannels(stages: readonly StageRule[], tensors: StateDict, prefix: string): number | undefined {
  const end = stages.findIndex((stage) => 'conv' in stage);
  const sizes = (end < 0 ? stages : stages.slice(0, end))
    .flatMap(requiredKeys)
    .map((key) => tensors.get(prefix + key)?.size);
  return sizes.find((size) => size !== undefined);
}

/**
 * Groups, where a tensor fixes the input channels: an identity BatchNorm or a pooled input has all of them, a depthwise kernel
 * one group for each, and the map between two convolutions has as many channels as the second sees times its groups.
 */
function deriveGroups(
  branches: readonly ResolvedBranch[],
  tensors: StateDict,
  prefix: string,
  inPerGroup: number,
): number | null {
  for (const { stages } of branches) {
    const convStages = convolutions(stages);
    const [first, second] = convStages.map((stage) => tensors.get(prefix + convKeys(stage).weight));
    const channels = inputChannels(stages, tensors, prefix);
    if (channels !== undefined && channels % inPerGroup === 0) return channels / inPerGroup;
    if (convStages[0]?.depthwise && !convStages[0].expanding && first !== undefined) return first.shape[0]!;
    if (convStages.some((stage) => stage.depthwise)) continue;
    if (first !== undefined && second?.shape.length === 4 && first.shape[0]! % second.shape[1]! === 0) {
      return first.shape[0]! / second.shape[1]!;
    }
  }
  return null;
}
