import { type BranchRule, branch, convBn, type FamilyRule } from '../rule';

/** RepGhost: what a ghost module adds to its primary convolution is a depthwise kernel and a BatchNorm of the same map. */
export const REPGHOST: FamilyRule = {
  family: 'repghost',
  source: 'Chen et al., RepGhost, 2022; ChengpengChen/RepGhost; timm/models/repghost.py',
  anchor: 'cheap_operation.0.weight',
  distinguishedBy: ['fusion_bn.0.running_mean', 'fusion_bn.0.running_var', 'fusion_bn.0.weight'],
  branches: [
    branch(
      'cheap_operation',
      'main',
      'required',
      convBn('cheap_operation.0', 'cheap_operation.1', { depthwise: true }),
    ),
    branch('fusion_bn.{i}', 'identity', 'repeated', [{ batchNorm: 'fusion_bn.{i}' }]),
  ],
  deploy: { weight: 'cheap_operation.weight', bias: 'cheap_operation.bias' },
  deployIsEvident: false,
  eps: 1e-5,
  ownNames: ['fusion_'],
};

/** A convolution and its BatchNorm, which timm calls bn1. */
const ghostBranch = (
  name: string,
  role: BranchRule['role'],
  presence: BranchRule['presence'],
  depthwise: boolean,
): BranchRule => {
  const about = depthwise ? { depthwise } : {};
  return branch(name, role, presence, ...['bn1', 'bn'].map((bn) => convBn(`${name}.conv`, `${name}.${bn}`, about)));
};

/** One of a GhostNetV3 module's convolutions: several equal ones, a 1x1 one and a BatchNorm of the input, summed. */
const ghostNetV3 = (part: string, deploy: string, depthwise: boolean): FamilyRule => ({
  family: 'ghostnetv3',
  source: 'Liu et al., GhostNetV3, 2024; huawei-noah/Efficient-AI-Backbones; timm/models/ghostnet.py',
  anchor: `${part}_conv.0.conv.weight`,
  branches: [
    ghostBranch(`${part}_conv.{i}`, 'main', 'repeated', depthwise),
    ghostBranch(`${part}_scale`, 'pointwise', 'optional', depthwise),
    branch(`${part}_skip`, 'identity', 'optional', [{ batchNorm: `${part}_skip` }]),
  ],
  deploy: { weight: `${deploy}.weight`, bias: `${deploy}.bias` },
  deployIsEvident: false,
  eps: 1e-5,
  ownNames: [`${part}_`],
});

export const GHOSTNETV3: readonly FamilyRule[] = [
  ghostNetV3('primary_rpr', 'primary_conv.0', false),
  ghostNetV3('cheap_rpr', 'cheap_operation.0', true),
  ghostNetV3('dw_rpr', 'conv_dw', true),
];
