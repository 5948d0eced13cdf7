import type { FamilyRule } from '../rule';

/** The authors' asymmetric convolution block. */
export const ACNET: FamilyRule = {
  family: 'acnet',
  source: 'Ding et al., ACNet, ICCV 2019; DingXiaoH/ACNet',
  anchor: 'square_conv.weight',
  branches: [
    {
      name: 'square',
      presence: 'required',
      chains: [[{ conv: 'square_conv', geometry: 'aligned' }, { batchNorm: 'square_bn' }]],
    },
    {
      name: 'ver',
      presence: 'required',
      chains: [[{ conv: 'ver_conv', geometry: 'aligned' }, { batchNorm: 'ver_bn' }]],
    },
    {
      name: 'hor',
      presence: 'required',
      chains: [[{ conv: 'hor_conv', geometry: 'aligned' }, { batchNorm: 'hor_bn' }]],
    },
  ],
  deploy: { weight: 'fused_conv.weight', bias: 'fused_conv.bias' },
  deployIsEvident: true,
  eps: 1e-5,
};
