import { Tensor } from '../../tensor/tensor';
import { BOOLEAN, manySizes } from './fields';
import { type NodeOf, type NodeSize, type Operator, settled, Unwritable } from './operator';

/** Sizes as a value to compute with: a list, or one number. */
export interface SizesNode extends NodeOf<'sizes'> {
  readonly values: readonly NodeSize[];
  readonly scalar: boolean;
}

export const sizes: Operator<SizesNode> = {
  inputs: 0,
  fields: { values: manySizes, scalar: BOOLEAN },
  sizes: ['values'],
  shape: ({ values, scalar }) => (scalar ? [] : [values.length]),
  rank: ({ scalar }) => (scalar ? 0 : 1),
  native: ({ values, scalar }) => ({ kind: 'numbers', ints: [scalar ? 1 : 0, ...settled(values)] }),
  run: ({ values, scalar }, _, { ops }) => ops.constant(Tensor.f32(scalar ? [] : [values.length], settled(values))),
  onnx: () => {
    throw new Unwritable('sizes of its inputs as a value');
  },
};
