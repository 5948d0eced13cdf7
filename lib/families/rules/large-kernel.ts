import { branch, convBn, type FamilyRule } from '../rule';

/** RepLKNet, and FastViT's patch embedding: a large and a small depthwise kernel. */
export const REPLKNET: FamilyRule = {
  family: 'replknet',
  source: 'Ding et al., RepLKNet, CVPR 2022; DingXiaoH/RepLKNet-pytorch; apple/ml-fastvit',
  anchor: 'lkb_origin.conv.weight',
  branches: [
    branch('lkb_origin', 'main', 'required', convBn('lkb_origin.conv', 'lkb_origin.bn')),
    branch('small_conv', 'main', 'optional', convBn('small_conv.conv', 'small_conv.bn')),
  ],
  deploy: { weight: 'lkb_reparam.weight', bias: 'lkb_reparam.bias' },
  deployIsEvident: true,
  eps: 1e-5,
  ownNames: ['lkb_', 'small_conv.'],
};

/** timm's ReparamLargeKernelConv. */
export const TIMM_LARGE_KERNEL: FamilyRule = {
  family: 'timm-large-kernel',
  source: 'huggingface/pytorch-image-models, timm/models/fastvit.py',
  anchor: 'large_conv.conv.weight',
  provingBranches: 2,
  branches: [
    branch('large_conv', 'main', 'required', convBn('large_conv.conv', 'large_conv.bn')),
    branch('small_conv', 'main', 'optional', convBn('small_conv.conv', 'small_conv.bn')),
  ],
  deploy: { weight: 'reparam_conv.weight', bias: 'reparam_conv.bias' },
  deployIsEvident: true,
  eps: 1e-5,
  ownNames: ['small_conv.'],
};

/** UniRepLKNet: a large depthwise kernel and several small ones with dilation; size and dilation are in their keys. */
export const UNIREPLKNET: FamilyRule = {
  family: 'unireplknet',
  source: 'Ding et al., UniRepLKNet, CVPR 2024; AILab-CVC/UniRepLKNet (DilatedReparamBlock)',
  anchor: 'lk_origin.weight',
  distinguishedBy: ['origin_bn.running_mean', 'origin_bn.running_var', 'origin_bn.weight'],
  branches: [
    branch('lk_origin', 'main', 'required', convBn('lk_origin', 'origin_bn')),
    branch('dil_conv_k{k}_{d}', 'main', 'each', [
      { conv: 'dil_conv_k{k}_{d}', geometry: 'aligned', kernel: ['{k}', '{k}'], dilation: '{d}' },
      { batchNorm: 'dil_bn_k{k}_{d}' },
    ]),
  ],
  deploy: { weight: 'lk_origin.weight', bias: 'lk_origin.bias' },
  deployIsEvident: false,
  eps: 1e-5,
  ownNames: ['dil_'],
};
