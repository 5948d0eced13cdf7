import { branch, convBn, type FamilyRule } from '../rule';

/** The authors' asymmetric convolution block; that of 2019 has 3x1 and 1x3 kernels whatever K. */
export const ACNET: FamilyRule = {
  family: 'acnet',
  source: 'Ding et al., ACNet, ICCV 2019; DingXiaoH/ACNet',
  anchor: 'square_conv.weight',
  branches: [
    branch('square', 'main', 'required', convBn('square_conv', 'square_bn')),
    branch('ver', 'vertical', 'required', convBn('ver_conv', 'ver_bn')),
    branch('hor', 'horizontal', 'required', convBn('hor_conv', 'hor_bn')),
  ],
  // The 2019 code can normalise the sum too; its own converter forgets that one.
  after: [{ batchNorm: 'last_bn', optional: true }],
  deploy: { weight: 'fused_conv.weight', bias: 'fused_conv.bias' },
  deployIsEvident: true,
  eps: 1e-5,
  ownNames: ['square_', 'ver_', 'hor_'],
};
