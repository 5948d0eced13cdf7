import type { Padding4 } from '../../ops/geometry';
import { sum } from '../../sizes/size';
import { formatShape } from '../../tensor/tensor';
import { integers } from './fields';
import { expectImage, type NodeOf, type Operator, onnxFrame, ShapeMismatch, type Two } from './operator';

export interface CropNode extends NodeOf<'crop'> {
  /** Dropped at the top and bottom. */
  readonly rows: Two;
  /** Dropped at the left and right. */
  readonly cols: Two;
}

export const crop: Operator<CropNode> = {
  inputs: 1,
  fields: { rows: integers<Two>(2, 0), cols: integers<Two>(2, 0) },
  shape({ rows, cols }, [input]) {
    const [n, c, h, w] = expectImage(input);
    const size = [sum(h, -rows[0], -rows[1]), sum(w, -cols[0], -cols[1])] as const;
    if (size.some((each) => typeof each === 'number' && each < 1))
      throw new ShapeMismatch(`nothing remains of its input ${formatShape(input)}`);
    return [n, c, ...size];
  },
  keepsChannels: () => true,
  affine: (node) => ({ kind: 'frame', input: node.inputs[0]!, padding: paddingOf(node) }),
  magnitude: (node) => node,
  steps: (node, engine) => engine.images({ kind: 'frame', padding: paddingOf(node) }),
  run: ({ rows, cols }, [x], { ops, options }) => ops.crop(x, [rows[0], cols[0], rows[1], cols[1]], options),
  onnx: (node) => onnxFrame(node.inputs[0]!, paddingOf(node)),
};

function paddingOf({ rows, cols }: CropNode): Padding4 {
  return [0 - rows[0], 0 - cols[0], 0 - rows[1], 0 - cols[1]];
}
