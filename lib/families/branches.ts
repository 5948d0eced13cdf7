import type { StateDict } from '../checkpoint/state-dict';
import { RepfuseError } from '../errors';
import type { Branch, Padding4, Stage } from '../ops';
import type { Tensor } from '../tensor/tensor';
import type { StageRule } from './rule';
import type { PlannedBranch } from './stages';

/** What a state dict does not say about a block. Fusing does not depend on it, running does. */
export interface BlockGeometry {
  readonly kernel: readonly [number, number];
  readonly stride: readonly [number, number];
  readonly padding: Padding4;
  readonly dilation: readonly [number, number];
  readonly groups: number;
}

/** BatchNorm eps of one block, by the BatchNorm's key prefix. */
export type EpsOf = (batchNorm: string) => number;

/**
 * The branch as data: its stages with their tensors. All required tensors must be there.
 *
 * @param prefix of the block's keys in `tensors`, with its dot
 */
export function buildBranch(
  branch: PlannedBranch,
  tensors: StateDict,
  prefix: string,
  geometry: BlockGeometry,
  epsOf: EpsOf,
): Branch {
  const optional = (key: string): Tensor | null => tensors.get(prefix + key) ?? null;
  const get = (key: string): Tensor => {
    const tensor = optional(key);
    if (tensor !== null) return tensor;
    throw new RepfuseError('ERR_REPFUSE_KEY', `Expected a tensor ${prefix}${key} but it is missing`, {
      tensor: prefix + key,
    });
  };
  const buildStage = (stage: StageRule): Stage => {
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
  };
  return { name: branch.name, stages: branch.stages.map(buildStage) };
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
