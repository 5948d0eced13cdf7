import { allAgree } from '../../sizes/conditions';
import { formatShape } from '../../tensor/tensor';
import { BOOLEAN, oneOf } from './fields';
import { expectImage, type NodeOf, type Operator, ShapeMismatch, Unwritable } from './operator';

export const GRID_MODES = ['nearest', 'linear', 'cubic'] as const;
export const GRID_PADDINGS = ['zeros', 'border', 'reflection'] as const;

/** Pixels of an image at the places [N, height, width, 2] of the second input: x and y from -1 to 1, as ONNX's GridSample. */
export interface GridSampleNode extends NodeOf<'grid_sample'> {
  readonly mode: (typeof GRID_MODES)[number];
  readonly padding: (typeof GRID_PADDINGS)[number];
  /** -1 and 1 are the centres of the pixels at the edges, not their outer edges. */
  readonly align_corners: boolean;
}

/** From here on modes have the names of Resize. */
const LINEAR = 20;
/** The first that has the operator. */
const FIRST = 16;

export const gridSample: Operator<GridSampleNode> = {
  inputs: 2,
  fields: { mode: oneOf(GRID_MODES), padding: oneOf(GRID_PADDINGS), align_corners: BOOLEAN },
  shape(_, [input, grid = []]) {
    const [n, channels] = expectImage(input);
    const [images, height, width, places] = grid;
    if (grid.length !== 4 || !allAgree([images!, places!], [n, 2]))
      throw new ShapeMismatch(`a grid ${formatShape(grid)} does not fit its input ${formatShape(input)}`);
    return [n, channels, height!, width!];
  },
  keepsChannels: () => true,
  native: ({ mode, padding, align_corners }) => ({
    kind: 'gridSample',
    ints: [GRID_MODES.indexOf(mode), GRID_PADDINGS.indexOf(padding), align_corners ? 1 : 0],
  }),
  onnx({ inputs, mode, padding: padding_mode, align_corners }, { opset }) {
    if (opset < FIRST) throw new Unwritable(`GridSample before opset ${FIRST}`);
    const older = { nearest: 'nearest', linear: 'bilinear', cubic: 'bicubic' };
    return {
      opType: 'GridSample',
      inputs,
      attributes: { mode: opset < LINEAR ? older[mode] : mode, padding_mode, align_corners },
    };
  },
};
