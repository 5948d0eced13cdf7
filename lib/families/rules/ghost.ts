import type { BranchRule, FamilyRule } from '../rule';

/** RepGhost: what a ghost module adds to its primary convolution is a depthwise kernel and a BatchNorm of the same map. */
export const REPGHOST: FamilyRule = {
  family: 'repghost',
  source: 'Chen et al., RepGhost, 2022; ChengpengChen/RepGhost; timm/models/repghost.py',
  anchor: 'cheap_operation.0.weight',
  distinguishedBy: ['fusion_bn.0.running_mean', 'fusion_bn.0.running_var', 'fusion_bn.0.weight'],
  branches: [
    {
      name: 'cheap_operation',
      role: 'main',
      presence: 'required',
      chains: [
        [{ conv: 'cheap_operation.0', geometry: 'aligned', depthwise: true }, { batchNorm: 'cheap_operation.1' }],
      ],
    },
    { name: 'fusion_bn.{i}', role: 'identity', presence: 'repeated', chains: [[{ batchNorm: 'fusion_bn.{i}' }]] },
  ],
  deploy: { weight: 'cheap_operation.weight', bias: 'cheap_operation.bias' },
  deployIsEvident: false,
  eps: 1e-5,
  ownNames: ['fusion_'],
};

/** One of a GhostNetV3 module's convolutions: several equal ones, a 1x1 one and a BatchNorm of the input, summed. */
const ghostNetV3 = (part: string, deploy: string, depthwise: boolean): FamilyRule => ({
  family: 'ghostnetv3',
  source: 'Liu et al., GhostNetV3, 2024; huawei-noah/Efficient-AI-Backbones; timm/models/ghostnet.py',
  anchor: `${part}_conv.0.conv.weight`,
  branches: [
    branch(`${part}_conv.{i}`, 'main', 'repeated', depthwise),
    branch(`${part}_scale`, 'pointwise', 'optional', depthwise),
    {
      name: `${part}_skip`,
      role: 'identity',
      presence: 'optional',
      chains: [[{ batchNorm: `${part}_skip` }]],
    },
  ],
  deploy: { weight: `${deploy}.weight`, bias: `${deploy}.bias` },
  deployIsEvident: false,
  eps: 1e-5,
  ownNames: [`${part}_`],
});

/** A convolution and its BatchNorm, which timm calls bn1. */
function branch(
  name: string,
  role: BranchRule['role'],
  presence: BranchRule['presence'],
  depthwise: boolean,
): BranchRule {
  const conv = { conv: `${name}.conv`, geometry: 'aligned', ...(depthwise ? { depthwise } : {}) } as const;
  return {
    name,
    role,
    presence,
    chains: [
      [conv, { batchNorm: `${name}.bn1` }],
      [conv, { batchNorm: `${name}.bn` }],
    ],
  };
}

export const GHOSTNETV3: readonly FamilyRule[] = [
  ghostNetV3('primary_rpr', 'primary_conv.0', false),
  ghostNetV3('cheap_rpr', 'cheap_operation.0', true),
  ghostNetV3('dw_rpr', 'conv_dw', true),
];
