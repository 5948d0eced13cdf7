import type { FamilyRule } from '../rule';

/** Paths of detectors whose BatchNorms have eps 1e-3, set after construction or by configuration. */
export const YOLO_EPS: NonNullable<FamilyRule['epsEvidence']> = [
  { pattern: '(^|\\.)ERBlock_', eps: 1e-3, because: 'YOLOv6 backbones name their stages ERBlock_ and set eps 1e-3' },
  {
    pattern: '(^|\\.)Rep_(n|p)\\d',
    eps: 1e-3,
    because: 'YOLOv6 necks name their stages Rep_p and Rep_n and set eps 1e-3',
  },
  {
    pattern: '^(model\\.)+\\d+\\.',
    eps: 1e-3,
    because: 'numbered layers of one model, as YOLOv5 to v10 and Ultralytics name them, which set eps 1e-3',
  },
];

/** The same for YOLOv6 alone. */
export const YOLOV6_PATH = '(^|\\.)(ERBlock_|Rep_(n|p)\\d)';
