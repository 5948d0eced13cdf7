import { type BranchRule, branch, convBn, type FamilyRule } from '../rule';

/** The authors' RepVGG and RepVGGplus (the same keys), and everything that kept their names. */
export const REPVGG: FamilyRule = {
  family: 'repvgg',
  source: 'Ding et al., RepVGG, CVPR 2021; DingXiaoH/RepVGG',
  anchor: 'rbr_dense.conv.weight',
  branches: [
    branch('rbr_dense', 'main', 'required', convBn('rbr_dense.conv', 'rbr_dense.bn')),
    branch('rbr_1x1', 'pointwise', 'required', convBn('rbr_1x1.conv', 'rbr_1x1.bn')),
    branch('rbr_identity', 'identity', 'optional', [{ batchNorm: 'rbr_identity' }]),
  ],
  deploy: { weight: 'rbr_reparam.weight', bias: 'rbr_reparam.bias' },
  deployIsEvident: true,
  namesDeployForm: true,
  eps: 1e-5,
  leftovers: ['id_tensor'],
  squeezeExcite: [
    { reduce: 'se.down', expand: 'se.up', position: 'before-activation', reduction: 16 },
    { reduce: 'post_se.down', expand: 'post_se.up', position: 'after-activation', reduction: 4 },
  ],
  ownNames: ['rbr_'],
};

const DEPLOY = { weight: 'rbr_reparam.weight', bias: 'rbr_reparam.bias' };
const IDENTITY: BranchRule = branch('rbr_identity', 'identity', 'optional', [{ batchNorm: 'rbr_identity' }]);

/** RepVGG after `fuse_model` of YOLOv6: its convolutions have taken in their BatchNorms, the identity keeps its own. */
export const REPVGG_BN_FUSED: FamilyRule = {
  family: 'repvgg-bn-fused',
  source: 'meituan/YOLOv6, utils/torch_utils.py (fuse_model)',
  anchor: 'rbr_dense.conv.weight',
  distinguishedBy: ['rbr_dense.conv.bias'],
  without: [
    'rbr_dense.bn.running_mean',
    'rbr_dense.bn.running_var',
    'rbr_1x1.bn.running_mean',
    'rbr_1x1.bn.running_var',
    'rbr_1x1.weight',
    'alpha',
  ],
  onlyIfComplete: true,
  branches: [
    branch('rbr_dense', 'main', 'required', [
      { conv: { weight: 'rbr_dense.conv.weight' }, geometry: 'aligned' },
      { bias: 'rbr_dense.conv.bias' },
    ]),
    branch('rbr_1x1', 'pointwise', 'required', [
      { conv: { weight: 'rbr_1x1.conv.weight' }, geometry: 'aligned' },
      { bias: 'rbr_1x1.conv.bias' },
    ]),
    IDENTITY,
  ],
  deploy: DEPLOY,
  deployIsEvident: true,
  eps: 1e-3,
  ownNames: ['rbr_'],
  leftovers: ['id_tensor'],
};

/** RepVGG of PPYOLOE+ in mmyolo: a factor on the 1x1 branch, which the code asks for truth. */
export const REPVGG_ALPHA: FamilyRule = {
  ...REPVGG,
  family: 'mmyolo-repvgg',
  source: 'open-mmlab/mmyolo, models/layers/yolo_bricks.py',
  distinguishedBy: ['alpha'],
  without: ['rbr_1x1.weight'],
  branches: REPVGG.branches.map((branch) =>
    branch.role === 'pointwise'
      ? { ...branch, chains: branch.chains.map((chain) => [...chain, { scale: 'alpha', zeroIsOne: true }]) }
      : branch,
  ),
  namesDeployForm: false,
  eps: 1e-3,
};

/** RepConv of YOLOv7: RepVGG in Sequentials. */
export const YOLOV7: FamilyRule = {
  family: 'yolov7',
  source: 'WongKinYiu/yolov7, models/common.py (RepConv)',
  anchor: 'rbr_dense.0.weight',
  branches: [
    branch('rbr_dense', 'main', 'required', convBn('rbr_dense.0', 'rbr_dense.1')),
    branch('rbr_1x1', 'pointwise', 'required', convBn('rbr_1x1.0', 'rbr_1x1.1')),
    IDENTITY,
  ],
  deploy: DEPLOY,
  deployIsEvident: true,
  eps: 1e-3,
  ownNames: ['rbr_'],
  leftovers: ['id_tensor'],
};

