import type { StateDict } from '../checkpoint/state-dict';
import { RepfuseError } from '../errors';
import type { Branch, Padding4, Stage } from '../ops';
import type { Tensor } from '../tensor/tensor';
import type { BranchRule, FamilyRule, StageRule } from './rule';

/** What a state dict does not say about a block. Fusing does not depend on it, running does. */
export interface BlockGeometry {
  readonly kernel: readonly [number, number];
  readonly stride: readonly [number, number];
  readonly padding: Padding4;
  readonly dilation: readonly [number, number];
  readonly groups: number;
}

/** BatchNorm eps of one block: one value, or one by the BatchNorm's key prefix. */
export type EpsOf = (batchNorm: string) => number;

/** Key prefixes of a stage's tensors: `conv` weights or a BatchNorm. */
export function stageKey(stage: StageRule): string | undefined {
  if ('conv' in stage) return stage.conv;
  if ('batchNorm' in stage) return stage.batchNorm;
  return undefined;
}

/** The keys that a stage cannot do without. */
export function requiredKeys(stage: StageRule): string[] {
  if ('conv' in stage) return [`${stage.conv}.weight`];
  if ('batchNorm' in stage) return [`${stage.batchNorm}.running_mean`, `${stage.batchNorm}.running_var`];
  return [];
}

/** All keys that a stage may have. */
export function possibleKeys(stage: StageRule): string[] {
  if ('conv' in stage) return [...requiredKeys(stage), `${stage.conv}.bias`];
  if ('batchNorm' in stage) {
    const prefix = stage.batchNorm;
    return [`${prefix}.weight`, `${prefix}.bias`, ...requiredKeys(stage), `${prefix}.num_batches_tracked`];
  }
  return [];
}

/** A branch of a rule as it occurs in a block: its index filled in, one chain chosen. */
export interface PresentBranch {
  readonly name: string;
  readonly stages: readonly StageRule[];
}

/** The branches that a block has, by the keys that are there. `has` is asked for keys relative to the block. */
export function presentBranches(rule: FamilyRule, has: (key: string) => boolean): PresentBranch[] {
  return rule.branches.flatMap((branch) => {
    if (branch.presence === 'repeated') {
      const found: PresentBranch[] = [];
      for (let i = 0; anyKey(branch, i, has); i++) found.push(choose(branch, i, has));
      return found;
    }
    return branch.presence === 'required' || anyKey(branch, 0, has) ? [choose(branch, 0, has)] : [];
  });
}

function anyKey(branch: BranchRule, index: number, has: (key: string) => boolean): boolean {
  return branch.chains.some((chain) => chain.some((stage) => possibleKeys(withIndex(stage, index)).some(has)));
}

function choose(branch: BranchRule, index: number, has: (key: string) => boolean): PresentBranch {
  const chains = branch.chains.map((chain) => chain.map((stage) => withIndex(stage, index)));
  const stages = chains.find((chain) => has(chain.flatMap(requiredKeys)[0]!)) ?? chains[0]!;
  return { name: branch.name.replace('{i}', String(index)), stages };
}

function withIndex(stage: StageRule, index: number): StageRule {
  const fill = (key: string) => key.replace('{i}', String(index));
  if ('conv' in stage) return { ...stage, conv: fill(stage.conv) };
  if ('batchNorm' in stage) return { batchNorm: fill(stage.batchNorm) };
  return stage;
}

/**
 * The branch as data: its stages with their tensors. All required tensors must be there.
 *
 * @param prefix of the block's keys in `tensors`, with its dot
 */
export function buildBranch(
  branch: PresentBranch,
  tensors: StateDict,
  prefix: string,
  geometry: BlockGeometry,
  epsOf: EpsOf,
): Branch {
  const get = (key: string): Tensor => {
    const tensor = tensors.get(prefix + key);
    if (tensor === undefined)
      throw new RepfuseError('ERR_REPFUSE_KEY', `Expected a tensor ${prefix}${key} but it is missing`, {
        tensor: prefix + key,
      });
    return tensor;
  };
  const optional = (key: string): Tensor | null => tensors.get(prefix + key) ?? null;
  const stages = branch.stages.map((stage): Stage => {
    if ('conv' in stage) {
      const weight = get(`${stage.conv}.weight`);
      return {
        kind: 'conv2d',
        weight,
        bias: optional(`${stage.conv}.bias`),
        ...convGeometry(stage.geometry, weight, geometry),
        plusIdentity: stage.plusIdentity ?? false,
      };
    }
    if ('batchNorm' in stage) {
      const key = stage.batchNorm;
      return {
        kind: 'batch_norm',
        runningMean: get(`${key}.running_mean`),
        runningVar: get(`${key}.running_var`),
        weight: optional(`${key}.weight`),
        bias: optional(`${key}.bias`),
        eps: epsOf(key),
      };
    }
    if ('padBorder' in stage) return { kind: 'pad_border', padding: geometry.padding };
    return {
      kind: 'avg_pool2d',
      kernel: geometry.kernel,
      stride: geometry.stride,
      padding: stage.avgPool === 'aligned' ? geometry.padding : [0, 0, 0, 0],
      countIncludePad: true,
    };
  });
  return { name: branch.name, stages };
}

function convGeometry(kind: 'aligned' | 'pointwise' | 'valid', weight: Tensor, block: BlockGeometry) {
  const { stride, dilation, groups } = block;
  if (kind === 'pointwise') return { stride: [1, 1], padding: [0, 0, 0, 0], dilation: [1, 1], groups } as const;
  if (kind === 'valid') return { stride, padding: [0, 0, 0, 0], dilation, groups } as const;
  // Taps centred on the block's kernel: padding shrinks by the taps that the branch lacks on either side.
  const [vertical, horizontal] = [0, 1].map((axis) => {
    const lacking = Math.floor(block.kernel[axis]! / 2) - Math.floor(weight.shape[2 + axis]! / 2);
    return lacking * dilation[axis]!;
  }) as [number, number];
  const [top, left, bottom, right] = block.padding;
  return {
    stride,
    padding: [top - vertical, left - horizontal, bottom - vertical, right - horizontal],
    dilation,
    groups,
  } as const;
}
