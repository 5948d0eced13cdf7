import type { BlockGeometry, PresentBranch } from '../families/branches';
import { stageKey } from '../families/branches';
import type { FamilyRule } from '../families/rule';

/** Squeeze-excite beside a block: key prefixes of its two 1x1 convolutions. */
export interface SqueezeExciteDefinition {
  readonly reduce: string;
  readonly expand: string;
  readonly hidden: number;
  /** Before the activation (RepVGG, MobileOne) or after it (RepVGGplus). */
  readonly position: 'before-activation' | 'after-activation';
}

/** OIHW. */
export type KernelShape = readonly [number, number, number, number];

/** A block's structure: the rule that names its tensors, the branches that it has, every shape. */
export interface BlockDefinition {
  readonly rule: FamilyRule;
  readonly branches: readonly PresentBranch[];
  /** Shape of each convolution's weight, by key prefix. */
  readonly convShapes: ReadonlyMap<string, KernelShape>;
  readonly inChannels: number;
  readonly outChannels: number;
  readonly geometry: BlockGeometry;
  readonly activation: 'none' | 'relu';
  readonly squeezeExcite: SqueezeExciteDefinition | null;
  /** Whether BatchNorms have weight and bias. */
  readonly affine: boolean;
  /** BatchNorm eps: one, or by the BatchNorm's key prefix. */
  readonly eps: number | Readonly<Record<string, number>>;
}

/** A tensor that a block's state dict holds. */
export interface TensorSpec {
  readonly shape: readonly number[];
  readonly role: 'weight' | 'bias' | 'gamma' | 'beta' | 'mean' | 'var' | 'counter';
  /** Inputs that each output sums over, for the initialisation. */
  readonly fanIn: number;
}

/** Tensors of the training branches, in the order in which PyTorch lists them. */
export function trainingSpecs(definition: BlockDefinition): Map<string, TensorSpec> {
  const specs = new Map<string, TensorSpec>();
  for (const { stages } of definition.branches) {
    let channels = definition.inChannels;
    for (const stage of stages) {
      const key = stageKey(stage);
      if ('conv' in stage) {
        const shape = definition.convShapes.get(stage.conv)!;
        specs.set(`${key}.weight`, { shape, role: 'weight', fanIn: shape[1] * shape[2] * shape[3] });
        channels = shape[0];
      } else if ('batchNorm' in stage) {
        const vector = (role: TensorSpec['role']): TensorSpec => ({ shape: [channels], role, fanIn: 1 });
        if (definition.affine) {
          specs.set(`${key}.weight`, vector('gamma'));
          specs.set(`${key}.bias`, vector('beta'));
        }
        specs.set(`${key}.running_mean`, vector('mean'));
        specs.set(`${key}.running_var`, vector('var'));
        specs.set(`${key}.num_batches_tracked`, { shape: [], role: 'counter', fanIn: 1 });
      }
    }
  }
  return specs;
}

/** Tensors of the deploy form: one convolution with bias. */
export function deploySpecs({ rule, geometry, inChannels, outChannels }: BlockDefinition): Map<string, TensorSpec> {
  const inPerGroup = inChannels / geometry.groups;
  const fanIn = inPerGroup * geometry.kernel[0] * geometry.kernel[1];
  return new Map<string, TensorSpec>([
    [rule.deploy.weight, { shape: [outChannels, inPerGroup, ...geometry.kernel], role: 'weight', fanIn }],
    [rule.deploy.bias, { shape: [outChannels], role: 'bias', fanIn }],
  ]);
}

/** Tensors beside the branches, in both forms. */
export function squeezeExciteSpecs({ squeezeExcite, outChannels }: BlockDefinition): Map<string, TensorSpec> {
  if (squeezeExcite === null) return new Map();
  const { reduce, expand, hidden } = squeezeExcite;
  return new Map<string, TensorSpec>([
    [`${reduce}.weight`, { shape: [hidden, outChannels, 1, 1], role: 'weight', fanIn: outChannels }],
    [`${reduce}.bias`, { shape: [hidden], role: 'bias', fanIn: outChannels }],
    [`${expand}.weight`, { shape: [outChannels, hidden, 1, 1], role: 'weight', fanIn: hidden }],
    [`${expand}.bias`, { shape: [outChannels], role: 'bias', fanIn: hidden }],
  ]);
}
