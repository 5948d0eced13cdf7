import { branch, type FamilyRule } from '../rule';

/**
 * A prediction of YOLOR's and YOLOv7's heads: a learnt constant for each channel is added to the input of a 1x1 convolution, and another
 * one multiplies its output.
 */
export const YOLO_IMPLICIT: FamilyRule = {
  family: 'yolo-implicit',
  source:
    'Wang et al., YOLOR, 2021; WongKinYiu/yolov7, models/yolo.py (IDetect), models/common.py (ImplicitA, ImplicitM)',
  anchor: 'm.{n}.weight',
  distinguishedBy: ['ia.{n}.implicit', 'im.{n}.implicit'],
  branches: [
    branch('m.{n}', 'main', 'required', [
      { bias: 'ia.{n}.implicit' },
      { conv: 'm.{n}', geometry: 'pointwise' },
      { scale: 'im.{n}.implicit' },
    ]),
  ],
  deploy: { weight: 'm.{n}.weight', bias: 'm.{n}.bias' },
  deployIsEvident: false,
  eps: 1e-3,
};
