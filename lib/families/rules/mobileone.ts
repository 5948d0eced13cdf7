import { branch, convBn, type FamilyRule } from '../rule';

/** Apple's MobileOne: depthwise and pointwise blocks with several copies of the main branch. */
export const MOBILEONE: FamilyRule = {
  family: 'mobileone',
  source: 'Vasu et al., MobileOne, CVPR 2023; apple/ml-mobileone',
  anchor: 'rbr_conv.0.conv.weight',
  branches: [
    branch('rbr_scale', 'pointwise', 'optional', convBn('rbr_scale.conv', 'rbr_scale.bn')),
    branch('rbr_skip', 'identity', 'optional', [{ batchNorm: 'rbr_skip' }]),
    branch('rbr_conv.{i}', 'main', 'repeated', [
      { conv: 'rbr_conv.{i}.conv', geometry: 'aligned' },
      { batchNorm: 'rbr_conv.{i}.bn' },
    ]),
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
    branch('conv_scale', 'pointwise', 'optional', convBn('conv_scale.conv', 'conv_scale.bn')),
    branch('conv_kxk.{i}', 'main', 'repeated', [
      { conv: 'conv_kxk.{i}.conv', geometry: 'aligned' },
      { batchNorm: 'conv_kxk.{i}.bn' },
    ]),
    branch('identity', 'identity', 'optional', [{ batchNorm: 'identity' }]),
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
    branch('branch_scale', 'pointwise', 'optional', convBn('branch_scale.conv', 'branch_scale.norm')),
    branch('branch_norm', 'identity', 'optional', [{ batchNorm: 'branch_norm' }]),
    branch('branch_conv_list.{i}', 'main', 'repeated', [
      { conv: 'branch_conv_list.{i}.conv', geometry: 'aligned' },
      { batchNorm: 'branch_conv_list.{i}.norm' },
    ]),
  ],
  deploy: { weight: 'branch_reparam.weight', bias: 'branch_reparam.bias' },
  deployIsEvident: true,
  eps: 1e-5,
  ownNames: ['branch_'],
};
