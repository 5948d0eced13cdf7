import { branch, convBn, type FamilyRule } from '../rule';

/** A 3x3 and a 1x1 convolution called conv1 and conv2: parallel in these systems, one after the other in many networks. */
const PAIR = {
  anchor: 'conv1.conv.weight',
  distinguishedBy: ['conv2.conv.weight'],
  onlyIfComplete: true,
  doubt: {
    because:
      'a 3x3 convolution conv1 and a 1x1 convolution conv2 are parallel in RT-DETR, PP-YOLOE, YOLOv9 and Ultralytics, but follow one another in other networks',
    unlessChannelsDiffer: true,
  },
  deploy: { weight: 'conv.weight', bias: 'conv.bias' },
  deployIsEvident: false,
} as const;

/** RepVggBlock of RT-DETR and VGGBlock of D-FINE. RT-DETR keeps the training tensors after conversion. */
export const RT_DETR: FamilyRule = {
  ...PAIR,
  family: 'rt-detr',
  source: 'lyuwenyu/RT-DETR, hybrid_encoder.py; Peterande/D-FINE',
  branches: [
    branch('conv1', 'main', 'required', convBn('conv1.conv', 'conv1.norm', { kernel: [3, 3] })),
    branch('conv2', 'pointwise', 'required', convBn('conv2.conv', 'conv2.norm', { kernel: [1, 1] })),
  ],
  eps: 1e-5,
};

/** RepConv of Ultralytics, RepConvN of YOLOv9, RepVggBlock of PP-YOLOE (whose 1x1 branch may have a factor). */
export const REPCONV: FamilyRule = {
  ...PAIR,
  family: 'repconv',
  source: 'ultralytics, nn/modules/conv.py (RepConv); YOLOv9 (RepConvN); PaddleDetection, cspresnet.py (RepVggBlock)',
  branches: [
    branch('conv1', 'main', 'required', convBn('conv1.conv', 'conv1.bn', { kernel: [3, 3] })),
    {
      name: 'conv2',
      role: 'pointwise',
      presence: 'required',
      chains: [
        [
          { conv: 'conv2.conv', geometry: 'aligned', kernel: [1, 1] },
          { batchNorm: 'conv2.bn' },
          { scale: 'alpha', optional: true, zeroIsOne: true },
        ],
      ],
    },
    branch('bn', 'identity', 'optional', [{ batchNorm: 'bn' }]),
  ],
  eps: 1e-5,
};

/** Conv2 of Ultralytics: a 3x3 and a 1x1 convolution under one BatchNorm. */
export const ULTRALYTICS_CONV2: FamilyRule = {
  family: 'ultralytics-conv2',
  source: 'ultralytics, nn/modules/conv.py (Conv2)',
  anchor: 'conv.weight',
  distinguishedBy: ['cv2.weight'],
  onlyIfComplete: true,
  branches: [
    {
      name: 'conv',
      role: 'main',
      presence: 'required',
      chains: [[{ conv: 'conv', geometry: 'aligned', kernel: [3, 3] }]],
    },
    {
      name: 'cv2',
      role: 'pointwise',
      presence: 'required',
      chains: [[{ conv: 'cv2', geometry: 'aligned', kernel: [1, 1] }]],
    },
  ],
  after: [{ batchNorm: 'bn' }],
  deploy: { weight: 'conv.weight', bias: 'conv.bias' },
  deployIsEvident: false,
  eps: 1e-3,
};

/** LinearAddBlock of RepOptimizers and YOLOv6: three scaled branches under one BatchNorm. */
export const REPOPT: FamilyRule = {
  family: 'repopt',
  source: 'Ding et al., RepOptimizers, ICLR 2023; DingXiaoH/RepOptimizers, repoptvgg_model.py (LinearAddBlock)',
  anchor: 'conv.weight',
  distinguishedBy: ['scale_1x1.weight', 'scale_conv.weight'],
  branches: [
    branch('conv', 'main', 'required', [{ conv: 'conv', geometry: 'aligned' }, { scale: 'scale_conv.weight' }]),
    branch('conv_1x1', 'pointwise', 'required', [
      { conv: 'conv_1x1', geometry: 'aligned' },
      { scale: 'scale_1x1.weight' },
    ]),
    branch('scale_identity', 'identity', 'optional', [{ scale: 'scale_identity.weight' }]),
  ],
  after: [{ batchNorm: 'bn' }],
  deploy: { weight: 'conv.weight', bias: 'conv.bias' },
  deployIsEvident: false,
  eps: 1e-5,
  ownNames: ['scale_'],
};
