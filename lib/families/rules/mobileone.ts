import type { FamilyRule } from '../rule';

/** Apple's MobileOne: depthwise and pointwise blocks with several copies of the main branch. */
export const MOBILEONE: FamilyRule = {
  family: 'mobileone',
  source: 'Vasu et al., MobileOne, CVPR 2023; apple/ml-mobileone',
  anchor: 'rbr_conv.0.conv.weight',
  branches: [
    {
      name: 'rbr_scale',
      role: 'pointwise',
      presence: 'optional',
      chains: [[{ conv: 'rbr_scale.conv', geometry: 'aligned' }, { batchNorm: 'rbr_scale.bn' }]],
    },
    { name: 'rbr_skip', role: 'identity', presence: 'optional', chains: [[{ batchNorm: 'rbr_skip' }]] },
    {
      name: 'rbr_conv.{i}',
      role: 'main',
      presence: 'repeated',
      chains: [[{ conv: 'rbr_conv.{i}.conv', geometry: 'aligned' }, { batchNorm: 'rbr_conv.{i}.bn' }]],
    },
  ],
  deploy: { weight: 'reparam_conv.weight', bias: 'reparam_conv.bias' },
  deployIsEvident: true,
  namesDeployForm: true,
  eps: 1e-5,
  ownNames: ['rbr_'],
  leftovers: ['id_tensor'],
  squeezeExcite: [{ reduce: 'se.reduce', expand: 'se.expand', position: 'before-activation', reduction: 16 }],
};

/** timm's MobileOneBlock. */
export const TIMM_MOBILEONE: FamilyRule = {
  family: 'timm-mobileone',
  source: 'huggingface/pytorch-image-models, timm/models/byobnet.py',
  anchor: 'conv_kxk.0.conv.weight',
  branches: [
    {
      name: 'conv_scale',
      role: 'pointwise',
      presence: 'optional',
      chains: [[{ conv: 'conv_scale.conv', geometry: 'aligned' }, { batchNorm: 'conv_scale.bn' }]],
    },
    {
      name: 'conv_kxk.{i}',
      role: 'main',
      presence: 'repeated',
      chains: [[{ conv: 'conv_kxk.{i}.conv', geometry: 'aligned' }, { batchNorm: 'conv_kxk.{i}.bn' }]],
    },
    { name: 'identity', role: 'identity', presence: 'optional', chains: [[{ batchNorm: 'identity' }]] },
  ],
  deploy: { weight: 'reparam_conv.weight', bias: 'reparam_conv.bias' },
  deployIsEvident: true,
  eps: 1e-5,
  ownNames: ['conv_kxk.', 'conv_scale.', 'identity.'],
  squeezeExcite: [{ reduce: 'attn.fc1', expand: 'attn.fc2', position: 'before-activation', reduction: 16, roundTo: 8 }],
};

/** mmpretrain's MobileOneBlock. */
export const MM_MOBILEONE: FamilyRule = {
  family: 'mm-mobileone',
  source: 'open-mmlab/mmpretrain, models/backbones/mobileone.py',
  anchor: 'branch_conv_list.0.conv.weight',
  branches: [
    {
      name: 'branch_scale',
      role: 'pointwise',
      presence: 'optional',
      chains: [[{ conv: 'branch_scale.conv', geometry: 'aligned' }, { batchNorm: 'branch_scale.norm' }]],
    },
    { name: 'branch_norm', role: 'identity', presence: 'optional', chains: [[{ batchNorm: 'branch_norm' }]] },
    {
      name: 'branch_conv_list.{i}',
      role: 'main',
      presence: 'repeated',
      chains: [
        [{ conv: 'branch_conv_list.{i}.conv', geometry: 'aligned' }, { batchNorm: 'branch_conv_list.{i}.norm' }],
      ],
    },
  ],
  deploy: { weight: 'branch_reparam.weight', bias: 'branch_reparam.bias' },
  deployIsEvident: true,
  eps: 1e-5,
  ownNames: ['branch_'],
};
