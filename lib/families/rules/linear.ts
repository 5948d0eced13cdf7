import type { FamilyRule } from '../rule';

/** A BatchNorm before the linear layer that classifies: its tensors go into those of the layer. */
const head = (linear: string, path?: string): FamilyRule => ({
  family: 'bn-linear',
  source: 'Graham et al., LeViT, ICCV 2021; Wang et al., RepViT, CVPR 2024; timm/models/levit.py (NormLinear)',
  anchor: `${linear}.weight`,
  distinguishedBy: ['bn.running_mean', 'bn.running_var'],
  onlyIfComplete: true,
  ...(path === undefined ? {} : { path }),
  branches: [
    {
      name: linear,
      role: 'main',
      presence: 'required',
      chains: [[{ batchNorm: 'bn' }, { conv: linear, geometry: 'pointwise', linear: true }]],
    },
  ],
  // Their converters put the layer in the place of both.
  deploy: { weight: 'weight', bias: 'bias' },
  deployIsEvident: false,
  eps: 1e-5,
});

/** `l` is what LeViT and RepViT call such a layer; timm's LeViT says `linear`, as it also does where the BatchNorm follows. */
export const BN_LINEAR: readonly FamilyRule[] = [head('l'), head('linear', '(^|\\.)head(_dist)?\\.$')];
