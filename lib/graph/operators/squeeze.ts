import { agree } from '../../sizes/conditions';
import { formatShape } from '../../tensor/tensor';
import { anyIntegers } from './fields';
import { expectAxis, integerTensor, type NodeOf, type OnnxNode, type Operator, ShapeMismatch } from './operator';

/** Axes of the input. */
export interface SqueezeNode extends NodeOf<'squeeze'> {
  readonly axes: readonly number[];
}

/** Axes of the result. */
export interface UnsqueezeNode extends NodeOf<'unsqueeze'> {
  readonly axes: readonly number[];
}

export const squeeze: Operator<SqueezeNode> = {
  inputs: 1,
  fields: { axes: anyIntegers(0) },
  shape({ axes }, [input]) {
    for (const axis of axes) {
      expectAxis(axis, input);
      if (!agree(input[axis]!, 1)) throw new ShapeMismatch(`axis ${axis} of its input ${formatShape(input)} is not 1`);
    }
    return input.filter((_, axis) => !axes.includes(axis));
  },
  rank: ({ axes }, [input = 0]) => input - axes.length,
  magnitude: (node) => node,
  native: ({ axes }) => ({ kind: 'squeeze', ints: axes }),
  onnx: (node) => toOnnx('Squeeze', node),
};

export const unsqueeze: Operator<UnsqueezeNode> = {
  inputs: 1,
  fields: { axes: anyIntegers(0) },
  shape({ axes }, [input]) {
    const rank = input.length + axes.length;
    const rest = [...input];
    if (new Set(axes).size !== axes.length || axes.some((axis) => axis >= rank))
      throw new ShapeMismatch(`axes [${axes.join(', ')}] are not those of a result of ${rank}`);
    return Array.from({ length: rank }, (_, axis) => (axes.includes(axis) ? 1 : rest.shift()!));
  },
  rank: ({ axes }, [input = 0]) => input + axes.length,
  magnitude: (node) => node,
  native: ({ axes }) => ({ kind: 'unsqueeze', ints: axes }),
  onnx: (node) => toOnnx('Unsqueeze', node),
};

/** To ONNX no axes are all of them. */
function toOnnx(opType: string, { inputs, axes }: SqueezeNode | UnsqueezeNode): OnnxNode {
  return axes.length === 0 ? { opType: 'Identity', inputs } : { opType, inputs: [...inputs, integerTensor(axes)] };
}