/** RepVGG in deploy form with a BatchNorm put after the convolution again, for quantisation-aware training. */
export const REPVGG_QAT: FamilyRule = {
  family: 'repvgg-qat',
  source: 'DingXiaoH/RepVGG, tools/insert_bn.py',
  anchor: 'rbr_reparam.conv.weight',
  branches: [
    branch('rbr_reparam', 'main', 'required', convBn('rbr_reparam.conv', 'rbr_reparam.bn'), [
      { conv: 'rbr_reparam.conv', geometry: 'aligned' },
      { bias: 'rbr_reparam.biasadd.bias' },
    ]),
  ],
  deploy: DEPLOY,
  deployIsEvident: true,
  eps: 1e-5,
  // Statistics that are only collected.
  leftovers: ['rbr_reparam.bnstat.'],
};

/** mmpretrain's RepVGGBlock. */
export const MM_REPVGG: FamilyRule = {
  family: 'mm-repvgg',
  source: 'open-mmlab/mmpretrain, models/backbones/repvgg.py',
  anchor: 'branch_3x3.conv.weight',
  distinguishedBy: ['branch_3x3.norm.running_mean', 'branch_3x3.norm.running_var', 'branch_1x1.norm.running_mean'],
  branches: [
    branch('branch_3x3', 'main', 'required', convBn('branch_3x3.conv', 'branch_3x3.norm')),
    branch('branch_1x1', 'pointwise', 'required', convBn('branch_1x1.conv', 'branch_1x1.norm')),
    branch('branch_norm', 'identity', 'optional', [{ batchNorm: 'branch_norm' }]),
  ],
  deploy: { weight: 'branch_reparam.weight', bias: 'branch_reparam.bias' },
  deployIsEvident: true,
  namesDeployForm: true,
  eps: 1e-5,
  ownNames: ['branch_'],
};

/** RepVGGBlock of super-gradients: a learnt factor on the 1x1 branch. */
export const SG_REPVGG: FamilyRule = {
  family: 'sg-repvgg',
  source: 'Deci-AI/super-gradients, modules/repvgg_block.py',
  anchor: 'branch_3x3.conv.weight',
  branches: [
    branch('branch_3x3', 'main', 'required', convBn('branch_3x3.conv', 'branch_3x3.bn')),
    branch('branch_1x1', 'pointwise', 'required', [
      { conv: 'branch_1x1.conv', geometry: 'aligned' },
      { batchNorm: 'branch_1x1.bn' },
      { scale: 'alpha', optional: true },
    ]),
    branch('no_conv_branch', 'identity', 'optional', [{ batchNorm: 'no_conv_branch' }]),
  ],
  deploy: DEPLOY,
  deployIsEvident: true,
  eps: 1e-5,
  ownNames: ['branch_', 'no_conv_branch.'],
};

/** timm's RepVggBlock. */
export const TIMM_REPVGG: FamilyRule = {
  family: 'timm-repvgg',
  source: 'huggingface/pytorch-image-models, timm/models/byobnet.py',
  anchor: 'conv_kxk.conv.weight',
  // MobileViT has a lone conv_kxk with BatchNorm.
  provingBranches: 2,
  branches: [
    branch('conv_1x1', 'pointwise', 'required', convBn('conv_1x1.conv', 'conv_1x1.bn')),
    branch('conv_kxk', 'main', 'required', convBn('conv_kxk.conv', 'conv_kxk.bn')),
    branch('identity', 'identity', 'optional', [{ batchNorm: 'identity' }]),
  ],
  deploy: { weight: 'reparam_conv.weight', bias: 'reparam_conv.bias' },
  deployIsEvident: true,
  eps: 1e-5,
  ownNames: ['conv_kxk.', 'conv_1x1.', 'identity.'],
  squeezeExcite: [{ reduce: 'attn.fc1', expand: 'attn.fc2', position: 'before-activation', reduction: 16, roundTo: 1 }],
};
