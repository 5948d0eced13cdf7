import { REDUCTIONS, type Reduction } from '../../ops/tensor-op';
import { anyIntegers, BOOLEAN, oneOf } from './fields';
import { expectAxis, integerTensor, type NodeOf, type OnnxNode, type Operator, ShapeMismatch, TYPES } from './operator';

/** What a function makes of all values along some axes. The place of an extreme is that along one axis. */
export interface ReduceNode extends NodeOf<'reduce'> {
  readonly function: Reduction;
  readonly axes: readonly number[];
  readonly keepdims: boolean;
}

const ONNX = {
  mean: 'ReduceMean',
  sum: 'ReduceSum',
  l1: 'ReduceL1',
  l2: 'ReduceL2',
  sum_square: 'ReduceSumSquare',
  log_sum: 'ReduceLogSum',
  log_sum_exp: 'ReduceLogSumExp',
  prod: 'ReduceProd',
  max: 'ReduceMax',
  min: 'ReduceMin',
} as const;
/** The operator of each place, and whether it tells of the last one. */
const PLACES = {
  argmax: ['ArgMax', false],
  argmax_last: ['ArgMax', true],
  argmin: ['ArgMin', false],
  argmin_last: ['ArgMin', true],
} as const;

/** From here on the axes are an input. */
const AXES_AS_INPUT = 18;

export const reduce: Operator<ReduceNode> = {
  inputs: 1,
  fields: { function: oneOf(REDUCTIONS), axes: anyIntegers(0), keepdims: BOOLEAN },
  shape({ function: name, axes, keepdims }, [input]) {
    for (const axis of axes) expectAxis(axis, input);
    if (name in PLACES && (axes.length !== 1 || input.length === 0))
      throw new ShapeMismatch('expected one axis along which it finds a place');
    return keepdims
      ? input.map((size, axis) => (axes.includes(axis) ? 1 : size))
      : input.filter((_, axis) => !axes.includes(axis));
  },
  rank: ({ axes, keepdims }, [input = 0]) => (keepdims ? input : input - new Set(axes).size),
  keepsChannels: ({ axes, keepdims }) => keepdims && !axes.includes(1),
  channels: ({ axes, keepdims }) => (keepdims && axes.includes(1) ? 1 : undefined),
  native: ({ function: reduction, axes, keepdims }) => ({
    kind: 'reduce',
    reduction,
    ints: [keepdims ? 1 : 0, ...axes],
  }),
  steps(node, engine) {
    const ofImages = node.keepdims && engine.rank === 4 && engine.isImages();
    return engine[ofImages ? 'images' : 'tensor'](reduce.native!(node, engine.weight));
  },
  onnx({ id, inputs, function: name, axes, keepdims }, { opset }) {
    if (name in PLACES) {
      const [opType, select_last_index] = PLACES[name as keyof typeof PLACES];
      return [
        { opType, inputs, attributes: { axis: axes[0]!, keepdims, select_last_index }, part: 'place' },
        { opType: 'Cast', inputs: [`${id}.place`], attributes: { to: TYPES.float32 } },
      ];
    }
    const opType = ONNX[name as keyof typeof ONNX];
    const asInput = opset >= AXES_AS_INPUT || opType === 'ReduceSum';
    const written = (list: readonly number[], input = inputs): OnnxNode =>
      asInput
        ? { opType, inputs: [...input, integerTensor(list)], attributes: { keepdims } }
        : { opType, inputs: input, attributes: { axes: list, keepdims } };
    if (axes.length > 0) return written(axes);
    // To ONNX no axes are all of them: along one of one element instead.
    return [
      { opType: 'Unsqueeze', inputs: [...inputs, integerTensor([0])], part: 'unsqueezed' },
      { ...written([0], [`${id}.unsqueezed`]), attributes: { ...written([0]).attributes, keepdims: false } },
    ];
  },
};
