import type { FamilyRule } from '../rule';

/** The authors' RepVGG and RepVGGplus (the same keys), and everything that kept their names. */
export const REPVGG: FamilyRule = {
  family: 'repvgg',
  source: 'Ding et al., RepVGG, CVPR 2021; DingXiaoH/RepVGG',
  anchor: 'rbr_dense.conv.weight',
  branches: [
    {
      name: 'rbr_dense',
      role: 'main',
      presence: 'required',
      chains: [[{ conv: 'rbr_dense.conv', geometry: 'aligned' }, { batchNorm: 'rbr_dense.bn' }]],
    },
    {
      name: 'rbr_1x1',
      role: 'pointwise',
      presence: 'required',
      chains: [[{ conv: 'rbr_1x1.conv', geometry: 'aligned' }, { batchNorm: 'rbr_1x1.bn' }]],
    },
    { name: 'rbr_identity', role: 'identity', presence: 'optional', chains: [[{ batchNorm: 'rbr_identity' }]] },
  ],
  deploy: { weight: 'rbr_reparam.weight', bias: 'rbr_reparam.bias' },
  deployIsEvident: true,
  eps: 1e-5,
  leftovers: ['id_tensor'],
  conflicts: [
    {
      key: 'rbr_1x1.weight',
      kind: 'ambiguous',
      because:
        'a 1x1 convolution without BatchNorm makes it a QARepVGG block, which may also add its input and an averaged input without any key',
    },
    { key: 'alpha', kind: 'unsupported', because: 'a factor on the 1x1 branch, as in PPYOLOE+ of mmyolo' },
  ],
  squeezeExcite: [
    { reduce: 'se.down', expand: 'se.up', position: 'before-activation', reduction: 16 },
    { reduce: 'post_se.down', expand: 'post_se.up', position: 'after-activation', reduction: 4 },
  ],
  epsEvidence: [
    { pattern: '(^|\\.)ERBlock_', eps: 1e-3, because: 'YOLOv6 backbones name their stages ERBlock_ and set eps 1e-3' },
    {
      pattern: '(^|\\.)Rep_(n|p)\\d',
      eps: 1e-3,
      because: 'YOLOv6 necks name their stages Rep_p and Rep_n and set eps 1e-3',
    },
  ],
};

/** timm's RepVggBlock. */
export const TIMM_REPVGG: FamilyRule = {
  family: 'timm-repvgg',
  source: 'huggingface/pytorch-image-models, timm/models/byobnet.py',
  anchor: 'conv_kxk.conv.weight',
  // MobileViT has a lone conv_kxk with BatchNorm.
  provingBranches: 2,
  branches: [
    {
      name: 'conv_1x1',
      role: 'pointwise',
      presence: 'required',
      chains: [[{ conv: 'conv_1x1.conv', geometry: 'aligned' }, { batchNorm: 'conv_1x1.bn' }]],
    },
    {
      name: 'conv_kxk',
      role: 'main',
      presence: 'required',
      chains: [[{ conv: 'conv_kxk.conv', geometry: 'aligned' }, { batchNorm: 'conv_kxk.bn' }]],
    },
    { name: 'identity', role: 'identity', presence: 'optional', chains: [[{ batchNorm: 'identity' }]] },
  ],
  deploy: { weight: 'reparam_conv.weight', bias: 'reparam_conv.bias' },
  deployIsEvident: true,
  eps: 1e-5,
  squeezeExcite: [{ reduce: 'attn.fc1', expand: 'attn.fc2', position: 'before-activation', reduction: 16, roundTo: 1 }],
};
