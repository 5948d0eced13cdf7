import { branch, convBn, type FamilyRule } from '../rule';

const ARTICLE = 'xmu-xiaoma666/External-Attention-pytorch, model/rep';

/** The article's ACNet. */
export const ARTICLE_ACNET: FamilyRule = {
  family: 'seed-acnet',
  source: ARTICLE,
  anchor: 'brb_3x3.conv.weight',
  distinguishedBy: ['brb_1x3.conv.weight', 'brb_3x1.conv.weight'],
  branches: [
    branch('brb_1x3', 'horizontal', 'required', convBn('brb_1x3.conv', 'brb_1x3.bn')),
    branch('brb_3x1', 'vertical', 'required', convBn('brb_3x1.conv', 'brb_3x1.bn')),
    branch('brb_3x3', 'main', 'required', convBn('brb_3x3.conv', 'brb_3x3.bn')),
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
    branch('brb_1x1', 'pointwise', 'required', convBn('brb_1x1.conv', 'brb_1x1.bn')),
    branch('brb_3x3', 'main', 'required', convBn('brb_3x3.conv', 'brb_3x3.bn')),
    branch('brb_identity', 'identity', 'optional', [{ batchNorm: 'brb_identity' }]),
  ],
  deploy: { weight: 'brb_rep.weight', bias: 'brb_rep.bias' },
  deployIsEvident: true,
  namesDeployForm: true,
  eps: 1e-5,
  ownNames: ['brb_'],
  leftovers: ['id_tensor'],
};
