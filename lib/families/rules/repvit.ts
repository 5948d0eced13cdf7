import type { FamilyRule } from '../rule';

/** RepVGGDW of RepViT: two depthwise kernels and the input, then (not in timm's legacy form) a BatchNorm. */
export const REPVIT: FamilyRule = {
  family: 'repvit',
  source: 'Wang et al., RepViT, CVPR 2024; THU-MIG/RepViT; timm/models/repvit.py',
  anchor: 'conv.c.weight',
  distinguishedBy: ['conv1.weight', 'conv1.c.weight'],
  branches: [
    {
      name: 'conv',
      role: 'main',
      presence: 'required',
      chains: [[{ conv: 'conv.c', geometry: 'aligned', depthwise: true }, { batchNorm: 'conv.bn' }]],
    },
    {
      name: 'conv1',
      role: 'pointwise',
      presence: 'required',
      chains: [
        [{ conv: 'conv1', geometry: 'aligned', depthwise: true, kernel: [1, 1] }],
        [{ conv: 'conv1.c', geometry: 'aligned', depthwise: true, kernel: [1, 1] }, { batchNorm: 'conv1.bn' }],
      ],
    },
    { name: 'input', role: 'identity', presence: 'required', chains: [[]] },
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
    {
      name: 'conv',
      role: 'main',
      presence: 'required',
      chains: [[{ conv: 'conv.conv', geometry: 'aligned', depthwise: true, kernel: [7, 7] }, { batchNorm: 'conv.bn' }]],
    },
    {
      name: 'conv1',
      role: 'main',
      presence: 'required',
      chains: [
        [{ conv: 'conv1.conv', geometry: 'aligned', depthwise: true, kernel: [3, 3] }, { batchNorm: 'conv1.bn' }],
      ],
    },
  ],
  deploy: { weight: 'conv.weight', bias: 'conv.bias' },
  deployIsEvident: false,
  eps: 1e-3,
};
