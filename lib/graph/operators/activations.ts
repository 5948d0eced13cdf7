import { Tensor } from '../../tensor/tensor';
import { NUMBER, nullable } from './fields';
import type { Epilogue, NodeOf, Operator } from './operator';

/** x < 0 ? slope x : x. */
export interface LeakyReluNode extends NodeOf<'leaky_relu'> {
  readonly slope: number;
}

/** null: no bound. */
export interface ClipNode extends NodeOf<'clip'> {
  readonly min: number | null;
  readonly max: number | null;
}

/** alpha x + beta, clipped to [0, 1]. */
export interface HardSigmoidNode extends NodeOf<'hard_sigmoid'> {
  readonly alpha: number;
  readonly beta: number;
}

export type ActivationNode =
  | NodeOf<'erf'>
  | NodeOf<'hardswish'>
  | NodeOf<'relu'>
  | NodeOf<'sigmoid'>
  | NodeOf<'silu'>
  | NodeOf<'tanh'>
  | ClipNode
  | HardSigmoidNode
  | LeakyReluNode;

type Records = { readonly [Op in ActivationNode['op']]: Operator<Extract<ActivationNode, { readonly op: Op }>> };

/**
 * Functions of one value, one row each: the node's fields, the native activation, ONNX's operator. Where a row has no `run`, an eager run goes
 * through the native operator on tensors too.
 */
export const ACTIVATIONS: Records = {
  hardswish: activation({
    ...named('hardswish'),
    run: (_, [x], { ops, options }) => ops.hardswish(x, options),
    onnx: { type: 'HardSwish' },
  }),
  relu: activation({
    ...named('relu'),
    run: (_, [x], { ops, options }) => ops.relu(x, options),
    onnx: { type: 'Relu' },
  }),
  sigmoid: activation({
    ...named('sigmoid'),
    run: (_, [x], { ops, options }) => ops.sigmoid(x, options),
    onnx: { type: 'Sigmoid' },
  }),
  silu: activation({
    ...named('silu'),
    run: (_, [x], { ops, options }) => ops.silu(x, options),
    onnx: ({ id, inputs }) => [
      { opType: 'Sigmoid', inputs, part: 'sigmoid' },
      { opType: 'Mul', inputs: [...inputs, `${id}.sigmoid`] },
    ],
  }),
  erf: activation({ ...named('erf'), onnx: { type: 'Erf' } }),
  tanh: activation({ ...named('tanh'), onnx: { type: 'Tanh' } }),
  leaky_relu: activation({
    fields: { slope: NUMBER },
    epilogue: ({ slope }) => ({ activation: 'leakyRelu', alpha: slope }),
    onnx: { type: 'LeakyRelu', floats: { alpha: ['slope', Math.fround(0.01)] } },
  }),
  clip: activation({
    fields: { min: nullable(NUMBER), max: nullable(NUMBER) },
    epilogue: ({ min, max }) => ({ activation: 'clip', alpha: min ?? -Infinity, beta: max ?? Infinity }),
    onnx: ({ inputs, min, max }) => {
      const bounds = [min, max].map((bound) => (bound === null ? null : Tensor.f32([], [bound])));
      return { opType: 'Clip', inputs: [...inputs, ...bounds] };
    },
  }),
  hard_sigmoid: activation({
    fields: { alpha: NUMBER, beta: NUMBER },
    epilogue: ({ alpha, beta }) => ({ activation: 'hardSigmoid', alpha, beta }),
    onnx: { type: 'HardSigmoid', floats: { alpha: ['alpha', Math.fround(0.2)], beta: ['beta', 0.5] } },
  }),
};

/** What sets an activation apart from the others. */
type Row<N extends NodeOf> = Pick<Operator<N>, 'fields' | 'run' | 'onnx'> & {
  readonly epilogue: (node: N) => Epilogue;
};

/** Of an activation without fields, by its native name. */
function named(name: string) {
  return { fields: {}, epilogue: () => ({ activation: name }) };
}

function activation<N extends NodeOf>(row: Row<N>): Operator<N> {
  return {
    ...row,
    inputs: 1,
    shape: (_, [input]) => input,
    keepsChannels: () => true,
    native: (node) => ({ kind: 'activation', ...row.epilogue(node) }),
  };
}
