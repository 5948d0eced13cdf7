import { hasAttribute, intOf, stringOf, stringsOf, tensorAttribute } from '../../onnx/attributes';
import type { Node } from '../../onnx/schema/onnx_pb';
import { numbersOf, tensorOf } from '../../onnx/values';
import { toFloat32 } from '../../tensor/half';
import { Tensor } from '../../tensor/tensor';
import { DIRECTIONS, directionsOf, gatesOf, type RecurrentNode } from '../operators/recurrent';
import { type Reader, refused, type Take } from './reader';
import { pushRange } from './tensors';

type Cell = RecurrentNode['cell'];

/** Layers that go over a sequence. */
export const RECURRENT_OPERATORS: Readonly<Record<string, Take>> = {
  LSTM: (reader, node) => takeRecurrent(reader, node, 'lstm', ['Sigmoid', 'Tanh', 'Tanh']),
  GRU(reader, node) {
    const cell = intOf(node, 'linear_before_reset', 0) === 0 ? 'gru' : 'gru_after';
    takeRecurrent(reader, node, cell, ['Sigmoid', 'Tanh']);
  },
  RNN(reader, node) {
    const [first = 'Tanh'] = stringsOf(node, 'activations') ?? [];
    takeRecurrent(reader, node, first === 'Relu' ? 'relu' : 'tanh', [first === 'Relu' ? 'Relu' : 'Tanh']);
  },
};

/** What the inputs add to the gates is one product for all times; the `recurrent` node does the rest. */
function takeRecurrent(reader: Reader, node: Node, cell: Cell, activations: readonly string[]): void {
  const [input, , , , lengths = '', firstState = '', firstCell = '', peepholes = ''] = node.input as [string];
  const [all = '', last = '', lastCell = ''] = node.output;
  const direction = stringOf(node, 'direction', 'forward') as RecurrentNode['direction'];
  if (!DIRECTIONS.includes(direction)) throw refused(node, `its direction is ${direction}`);
  const directions = directionsOf({ direction });
  const functions = Array.from({ length: directions }, () => activations).flat();
  if ((stringsOf(node, 'activations') ?? functions).join() !== functions.join())
    throw refused(node, `its activations are not ${activations.join(', ')}`);
  if (lengths !== '') throw refused(node, 'its sequences have lengths of their own');
  if (peepholes !== '') throw refused(node, 'it has peepholes');
  if (reader.isRead(lastCell)) throw refused(node, 'its last cell state is read');
  if (hasAttribute(node, 'clip') || intOf(node, 'input_forget', 0) !== 0)
    throw refused(node, 'it clips, or couples its gates');

  const id = all || last;
  const batchFirst = intOf(node, 'layout', 0) === 1;
  const turned = (value: string, perm: readonly number[], to: string) => {
    reader.push({ id: to, op: 'transpose', inputs: [value], perm });
    return to;
  };
  const x = batchFirst ? turned(input, [1, 0, 2], `${id}.input`) : input;
  const { units, weight, constants } = readWeights(reader, node, id, directions, gatesOf({ cell }));
  reader.push({ id: `${id}.products`, op: 'matmul', inputs: [x], constant: constants.weight });
  const gates = `${id}.gates`;
  reader.push({ id: gates, op: 'binary', inputs: [`${id}.products`], function: 'add', constant: constants.bias });
  const given = cell === 'lstm' ? [firstState, firstCell] : [firstState];
  const states = given.every((state) => isZero(reader, state)) ? [] : given;
  if (states.includes('')) throw refused(node, 'it begins with one state of two');
  const turnedStates = batchFirst ? states.map((state, i) => turned(state, [1, 0, 2], `${id}.state${i}`)) : states;
  const made = all === '' || batchFirst ? `${id}.all` : all;
  reader.push({ id: made, op: 'recurrent', inputs: [gates, ...turnedStates], cell, direction, units, weight });
  if (batchFirst && all !== '') turned(made, [2, 0, 1, 3], all);
  if (!reader.isRead(last)) return;

  // The last of each direction is its state after the last time, or after the first one.
  const ends = direction === 'bidirectional' ? (['forward', 'reverse'] as const) : [direction];
  const parts = ends.map((end, i) => {
    const [side, part] = [`${last}.${end}.side`, `${last}.${end}`];
    pushRange(reader, side, made, 1, i, i + 1);
    if (end === 'forward') pushRange(reader, part, side, 0, -1);
    else pushRange(reader, part, side, 0, 0, 1);
    return part;
  });
  reader.push({ id: `${last}.both`, op: 'concat', inputs: parts, axis: 1 });
  const squeezed = batchFirst ? `${last}.squeezed` : last;
  reader.push({ id: squeezed, op: 'squeeze', inputs: [`${last}.both`], axes: [0] });
  if (batchFirst) turned(squeezed, [1, 0, 2], last);
}

/** Weights and biases as a matrix product over all gates, and as the `recurrent` node has them. */
function readWeights(reader: Reader, node: Node, id: string, directions: number, gates: number) {
  const [ofInput, ofState, biases] = [1, 2, 3].map((index) =>
    (node.input[index] ?? '') === '' ? undefined : reader.operand(node.input[index]!),
  );
  if (ofInput?.shape.length !== 3 || ofState?.shape.length !== 3) throw refused(node, 'its weights are no constants');
  const [, , features = 0] = ofInput.shape;
  const [, rows = 0, units = 0] = ofState.shape;
  if (rows !== gates * units || ofInput.shape[0] !== directions || ofInput.shape[1] !== rows)
    throw refused(node, 'its weights do not fit each other');
  if ((node.input[3] ?? '') !== '' && biases?.size !== directions * 2 * rows)
    throw refused(node, 'its bias is no constant of its gates');
  const [w, r] = [toFloat32(ofInput), toFloat32(ofState)];
  const b = biases === undefined ? new Float32Array(directions * 2 * rows) : toFloat32(biases);
  const columns = directions * rows;
  reader.takeBudget(columns * (features + units + 2));
  const matrix = new Float32Array(features * columns);
  const weight = new Float32Array(columns * (units + 1));
  const bias = new Float32Array(columns);
  for (let column = 0; column < columns; column++) {
    for (let k = 0; k < features; k++) matrix[k * columns + column] = w[column * features + k]!;
    weight.set(r.subarray(column * units, (column + 1) * units), column * (units + 1));
    const [direction, row] = [Math.floor(column / rows), column % rows];
    bias[column] = b[2 * direction * rows + row]!;
    weight[column * (units + 1) + units] = b[(2 * direction + 1) * rows + row]!;
  }
  return {
    units,
    weight: reader.set(`${id}.weight`, Tensor.f32([directions, rows, units + 1], weight)),
    constants: {
      weight: reader.set(`${id}.matrix`, Tensor.f32([features, columns], matrix)),
      bias: reader.set(`${id}.bias`, Tensor.f32([columns], bias)),
    },
  };
}

/** Whether a state is left out, or of zeros, of whatever batch. */
function isZero(reader: Reader, state: string): boolean {
  if (state === '') return true;
  const constant = reader.constant(state);
  if (constant !== undefined) return numbersOf(constant).every((value) => value === 0);
  const producer = reader.producer(state);
  if (producer?.opType === 'Expand') return isZero(reader, producer.input[0]!);
  if (producer?.opType !== 'ConstantOfShape') return false;
  const proto = tensorAttribute(producer, 'value');
  const value = proto && tensorOf(proto);
  return proto === undefined || (value !== undefined && numbersOf(value).every((each) => each === 0));
}
