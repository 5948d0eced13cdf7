import { branch, convBn, type FamilyRule } from '../rule';

/** The authors' Diverse Branch Block, dense, grouped and depthwise. */
export const DBB: FamilyRule = {
  family: 'dbb',
  source: 'Ding et al., Diverse Branch Block, CVPR 2021; DingXiaoH/DiverseBranchBlock',
  anchor: 'dbb_origin.conv.weight',
  branches: [
    branch('dbb_origin', 'main', 'required', convBn('dbb_origin.conv', 'dbb_origin.bn')),
    {
      // Depthwise blocks have none.
      name: 'dbb_1x1',
      role: 'pointwise',
      presence: 'optional',
      requiredBeside: 'dbb_avg.conv.weight',
      chains: [convBn('dbb_1x1.conv', 'dbb_1x1.bn')],
    },
    branch(
      'dbb_avg',
      'average',
      'required',
      [
        { conv: 'dbb_avg.conv', geometry: 'pointwise' },
        { batchNorm: 'dbb_avg.bn.bn' },
        { padBorder: true },
        { avgPool: 'valid' },
        { batchNorm: 'dbb_avg.avgbn' },
      ],
      // Depthwise blocks pool their input as it is.
      [{ avgPool: 'aligned' }, { batchNorm: 'dbb_avg.avgbn' }],
    ),
    branch(
      'dbb_1x1_kxk',
      'sequential',
      'required',
      [
        // Stored as the difference to the identity.
        { conv: 'dbb_1x1_kxk.idconv1', geometry: 'pointwise', plusIdentity: true },
        { batchNorm: 'dbb_1x1_kxk.bn1.bn' },
        { padBorder: true },
        { conv: 'dbb_1x1_kxk.conv2', geometry: 'valid' },
        { batchNorm: 'dbb_1x1_kxk.bn2' },
      ],
      [
        { conv: 'dbb_1x1_kxk.conv1', geometry: 'pointwise' },
        { batchNorm: 'dbb_1x1_kxk.bn1.bn' },
        { padBorder: true },
        { conv: 'dbb_1x1_kxk.conv2', geometry: 'valid' },
        { batchNorm: 'dbb_1x1_kxk.bn2' },
      ],
    ),
    // Forks that widen the block add the one-dimensional branches of ACNet.
    branch('ver', 'vertical', 'optional', convBn('ver_conv', 'ver_bn')),
    branch('hor', 'horizontal', 'optional', convBn('hor_conv', 'hor_bn')),
  ],
  deploy: { weight: 'dbb_reparam.weight', bias: 'dbb_reparam.bias' },
  deployIsEvident: true,
  eps: 1e-5,
  ownNames: ['dbb_', 'ver_', 'hor_'],
  // Some forks register the constant identity kernel as a buffer.
  leftovers: ['dbb_1x1_kxk.idconv1.id_tensor'],
};
