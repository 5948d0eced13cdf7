import { constantStages } from '../../algebra/constant-stages';
import { BINARY_FUNCTIONS, type BinaryFunction } from '../../ops/tensor-op';
import { broadcastShape } from '../../tensor/shape-rules';
import { formatShape } from '../../tensor/tensor';
import { BOOLEAN, NAME, oneOf, optional } from './fields';
import { type NodeOf, type OnnxNode, type Operator, ShapeMismatch, TYPES } from './operator';

/** Of two inputs, or of one and a tensor (which is the first operand where `constant_first` says so); shapes meet as numpy's do. */
export interface BinaryNode extends NodeOf<'binary'> {
  readonly function: BinaryFunction;
  readonly constant?: string;
  readonly constant_first?: boolean;
}

const ONNX: Readonly<Record<BinaryFunction, string>> = {
  add: 'Add',
  sub: 'Sub',
  mul: 'Mul',
  div: 'Div',
  prelu: 'PRelu',
  pow: 'Pow',
  min: 'Min',
  max: 'Max',
  mod: 'Mod',
  fmod: 'Mod',
  equal: 'Equal',
  less: 'Less',
  less_or_equal: 'LessOrEqual',
  greater: 'Greater',
  greater_or_equal: 'GreaterOrEqual',
  and: 'And',
  or: 'Or',
  xor: 'Xor',
};
/** Functions whose operands or result ONNX has in another type than float32. */
const OPERAND_TYPES: Readonly<Partial<Record<BinaryFunction, number>>> = {
  mod: TYPES.int64,
  and: TYPES.bool,
  or: TYPES.bool,
  xor: TYPES.bool,
};
const OF_TRUTH: readonly BinaryFunction[] = [
  'equal',
  'less',
  'less_or_equal',
  'greater',
  'greater_or_equal',
  'and',
  'or',
  'xor',
];

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
  channels({ constant }, [first, second], shapeOf) {
    if (constant === undefined) return first === second && first !== 1 ? first : undefined;
    const shape = shapeOf(constant);
    if (shape === undefined || shape.length > 4) return undefined;
    // Of fewer axes than images it may stand beside tensors, whose axes it meets elsewhere.
    const isOne = shape.length < 2 && shape.every((size) => size === 1);
    const isOfImages = shape.length === 4 && shape.every((size, axis) => size === (axis === 1 ? first : 1));
    return isOne || (isOfImages && first !== 1) ? first : undefined;
  },
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
  onnx({ id, inputs, function: name, constant, constant_first }) {
    const given = constant === undefined ? inputs : [...inputs, { key: constant }];
    const operands = constant_first === true ? [...given].reverse() : given;
    const to = OPERAND_TYPES[name];
    const casts = to === undefined ? [] : operands.map((operand, i) => castTo(to, operand, `operand${i}`));
    const node = {
      opType: ONNX[name],
      inputs: to === undefined ? operands : operands.map((_, i) => `${id}.operand${i}`),
      ...(name === 'fmod' ? { attributes: { fmod: true } } : {}),
    };
    if (name !== 'mod' && !OF_TRUTH.includes(name)) return node;
    return [...casts, { ...node, part: 'result' }, castTo(TYPES.float32, `${id}.result`)];
  },
};

function castTo(to: number, input: OnnxNode['inputs'][number], part?: string): OnnxNode {
  return { opType: 'Cast', inputs: [input], attributes: { to }, ...(part === undefined ? {} : { part }) };
}

/** Whether a constant is one value for all of an image of `rank` axes, or one for each channel. */
function isOfChannels(shape: readonly number[], rank: number): boolean {
  return shape.length <= rank && shape.every((size, axis) => size === 1 || rank - shape.length + axis === 1);
}
