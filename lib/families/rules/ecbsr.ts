import { type BranchRule, branch, type FamilyRule } from '../rule';

/** A 1x1 convolution, a frame of its bias, then a depthwise edge filter: mask times scale, plus bias. */
const edge = (name: string): BranchRule => ({
  name: `conv1x1_${name}`,
  role: 'sequential',
  presence: 'required',
  chains: [
    [
      { conv: { weight: `conv1x1_${name}.k0`, bias: `conv1x1_${name}.b0` }, geometry: 'pointwise' },
      { padBorder: true },
      { conv: { weight: `conv1x1_${name}.mask` }, geometry: 'valid', depthwise: true },
      { scale: `conv1x1_${name}.scale` },
      { bias: `conv1x1_${name}.bias` },
    ],
  ],
});

/** Edge-oriented convolution block of super-resolution networks. No BatchNorm. */
export const ECBSR: FamilyRule = {
  family: 'ecbsr',
  source: 'Zhang et al., ECBSR, ACM MM 2021; xindongzhang/ECBSR, models/ecb.py',
  anchor: 'conv3x3.weight',
  distinguishedBy: ['conv1x1_3x3.k0', 'conv1x1_sbx.k0', 'conv1x1_sby.k0', 'conv1x1_lpl.k0'],
  branches: [
    branch('conv3x3', 'main', 'required', [{ conv: 'conv3x3', geometry: 'aligned' }]),
    branch('conv1x1_3x3', 'sequential', 'required', [
      { conv: { weight: 'conv1x1_3x3.k0', bias: 'conv1x1_3x3.b0' }, geometry: 'pointwise' },
      { padBorder: true },
      { conv: { weight: 'conv1x1_3x3.k1', bias: 'conv1x1_3x3.b1' }, geometry: 'valid' },
    ]),
    edge('sbx'),
    edge('sby'),
    edge('lpl'),
    branch('input', 'identity', 'keyless', []),
  ],
  deploy: { weight: 'conv3x3.weight', bias: 'conv3x3.bias' },
  deployIsEvident: false,
  eps: 1e-5,
  ownNames: ['conv1x1_'],
};
