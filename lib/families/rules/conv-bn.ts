import type { FamilyRule } from '../rule';

/** A convolution and the BatchNorm that follows it, by their usual names. */
const pair = (conv: string, batchNorm: string, deploy = conv, linear = false): FamilyRule => ({
  family: 'conv-bn',
  source: 'common practice; PyTorch, torch.nn.utils.fusion',
  anchor: `${conv}.weight`,
  distinguishedBy: [`${batchNorm}.running_mean`, `${batchNorm}._mean`],
  onRequest: true,
  onlyIfComplete: true,
  inOrder: true,
  branches: [
    {
      name: conv,
      role: 'main',
      presence: 'required',
      chains: [[{ conv, geometry: 'aligned', ...(linear ? { linear } : {}) }, { batchNorm }]],
    },
  ],
  deploy: deploy === '' ? { weight: 'weight', bias: 'bias' } : { weight: `${deploy}.weight`, bias: `${deploy}.bias` },
  deployIsEvident: false,
  eps: 1e-5,
});

/**
 * Plain convolution + BatchNorm. Names cannot tell whether the BatchNorm follows its convolution (in pre-activation networks it
 * comes before; a torch file tells by its order), so these are looked for on request alone.
 */
export const CONV_BN: readonly FamilyRule[] = [
  pair('conv', 'bn'),
  pair('conv', 'norm'),
  pair('conv{n}', 'bn{n}'),
  pair('conv{n}', 'norm{n}'),
  pair('{n}', '{n+1}'),
  // Conv2d_BN and Linear_BN of LeViT, EfficientViT and RepViT become the layer itself.
  pair('c', 'bn', '', true),
  // A separable unit of two convolutions under one BatchNorm (YuNet).
  { ...pair('conv2', 'bn'), without: ['conv.weight', 'conv3.weight', 'bn1.running_mean', 'bn2.running_mean'] },
];

/** timm's LeViT, known by its head; its converter folds these too. */
export const LEVIT_LINEAR_BN: FamilyRule = {
  ...pair('linear', 'bn', '', true),
  source: 'Graham et al., LeViT, ICCV 2021; timm/models/levit.py (LinearNorm, ConvNorm)',
  onRequest: false,
  onlyBeside: 'bn-linear',
};

/** The plain units of the DBB repository, which its converter folds too. */
export const DBB_CONV_BN: FamilyRule = {
  ...pair('conv', 'bn'),
  source: 'DingXiaoH/DiverseBranchBlock, convnet_utils.py',
  onRequest: false,
  onlyIfComplete: false,
  onlyBeside: 'dbb',
};
