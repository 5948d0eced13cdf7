import { branch, convBn, type FamilyRule } from '../rule';

/** PP-LCNetV3 of PaddleOCR: copies of the KxK branch, a 1x1, the input; a scalar affine map follows and stays. */
export const PP_LCNETV3: FamilyRule = {
  family: 'pp-lcnetv3',
  source: 'PaddlePaddle/PaddleOCR, ppocr/modeling/backbones/rec_lcnetv3.py (LearnableRepLayer)',
  anchor: 'conv_kxk.0.conv.weight',
  distinguishedBy: ['conv_1x1.conv.weight', 'lab.scale', 'lab.bias'],
  without: ['conv_kxk.conv.weight'],
  branches: [
    branch('identity', 'identity', 'optional', [{ batchNorm: 'identity' }]),
    branch('conv_1x1', 'pointwise', 'optional', convBn('conv_1x1.conv', 'conv_1x1.bn')),
    branch('conv_kxk.{i}', 'main', 'repeated', [
      { conv: 'conv_kxk.{i}.conv', geometry: 'aligned' },
      { batchNorm: 'conv_kxk.{i}.bn' },
    ]),
  ],
  deploy: { weight: 'reparam_conv.weight', bias: 'reparam_conv.bias' },
  deployIsEvident: true,
  eps: 1e-5,
  ownNames: ['conv_kxk.', 'conv_1x1.', 'identity.'],
};

/** PP-LCNetV2 of PaddleClas: depthwise kernels of falling size; training files hold the deploy tensor unfilled. */
export const PP_LCNETV2: FamilyRule = {
  family: 'pp-lcnetv2',
  source: 'PaddlePaddle/PaddleClas, legendary_models/pp_lcnet_v2.py (RepDepthwiseSeparable)',
  anchor: 'dw_conv_list.0.conv.weight',
  branches: [
    branch('dw_conv_list.{i}', 'main', 'repeated', [
      { conv: 'dw_conv_list.{i}.conv', geometry: 'aligned' },
      { batchNorm: 'dw_conv_list.{i}.bn' },
    ]),
  ],
  deploy: { weight: 'dw_conv.weight', bias: 'dw_conv.bias' },
  deployIsEvident: false,
  eps: 1e-5,
  ownNames: ['dw_conv_list.'],
};
