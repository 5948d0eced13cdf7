import { anyIntegers, BOOLEAN } from './fields';
import { expectAxis, integerTensor, type NodeOf, type Operator } from './operator';

export interface ReduceMeanNode extends NodeOf<'reduce_mean'> {
  readonly axes: readonly number[];
  readonly keepdims: boolean;
}

/** From here on the axes are an input. */
const AXES_AS_INPUT = 18;

export const reduceMean: Operator<ReduceMeanNode> = {
  inputs: 1,
  fields: { axes: anyIntegers(0), keepdims: BOOLEAN },
  shape({ axes, keepdims }, [input]) {
    for (const axis of axes) expectAxis(axis, input);
    return keepdims
      ? input.map((size, axis) => (axes.includes(axis) ? 1 : size))
      : input.filter((_, axis) => !axes.includes(axis));
  },
  rank: ({ axes, keepdims }, [input = 0]) => (keepdims ? input : input - axes.length),
  native: ({ axes, keepdims }) => ({ kind: 'reduceMean', ints: [keepdims ? 1 : 0, ...axes] }),
  onnx({ inputs, axes, keepdims }, { opset }) {
    if (axes.length === 0) return { opType: 'Identity', inputs }; // to ONNX no axes are all of them
    if (opset < AXES_AS_INPUT) return { opType: 'ReduceMean', inputs, attributes: { axes, keepdims } };
    return { opType: 'ReduceMean', inputs: [...inputs, integerTensor(axes)], attributes: { keepdims } };
  },
};
