import { RepfuseError } from '../errors';
import type { BlockGeometry, EpsLookup } from '../families/branches';
import type { BranchRole, ConvRule, FamilyRule, SqueezeExciteRule } from '../families/rule';
import { convKeys, type ResolvedBranch } from '../families/stages';

/** What a block class says of itself beyond the options that all share. */
export interface BlockStructure {
  /** Names its tensors. */
  readonly rule: FamilyRule;
  /** The branches of the rule that it has. */
  readonly branches: readonly ResolvedBranch[];
  readonly activation: 'none' | 'relu';
  readonly squeezeExcite?: SqueezeExciteRule | null;
  /** Channels between the two convolutions of a `sequential` branch. */
  readonly internalChannels?: number;
}

/** A block, completely: every key and shape follows. */
export interface BlockDefinition extends Required<BlockStructure> {
  readonly inChannels: number;
  readonly outChannels: number;
  readonly geometry: BlockGeometry;
  /** Whether BatchNorms have weight and bias. */
  readonly affine: boolean;
  readonly epsFor: EpsLookup;
}

/** A tensor that a block's state dict holds. */
export interface TensorSpec {
  readonly shape: readonly number[];
  readonly role: 'weight' | 'bias' | 'gamma' | 'beta' | 'mean' | 'var' | 'counter';
  /** Inputs that each output sums over, for the initialisation; 1 for BatchNorms. */
  readonly fanIn: number;
}

export type TensorSpecs = ReadonlyMap<string, TensorSpec>;

/** Tensors of the training branches, in their order. */
export function trainingSpecs(definition: BlockDefinition): TensorSpecs {
  const { branches, inChannels, outChannels, internalChannels, geometry } = definition;
  const specs = new Map<string, TensorSpec>();
  for (const { role, stages } of branches) {
    let channels = inChannels;
    const lastConv = stages.findLastIndex((stage) => 'conv' in stage);
    stages.forEach((stage, index) => {
      if ('conv' in stage) {
        const perGroup = channels / geometry.groups;
        const [height, width] = kernelSize(stage, role, geometry);
        channels = index === lastConv ? outChannels : internalChannels;
        const shape = [channels, perGroup, height, width];
        specs.set(convKeys(stage).weight, { shape, role: 'weight', fanIn: perGroup * height * width });
      } else if ('batchNorm' in stage) {
        for (const [key, spec] of batchNormSpecs(stage.batchNorm, channels, definition.affine)) specs.set(key, spec);
      }
    });
  }
  return specs;
}

function kernelSize(
  stage: ConvRule,
  role: BranchRole,
  { kernel: [height, width] }: BlockGeometry,
): readonly [number, number] {
  if (stage.geometry === 'pointwise' || role === 'pointwise') return [1, 1];
  if (role === 'vertical') return [height, 1];
  if (role === 'horizontal') return [1, width];
  return [height, width];
}

function batchNormSpecs(key: string, channels: number, affine: boolean): readonly (readonly [string, TensorSpec])[] {
  const vector = (role: TensorSpec['role']): TensorSpec => ({ shape: [channels], role, fanIn: 1 });
  const parameters = [
    [`${key}.weight`, vector('gamma')],
    [`${key}.bias`, vector('beta')],
  ] as const;
  return [
    ...(affine ? parameters : []),
    [`${key}.running_mean`, vector('mean')],
    [`${key}.running_var`, vector('var')],
    [`${key}.num_batches_tracked`, { shape: [], role: 'counter', fanIn: 1 }],
  ];
}

/** Tensors of the deploy form: one convolution with bias. */
export function deploySpecs({ rule, geometry, inChannels, outChannels }: BlockDefinition): TensorSpecs {
  const inPerGroup = inChannels / geometry.groups;
  const fanIn = inPerGroup * geometry.kernel[0] * geometry.kernel[1];
  return new Map<string, TensorSpec>([
    [rule.deploy.weight, { shape: [outChannels, inPerGroup, ...geometry.kernel], role: 'weight', fanIn }],
    [rule.deploy.bias, { shape: [outChannels], role: 'bias', fanIn }],
  ]);
}

/** Tensors beside the branches, in both forms. */
export function squeezeExciteSpecs({ squeezeExcite, outChannels }: BlockDefinition): TensorSpecs {
  if (squeezeExcite === null) return new Map();
  const { reduce, expand } = squeezeExcite;
  const hidden = hiddenChannels(squeezeExcite, outChannels);
  return new Map<string, TensorSpec>([
    [`${reduce}.weight`, { shape: [hidden, outChannels, 1, 1], role: 'weight', fanIn: outChannels }],
    [`${reduce}.bias`, { shape: [hidden], role: 'bias', fanIn: outChannels }],
    [`${expand}.weight`, { shape: [outChannels, hidden, 1, 1], role: 'weight', fanIn: hidden }],
    [`${expand}.bias`, { shape: [outChannels], role: 'bias', fanIn: hidden }],
  ]);
}

function hiddenChannels({ reduction, roundTo }: SqueezeExciteRule, outChannels: number): number {
  const hidden =
    roundTo === undefined
      ? Math.floor(outChannels / reduction)
      : roundTo * Math.max(1, Math.floor(outChannels / reduction / roundTo + 0.5));
  if (hidden > 0) return hidden;
  throw new RepfuseError(
    'ERR_REPFUSE_INVALID_ARGUMENT',
    `Expected at least ${reduction} outChannels for squeeze-excite, which reduces them by that factor, but received ${outChannels}`,
  );
}
