import type { FamilyRule } from '../rule';

/** Apple's MobileOne: depthwise and pointwise blocks with several copies of the main branch. */
export const MOBILEONE: FamilyRule = {
  family: 'mobileone',
  source: 'Vasu et al., MobileOne, CVPR 2023; apple/ml-mobileone',
  anchor: 'rbr_conv.0.conv.weight',
  branches: [
    {
      name: 'rbr_conv.{i}',
      presence: 'repeated',
      chains: [[{ conv: 'rbr_conv.{i}.conv', geometry: 'aligned' }, { batchNorm: 'rbr_conv.{i}.bn' }]],
    },
    {
      name: 'rbr_scale',
      presence: 'optional',
      chains: [[{ conv: 'rbr_scale.conv', geometry: 'aligned' }, { batchNorm: 'rbr_scale.bn' }]],
    },
    { name: 'rbr_skip', presence: 'optional', chains: [[{ batchNorm: 'rbr_skip' }]] },
  ],
  deploy: { weight: 'reparam_conv.weight', bias: 'reparam_conv.bias' },
  deployIsEvident: true,
  eps: 1e-5,
};

/** timm's MobileOneBlock. */
export const TIMM_MOBILEONE: FamilyRule = {
  family: 'timm-mobileone',
  source: 'huggingface/pytorch-image-models, timm/models/byobnet.py',
  anchor: 'conv_kxk.0.conv.weight',
  branches: [
    {
      name: 'conv_kxk.{i}',
      presence: 'repeated',
      chains: [[{ conv: 'conv_kxk.{i}.conv', geometry: 'aligned' }, { batchNorm: 'conv_kxk.{i}.bn' }]],
    },
    {
      name: 'conv_scale',
      presence: 'optional',
      chains: [[{ conv: 'conv_scale.conv', geometry: 'aligned' }, { batchNorm: 'conv_scale.bn' }]],
    },
    { name: 'identity', presence: 'optional', chains: [[{ batchNorm: 'identity' }]] },
  ],
  deploy: { weight: 'reparam_conv.weight', bias: 'reparam_conv.bias' },
  deployIsEvident: true,
  eps: 1e-5,
};
