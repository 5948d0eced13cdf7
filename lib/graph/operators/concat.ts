import { allAgree } from '../../sizes/conditions';
import { type Sizes, sum } from '../../sizes/size';
import { formatShape } from '../../tensor/tensor';
import { integer } from './fields';
import { expectAxis, type NodeOf, type Operator, ShapeMismatch } from './operator';

export interface ConcatNode extends NodeOf<'concat'> {
  readonly axis: number;
}

const MAX_CONCATENATED = 1000;

export const concat: Operator<ConcatNode> = {
  inputs: [1, MAX_CONCATENATED],
  fields: { axis: integer(0) },
  shape({ axis }, inputs) {
    const [input] = inputs;
    expectAxis(axis, input);
    const rest = (shape: Sizes) => shape.map((size, each) => (each === axis ? 0 : size));
    const other = inputs.find((shape) => !allAgree(rest(input), rest(shape)));
    if (other !== undefined)
      throw new ShapeMismatch(`shapes ${formatShape(input)} and ${formatShape(other)} do not fit`);
    const joined = sum(...inputs.map((shape) => shape[axis]!));
    return input.map((size, each) => (each === axis ? joined : size));
  },
  keepsChannels: ({ axis }) => axis !== 1,
  channels: (_, inputs) => (inputs.includes(undefined) ? undefined : inputs.reduce((sum, part) => sum! + part!, 0)),
  affine: ({ axis, inputs }) => (axis === 1 ? { kind: 'concat', inputs } : undefined),
  magnitude: (node) => node,
  native: ({ axis }) => ({ kind: 'concat', ints: [axis] }),
  steps: ({ axis }, engine) =>
    engine[axis === 1 && engine.areImages() ? 'images' : 'tensor']({ kind: 'concat', ints: [axis] }),
  onnx: ({ inputs, axis }) => ({ opType: 'Concat', inputs, attributes: { axis } }),
};
