import { allAgree } from '../../sizes/conditions';
import { lesser, product } from '../../sizes/size';
import { formatShape, Tensor } from '../../tensor/tensor';
import { BOOLEAN, integer, NUMBER } from './fields';
import { integerTensor, type NodeOf, type OnnxNode, type Operator, ShapeMismatch } from './operator';

/**
 * Boxes [images, boxes, 4] and scores [images, classes, boxes] to rows of image, class and box, as ONNX's NonMaxSuppression: of each class
 * the best boxes, without those that overlap a better one by more than a share of `iou`.
 */
export interface NonMaxSuppressionNode extends NodeOf<'non_max_suppression'> {
  /** Boxes of one class in one image. */
  readonly most: number;
  readonly iou: number;
  /** What a score must exceed. */
  readonly score: number;
  /** Boxes are x and y of their centre, width and height; else two corners, y before x. */
  readonly by_center: boolean;
}

/** Places of what is not 0, [axes, places]. */
export interface NonZeroNode extends NodeOf<'non_zero'> {}

export const nonMaxSuppression: Operator<NonMaxSuppressionNode> = {
  inputs: 2,
  fields: { most: integer(1), iou: NUMBER, score: NUMBER, by_center: BOOLEAN },
  dataAxis: () => 0,
  shape({ most }, [boxes, scores = []]) {
    const [images, count, sides] = boxes;
    const [others, classes = 0, scored] = scores;
    const fits =
      boxes.length === 3 && scores.length === 3 && allAgree([sides!, images!, count!], [4, others!, scored!]);
    if (!fits)
      throw new ShapeMismatch(`boxes ${formatShape(boxes)} and scores ${formatShape(scores)} do not fit each other`);
    return [product([images!, classes, lesser(most, count!)]), 3];
  },
  rank: () => 2,
  native: ({ most, iou, score, by_center }) => ({
    kind: 'nonMaxSuppression',
    ints: [most, by_center ? 1 : 0],
    alpha: iou,
    beta: score,
  }),
  onnx: ({ id, inputs, most, iou, score, by_center }) =>
    asFloats(id, {
      opType: 'NonMaxSuppression',
      inputs: [...inputs, integerTensor([most]), Tensor.f32([1], [iou]), Tensor.f32([1], [score])],
      attributes: { center_point_box: by_center },
    }),
};

export const nonZero: Operator<NonZeroNode> = {
  inputs: 1,
  fields: {},
  dataAxis: () => 1,
  shape: (_, [input]) => [input.length, product(input)],
  rank: () => 2,
  native: () => ({ kind: 'nonZero' }),
  onnx: ({ id, inputs }) => asFloats(id, { opType: 'NonZero', inputs }),
};

const FLOAT = 1;

/** To ONNX places are integers. */
function asFloats(id: string, node: OnnxNode): readonly OnnxNode[] {
  return [
    { ...node, part: 'places' },
    { opType: 'Cast', inputs: [`${id}.places`], attributes: { to: FLOAT } },
  ];
}
