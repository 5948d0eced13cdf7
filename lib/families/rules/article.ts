import type { FamilyRule } from '../rule';

const ARTICLE = 'xmu-xiaoma666/External-Attention-pytorch, model/rep';

/** The article's ACNet. */
export const ARTICLE_ACNET: FamilyRule = {
  family: 'seed-acnet',
  source: ARTICLE,
  anchor: 'brb_3x3.conv.weight',
  distinguishedBy: ['brb_1x3.conv.weight', 'brb_3x1.conv.weight'],
  branches: [
    {
      name: 'brb_1x3',
      role: 'horizontal',
      presence: 'required',
      chains: [[{ conv: 'brb_1x3.conv', geometry: 'aligned' }, { batchNorm: 'brb_1x3.bn' }]],
    },
    {
      name: 'brb_3x1',
      role: 'vertical',
      presence: 'required',
      chains: [[{ conv: 'brb_3x1.conv', geometry: 'aligned' }, { batchNorm: 'brb_3x1.bn' }]],
    },
    {
      name: 'brb_3x3',
      role: 'main',
      presence: 'required',
      chains: [[{ conv: 'brb_3x3.conv', geometry: 'aligned' }, { batchNorm: 'brb_3x3.bn' }]],
    },
  ],
  deploy: { weight: 'brb_rep.weight', bias: 'brb_rep.bias' },
  deployIsEvident: true,
  eps: 1e-5,
  ownNames: ['brb_'],
};

/** The article's RepBlock (its RepVGG). */
export const ARTICLE_REPVGG: FamilyRule = {
  family: 'seed-repvgg',
  source: ARTICLE,
  anchor: 'brb_3x3.conv.weight',
  branches: [
    {
      name: 'brb_1x1',
      role: 'pointwise',
      presence: 'required',
      chains: [[{ conv: 'brb_1x1.conv', geometry: 'aligned' }, { batchNorm: 'brb_1x1.bn' }]],
    },
    {
      name: 'brb_3x3',
      role: 'main',
      presence: 'required',
      chains: [[{ conv: 'brb_3x3.conv', geometry: 'aligned' }, { batchNorm: 'brb_3x3.bn' }]],
    },
    { name: 'brb_identity', role: 'identity', presence: 'optional', chains: [[{ batchNorm: 'brb_identity' }]] },
  ],
  deploy: { weight: 'brb_rep.weight', bias: 'brb_rep.bias' },
  deployIsEvident: true,
  namesDeployForm: true,
  eps: 1e-5,
  ownNames: ['brb_'],
  leftovers: ['id_tensor'],
};
