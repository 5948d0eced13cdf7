import {
  ACNet,
  ACNetBlock,
  DiverseBranchBlock,
  MobileOneBlock,
  type ReparameterizableBlock,
  RepBlock,
  RepVGGBlock,
} from '../../lib/blocks';
import type { Manifest } from '../support/fixtures';

interface Common {
  readonly eps: number | Record<string, number>;
  readonly deploy: boolean;
}

type Create = (config: Manifest, common: Common) => ReparameterizableBlock;

const torchNames = (c: Manifest) => ({
  inChannels: c.in_channels,
  outChannels: c.out_channels,
  kernelSize: c.kernel_size,
  stride: c.stride,
  padding: c.padding,
  groups: c.groups,
});

const timmNames = (c: Manifest) => ({
  inChannels: c.in_chs,
  outChannels: c.out_chs,
  kernelSize: c.kernel_size,
  stride: c.stride,
  groups: c.group_size === null ? 1 : c.in_chs / c.group_size,
});

const CREATE: Record<string, Create> = {
  repvgg: (c, common) => new RepVGGBlock({ ...torchNames(c), useSe: c.use_se, ...common }),
  repvggplus: (c, common) => new RepVGGBlock({ ...torchNames(c), usePostSe: c.use_post_se, ...common }),
  'timm-repvgg': (c, common) => new RepVGGBlock({ ...timmNames(c), naming: 'timm', ...common }),
  acnet: (c, common) => new ACNetBlock({ ...torchNames(c), affine: c.use_affine, ...common }),
  dbb: (c, common) =>
    new DiverseBranchBlock({
      ...torchNames(c),
      internalChannels: c.internal_channels_1x1_3x3,
      activation: c.nonlinear ?? 'none',
      ...common,
    }),
  mobileone: (c, common) =>
    new MobileOneBlock({ ...torchNames(c), useSe: c.use_se, numConvBranches: c.num_conv_branches, ...common }),
  'timm-mobileone': (c, common) =>
    new MobileOneBlock({ ...timmNames(c), numConvBranches: c.num_conv_branches, naming: 'timm', ...common }),
  'seed-acnet': (c, common) => new ACNet(c.input_channel, c.output_channel, { groups: c.groups, ...common }),
  'seed-repvgg': (c, common) => new RepBlock(c.input_channel, c.output_channel, { groups: c.groups, ...common }),
};

/** The block that a manifest's `config` (the reference's constructor arguments) stands for. */
export function fixtureBlock({ op, config, bn_eps: eps }: Manifest, deploy: boolean): ReparameterizableBlock {
  return CREATE[op]!(config, { eps, deploy });
}
