import type { FamilyRule } from '../rule';

/** The authors' Diverse Branch Block, dense, grouped and depthwise. */
export const DBB: FamilyRule = {
  family: 'dbb',
  source: 'Ding et al., Diverse Branch Block, CVPR 2021; DingXiaoH/DiverseBranchBlock',
  anchor: 'dbb_origin.conv.weight',
  branches: [
    {
      name: 'dbb_origin',
      role: 'main',
      presence: 'required',
      chains: [[{ conv: 'dbb_origin.conv', geometry: 'aligned' }, { batchNorm: 'dbb_origin.bn' }]],
    },
    {
      // Depthwise blocks have none.
      name: 'dbb_1x1',
      role: 'pointwise',
      presence: 'optional',
      requiredBeside: 'dbb_avg.conv.weight',
      chains: [[{ conv: 'dbb_1x1.conv', geometry: 'aligned' }, { batchNorm: 'dbb_1x1.bn' }]],
    },
    {
      name: 'dbb_avg',
      role: 'average',
      presence: 'required',
      chains: [
        [
          { conv: 'dbb_avg.conv', geometry: 'pointwise' },
          { batchNorm: 'dbb_avg.bn.bn' },
          { padBorder: true },
          { avgPool: 'valid' },
          { batchNorm: 'dbb_avg.avgbn' },
        ],
        // Depthwise blocks pool their input as it is.
        [{ avgPool: 'aligned' }, { batchNorm: 'dbb_avg.avgbn' }],
      ],
    },
    {
      name: 'dbb_1x1_kxk',
      role: 'sequential',
      presence: 'required',
      chains: [
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
      ],
    },
    // Forks that widen the block add the one-dimensional branches of ACNet.
    {
      name: 'ver',
      role: 'vertical',
      presence: 'optional',
      chains: [[{ conv: 'ver_conv', geometry: 'aligned' }, { batchNorm: 'ver_bn' }]],
    },
    {
      name: 'hor',
      role: 'horizontal',
      presence: 'optional',
      chains: [[{ conv: 'hor_conv', geometry: 'aligned' }, { batchNorm: 'hor_bn' }]],
    },
  ],
  deploy: { weight: 'dbb_reparam.weight', bias: 'dbb_reparam.bias' },
  deployIsEvident: true,
  eps: 1e-5,
  ownNames: ['dbb_', 'ver_', 'hor_'],
  // Some forks register the constant identity kernel as a buffer.
  leftovers: ['dbb_1x1_kxk.idconv1.id_tensor'],
};
