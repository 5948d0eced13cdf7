import type { StateDict } from '../checkpoint/state-dict';
import { RepfuseError } from '../errors';
import type { Branch, Padding4, Stage } from '../ops';
import type { Tensor } from '../tensor/tensor';
import { kernelShape } from './fused-shape';
import type { ConvRule, StageRule } from './rule';

import { batchNormKeys, convKeys, type ResolvedBranch } from './stages';

/** What a state dict does not say about a block. Fusing does not depend on it, running does. */
export interface BlockGeometry {
  readonly kernel: readonly [number, number];
  readonly stride: readonly [number, number];
  readonly padding: Padding4;
  readonly dilation: readonly [number, number];
  readonly groups: number;
  /** Input channels, where they are known. */
  readonly channels?: number | undefined;
}

/** BatchNorm eps of one block, by the BatchNorm's key prefix. */
export type EpsLookup = (batchNorm: string) => number;

/**
 * The branch as data: its stages with their tensors. All required tensors must be there.
 *
 * @param prefix of the block's keys in `tensors`, with its dot
 */
export function buildBranch(
  { name, stages }: Pick<ResolvedBranch, 'name' | 'stages'>,
  tensors: StateDict,
  prefix: string,
  geometry: BlockGeometry,
  epsFor: EpsLookup,
): Branch {
  let channels = geometry.channels;
  const built = stages.map((stage) => {
    const next = buildStage(stage, tensors, prefix, { ...geometry, channels }, epsFor);
    if (next.kind === 'conv2d' && next.taps === undefined) channels = next.weight.shape[0];
    return next;
  });
  return { name, stages: built };
}

/** A stage with its tensors. All required ones must be there. */
export function buildStage(
  stage: StageRule,
  tensors: StateDict,
  prefix: string,
  geometry: BlockGeometry,
  epsFor: EpsLookup,
): Stage {
  const optional = (key: string): Tensor | null => tensors.get(prefix + key) ?? null;
  const get = (key: string): Tensor => {
    const tensor = optional(key);
    if (tensor !== null) return tensor;
    throw new RepfuseError('ERR_REPFUSE_KEY', `Expected a tensor ${prefix}${key} but it is missing`, {
      tensor: prefix + key,
    });
  };
  if ('conv' in stage) {
    const keys = convKeys(stage);
    const weight = get(keys.weight);
    return {
      kind: 'conv2d',
      weight,
      bias: keys.bias === undefined ? null : optional(keys.bias),
      ...convGeometry(stage, weight, geometry),
      plusIdentity: stage.plusIdentity ?? false,
      ...(stage.taps ? { taps: geometry.channels } : {}),
    };
  }
  if ('batchNorm' in stage) {
    const keys = batchNormKeys(stage);
    return {
      kind: 'batch_norm',
      runningMean: get(keys.mean),
      runningVar: get(keys.variance),
      weight: optional(keys.weight),
      bias: optional(keys.bias),
      eps: epsFor(stage.batchNorm),
    };
  }
  if ('scale' in stage) {
    const { scale, row, negative = false, zeroIsOne = false } = stage;
    return { kind: 'scale', scale: stage.optional ? optional(scale) : get(scale), row, negative, zeroIsOne };
  }
  if ('bias' in stage) return { kind: 'bias', bias: get(stage.bias) };
  if ('padBorder' in stage) return { kind: 'pad_border', padding: geometry.padding };
  return {
    kind: 'avg_pool2d',
    kernel: geometry.kernel,
    stride: geometry.stride,
    padding: stage.avgPool === 'aligned' ? geometry.padding : [0, 0, 0, 0],
    countIncludePad: true,
  };
}

function convGeometry(rule: ConvRule, weight: Tensor, block: BlockGeometry) {
  const own = rule.expanding || rule.taps ? block.channels : weight.shape[0];
  const groups = rule.depthwise ? own! : block.groups;
  const { stride } = block;
  if (rule.geometry === 'pointwise')
    return { stride: [1, 1], padding: [0, 0, 0, 0], dilation: [1, 1], groups } as const;
  if (rule.geometry === 'valid') return { stride, padding: [0, 0, 0, 0], dilation: block.dilation, groups } as const;
  // Taps centred on the block's kernel: padding shrinks by the taps that the branch lacks on either side.
  const dilation =
    rule.dilation === undefined ? block.dilation : ([Number(rule.dilation), Number(rule.dilation)] as const);
  const size = rule.taps ? weight.shape.slice(-2) : kernelShape(weight).slice(2);
  const [vertical, horizontal] = [0, 1].map((axis) => {
    const half = (size: number, dilation: number) => Math.floor(size / 2) * dilation;
    return half(block.kernel[axis]!, block.dilation[axis]!) - half(size[axis]!, dilation[axis]!);
  }) as [number, number];
  const [top, left, bottom, right] = block.padding;
  return {
    stride,
    padding: [top - vertical, left - horizontal, bottom - vertical, right - horizontal],
    dilation,
    groups,
  } as const;
}
