import { intOf } from '../../onnx/attributes';
import { MAX_INTEGER } from '../operators/fields';
import { about, refused, type Take } from './reader';

/** Least float32: every score that is a number exceeds it. */
const NO_SCORE = -3.4028234663852886e38;

/** What makes lists whose length the data tell. */
export const DETECTION_OPERATORS: Readonly<Record<string, Take>> = {
  NonMaxSuppression(reader, node) {
    const given = reader.scalar(node, 2) ?? 0;
    if (given < 1) throw refused(node, 'it asks for no boxes');
    const fields = {
      most: Math.min(given, MAX_INTEGER),
      iou: reader.scalar(node, 3) ?? 0,
      score: reader.scalar(node, 4) ?? NO_SCORE,
      by_center: intOf(node, 'center_point_box', 0) !== 0,
    };
    reader.push({ ...about(node, 'non_max_suppression'), inputs: node.input.slice(0, 2), ...fields });
  },
  NonZero: (reader, node) => reader.push(about(node, 'non_zero')),
};
