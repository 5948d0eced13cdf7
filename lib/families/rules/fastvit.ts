import { type BranchRule, branch, convBn, type FamilyRule } from '../rule';

/** What turns `x + gamma (mixer(x) - norm(x))` into branches: gamma on those of the mixer, minus gamma on the norm. */
const withScale = (branches: readonly BranchRule[], scale: string): BranchRule[] =>
  branches.map((branch) => ({
    ...branch,
    chains: branch.chains.map((chain) => [
      ...chain,
      { scale, optional: true, ...(branch.name.startsWith('norm.') ? { negative: true } : {}) },
    ]),
  }));

const INPUT: BranchRule = branch('input', 'identity', 'required', []);

/** RepMixer: the input, a depthwise MobileOne block scaled, a BatchNorm of the input subtracted. */
export const REPMIXER: FamilyRule = {
  family: 'repmixer',
  source: 'Vasu et al., FastViT, ICCV 2023; apple/ml-fastvit, models/fastvit.py',
  anchor: 'mixer.rbr_conv.0.conv.weight',
  distinguishedBy: ['norm.rbr_skip.running_mean', 'norm.rbr_skip.running_var', 'norm.rbr_skip.weight'],
  branches: [
    INPUT,
    ...withScale(
      [
        branch('mixer.rbr_conv.{i}', 'main', 'repeated', [
          { conv: 'mixer.rbr_conv.{i}.conv', geometry: 'aligned', depthwise: true },
          { batchNorm: 'mixer.rbr_conv.{i}.bn' },
        ]),
        branch(
          'mixer.rbr_scale',
          'pointwise',
          'optional',
          convBn('mixer.rbr_scale.conv', 'mixer.rbr_scale.bn', { depthwise: true }),
        ),
        branch('mixer.rbr_skip', 'identity', 'optional', [{ batchNorm: 'mixer.rbr_skip' }]),
        branch('norm.rbr_skip', 'identity', 'required', [{ batchNorm: 'norm.rbr_skip' }]),
      ],
      'layer_scale',
    ),
  ],
  deploy: { weight: 'reparam_conv.weight', bias: 'reparam_conv.bias' },
  deployIsEvident: true,
  eps: 1e-5,
  ownNames: ['norm.rbr_'],
  leftovers: ['mixer.id_tensor', 'norm.id_tensor'],
};

/** timm's RepMixer. */
export const TIMM_REPMIXER: FamilyRule = {
  family: 'timm-repmixer',
  source: 'huggingface/pytorch-image-models, timm/models/fastvit.py',
  anchor: 'mixer.conv_kxk.0.conv.weight',
  distinguishedBy: ['norm.identity.running_mean', 'norm.identity.running_var', 'norm.identity.weight'],
  branches: [
    INPUT,
    ...withScale(
      [
        branch(
          'mixer.conv_scale',
          'pointwise',
          'optional',
          convBn('mixer.conv_scale.conv', 'mixer.conv_scale.bn', { depthwise: true }),
        ),
        branch('mixer.conv_kxk.{i}', 'main', 'repeated', [
          { conv: 'mixer.conv_kxk.{i}.conv', geometry: 'aligned', depthwise: true },
          { batchNorm: 'mixer.conv_kxk.{i}.bn' },
        ]),
        branch('mixer.identity', 'identity', 'optional', [{ batchNorm: 'mixer.identity' }]),
        branch('norm.identity', 'identity', 'required', [{ batchNorm: 'norm.identity' }]),
      ],
      'layer_scale.gamma',
    ),
  ],
  deploy: { weight: 'reparam_conv.weight', bias: 'reparam_conv.bias' },
  deployIsEvident: true,
  eps: 1e-5,
  ownNames: ['norm.identity.'],
};

/** FastViT's conditional positional encoding: a depthwise convolution with bias, plus its input. */
const repCpe = (family: string, source: string, conv: string): FamilyRule => ({
  family,
  source,
  anchor: `${conv}.weight`,
  distinguishedBy: [`${conv}.bias`],
  onlyIfComplete: true,
  branches: [
    { name: conv, role: 'main', presence: 'required', chains: [[{ conv, geometry: 'aligned', depthwise: true }]] },
    INPUT,
  ],
  deploy: { weight: 'reparam_conv.weight', bias: 'reparam_conv.bias' },
  deployIsEvident: false,
  eps: 1e-5,
});

export const REPCPE: FamilyRule = {
  ...repCpe('repcpe', 'apple/ml-fastvit, models/fastvit.py (RepCPE)', 'pe'),
  onlyBeside: 'repmixer',
};

export const TIMM_REPCPE: FamilyRule = {
  ...repCpe('timm-repcpe', 'huggingface/pytorch-image-models, timm/models/fastvit.py', 'pos_enc'),
  onlyBeside: 'timm-repmixer',
};
