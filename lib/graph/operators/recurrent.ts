import { agree, allAgree } from '../../sizes/conditions';
import { elementCount, formatShape, Tensor } from '../../tensor/tensor';
import { integer, NAME, oneOf } from './fields';
import { type NodeOf, type OnnxNode, type Operator, ShapeMismatch, Unwritable } from './operator';

/** `gru_after`: the reset gate scales the product with the state, as in PyTorch, not the state before it. */
export const CELLS = ['tanh', 'relu', 'gru', 'gru_after', 'lstm'] as const;
export const DIRECTIONS = ['forward', 'reverse', 'bidirectional'] as const;

/**
 * A recurrent layer over what its inputs add to the gates, which is one product for all times.
 *
 * Inputs: gates [time, batch, directions * gates * units], in ONNX's order, then, where they are given, the first hidden state and (of an
 * LSTM) the first cell state, both [directions, batch, units]. Result: the state after each time, [time, directions, batch, units].
 */
export interface RecurrentNode extends NodeOf<'recurrent'> {
  readonly cell: (typeof CELLS)[number];
  readonly direction: (typeof DIRECTIONS)[number];
  readonly units: number;
  /** [directions, gates * units, units + 1]: weights of the state before, then a bias. */
  readonly weight: string;
}

export const recurrent: Operator<RecurrentNode> = {
  inputs: [1, 3],
  fields: { cell: oneOf(CELLS), direction: oneOf(DIRECTIONS), units: integer(1), weight: NAME },
  keys: ({ weight }) => [weight],
  unfitInputs: ({ inputs, cell }) => (inputs.length > 2 && cell !== 'lstm' ? 'the gates and one state' : undefined),
  shape(node, [gates, ...states], shapeOf) {
    const { units, weight } = node;
    const directions = directionsOf(node);
    const wanted = [directions, gatesOf(node) * units, units + 1];
    if (formatShape(shapeOf(weight)) !== formatShape(wanted))
      throw new ShapeMismatch(
        `expected ${formatShape(wanted)} for its tensor ${weight} but it is ${formatShape(shapeOf(weight))}`,
      );
    const [time = 0, batch = 0, all] = gates;
    if (gates.length !== 3 || !agree(all!, directions * wanted[1]!))
      throw new ShapeMismatch(`its input ${formatShape(gates)} is not [time, batch, ${directions * wanted[1]!}]`);
    for (const state of states) {
      if (!allAgree(state, [directions, batch, units]))
        throw new ShapeMismatch(`a state ${formatShape(state)} is not ${formatShape([directions, batch, units])}`);
    }
    return [time, directions, batch, units];
  },
  rank: () => 4,
  channels: (node) => directionsOf(node),
  native(node, weight) {
    const ints = [CELLS.indexOf(node.cell), DIRECTIONS.indexOf(node.direction), node.units];
    return { kind: 'recurrent', ints, bias: weight(node.weight) };
  },
  macs: ({ weight }, [time = 0, batch = 0], _, shapeOf) => time * batch * elementCount(shapeOf(weight)),
  onnx: (node, { weight }) => toOnnx(node, weight(node.weight)),
};

export function gatesOf({ cell }: Pick<RecurrentNode, 'cell'>): number {
  return cell === 'lstm' ? 4 : cell.startsWith('gru') ? 3 : 1;
}

export function directionsOf({ direction }: Pick<RecurrentNode, 'direction'>): number {
  return direction === 'bidirectional' ? 2 : 1;
}

/** ONNX's layers multiply their inputs too: here by ones and zeros, which give each direction its own gates. */
function toOnnx(node: RecurrentNode, weight: Tensor): OnnxNode {
  const { cell, direction, units: hidden_size, inputs } = node;
  if (cell === 'relu') throw new Unwritable('a recurrent layer of ReLU without a list of texts');
  const [directions, rows] = [directionsOf(node), gatesOf(node) * hidden_size];
  const own = new Float32Array(directions * rows * directions * rows);
  const state = new Float32Array(directions * rows * hidden_size);
  const bias = new Float32Array(directions * 2 * rows);
  for (let d = 0; d < directions; d++) {
    for (let row = 0; row < rows; row++) {
      const at = d * rows + row;
      own[at * directions * rows + at] = 1;
      const from = at * (hidden_size + 1);
      state.set(weight.data.subarray(from, from + hidden_size) as Float32Array, at * hidden_size);
      bias[(2 * d + 1) * rows + row] = weight.data[from + hidden_size] as number;
    }
  }
  const [gates, ...states] = inputs;
  return {
    opType: cell === 'lstm' ? 'LSTM' : cell.startsWith('gru') ? 'GRU' : 'RNN',
    inputs: [
      gates!,
      { name: 'own', tensor: Tensor.f32([directions, rows, directions * rows], own) },
      { name: 'state', tensor: Tensor.f32([directions, rows, hidden_size], state) },
      { name: 'bias', tensor: Tensor.f32([directions, 2 * rows], bias) },
      ...(states.length > 0 ? [null, ...states] : []),
    ],
    attributes: {
      hidden_size,
      direction,
      ...(cell === 'gru_after' ? { linear_before_reset: 1 } : {}),
    },
  };
}
