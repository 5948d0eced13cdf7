import { branch, convBn, type FamilyRule } from '../rule';

/** RepVGGDW of RepViT: two depthwise kernels and the input, then (not in timm's legacy form) a BatchNorm. */
export const REPVIT: FamilyRule = {
  family: 'repvit',
  source: 'Wang et al., RepViT, CVPR 2024; THU-MIG/RepViT; timm/models/repvit.py',
  anchor: 'conv.c.weight',
  distinguishedBy: ['conv1.weight', 'conv1.c.weight'],
  branches: [
    branch('conv', 'main', 'required', convBn('conv.c', 'conv.bn', { depthwise: true })),
    {
      name: 'conv1',
      role: 'pointwise',
      presence: 'required',
      chains: [
        [{ conv: 'conv1', geometry: 'aligned', depthwise: true, kernel: [1, 1] }],
        convBn('conv1.c', 'conv1.bn', { depthwise: true, kernel: [1, 1] }),
      ],
    },
    branch('input', 'identity', 'required', []),
  ],
  after: [{ batchNorm: 'bn', optional: true }],
  // Their converter puts the convolution in the block's own place.
  deploy: { weight: 'weight', bias: 'bias' },
  deployIsEvident: false,
  eps: 1e-5,
};

/** RepVGGDW of YOLOv10: the same class name, but a 7x7 and a 3x3 kernel and no input. */
export const YOLOV10_REPVGGDW: FamilyRule = {
  family: 'yolov10-repvggdw',
  source: 'YOLOv10, block.py (RepVGGDW)',
  anchor: 'conv.conv.weight',
  distinguishedBy: ['conv1.conv.weight'],
  onlyIfComplete: true,
  branches: [
    branch('conv', 'main', 'required', convBn('conv.conv', 'conv.bn', { depthwise: true, kernel: [7, 7] })),
    branch('conv1', 'main', 'required', convBn('conv1.conv', 'conv1.bn', { depthwise: true, kernel: [3, 3] })),
  ],
  deploy: { weight: 'conv.weight', bias: 'conv.bias' },
  deployIsEvident: false,
  eps: 1e-3,
};
