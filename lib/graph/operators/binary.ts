import { constantStages } from '../../algebra/constant-stages';
import { BINARY_FUNCTIONS, type BinaryFunction } from '../../ops/tensor-op';
import { broadcastShape } from '../../tensor/shape-rules';
import { formatShape } from '../../tensor/tensor';
import { BOOLEAN, NAME, oneOf, optional } from './fields';
import { type NodeOf, type Operator, ShapeMismatch } from './operator';

/** Of two inputs, or of one and a tensor (which is the first operand where `constant_first` says so); shapes meet as numpy's do. */
export interface BinaryNode extends NodeOf<'binary'> {
  readonly function: BinaryFunction;
  readonly constant?: string;
  readonly constant_first?: boolean;
}

const ONNX = { add: 'Add', sub: 'Sub', mul: 'Mul', div: 'Div', prelu: 'PRelu' } as const;

export const binary: Operator<BinaryNode> = {
  inputs: [1, 2],
  fields: { function: oneOf(BINARY_FUNCTIONS), constant: optional(NAME), constant_first: optional(BOOLEAN) },
  unfitInputs: ({ inputs, constant }) =>
    inputs.length + (constant === undefined ? 0 : 1) === 2 ? undefined : 'two ids, or one and a constant',
  keys: ({ constant }) => (constant === undefined ? [] : [constant]),
  shape({ constant }, inputs, shapeOf) {
    const operands = constant === undefined ? inputs : [inputs[0], shapeOf(constant)];
    const met = broadcastShape(operands[0]!, operands[1]!);
    if (met === undefined) throw new ShapeMismatch(`shapes ${operands.map(formatShape).join(' and ')} do not meet`);
    return met;
  },
  rank: ({ constant }, inputs, shapeOf) => Math.max(...inputs, constant === undefined ? 0 : shapeOf(constant).length),
  affine({ inputs, function: name, constant, constant_first: isFirst = false }, channels, weight) {
    if (constant === undefined) {
      if (name === 'add') return { kind: 'sum', inputs };
      return name === 'sub' ? { kind: 'difference', inputs } : undefined;
    }
    if (channels === undefined) return undefined;
    const stages = constantStages({ function: name, constant: weight(constant), isFirst }, channels);
    return typeof stages === 'string' ? undefined : { kind: 'stages', input: inputs[0]!, stages };
  },
  magnitude(node) {
    if (node.function === 'sub') return { ...node, function: 'add' };
    const isAffine =
      node.function === 'add' ||
      (node.constant !== undefined &&
        (node.function === 'mul' || (node.function === 'div' && node.constant_first !== true)));
    return isAffine ? node : undefined;
  },
  native({ function: name, constant, constant_first: constantFirst = false }, weight) {
    if (constant === undefined) return { kind: 'binary', function: name };
    const bias = weight(constant);
    return { kind: 'binary', function: name, bias, ints: bias.shape, constantFirst };
  },
  steps(node, engine) {
    const { constant } = node;
    const ofImages =
      engine.areImages() && (constant === undefined || isOfChannels(engine.weight(constant).shape, engine.rank));
    return engine[ofImages ? 'images' : 'tensor'](binary.native!(node, engine.weight));
  },
  onnx({ inputs, function: name, constant, constant_first }) {
    const operands = constant === undefined ? inputs : [...inputs, { key: constant }];
    return { opType: ONNX[name], inputs: constant_first === true ? [...operands].reverse() : operands };
  },
};

/** Whether a constant is one value for all of an image of `rank` axes, or one for each channel. */
function isOfChannels(shape: readonly number[], rank: number): boolean {
  return shape.length <= rank && shape.every((size, axis) => size === 1 || rank - shape.length + axis === 1);
}
