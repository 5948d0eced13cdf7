import { intOf } from '../../onnx/attributes';
import type { Node } from '../../onnx/schema/onnx_pb';
import { numbersOf } from '../../onnx/values';
import { Tensor } from '../../tensor/tensor';
import { MAX_INTEGER } from '../operators/fields';
import { about, type Reader, refused, type Take } from './reader';
import { pushRange } from './tensors';

/** What chooses elements by their size or their place. */
export const SELECTION_OPERATORS: Readonly<Record<string, Take>> = {
  TopK(reader, node) {
    const [x] = node.input as [string];
    const axis = reader.axis(x, intOf(node, 'axis', -1));
    const largest = intOf(node, 'largest', 1) !== 0;
    const [values = '', found = ''] = node.output as [string, string?];
    const places = found === '' ? `${values}.places` : found;
    const order = { id: places, op: 'top_places', axis, largest } as const;
    const count = countOf(reader, node);
    if (count === undefined) reader.push({ ...order, inputs: node.input });
    else reader.push({ ...order, inputs: [x], count });
    if (reader.isRead(values)) reader.push({ id: values, op: 'gather_elements', inputs: [x, places], axis });
  },
  OneHot(reader, node) {
    const [indices] = node.input as [string];
    const id = node.output[0]!;
    const depth = reader.scalar(node, 1) ?? 0;
    if (!(depth >= 1)) throw refused(node, `its depth is ${depth}`);
    const rank = reader.rank(indices) + 1;
    const given = intOf(node, 'axis', -1);
    const axis = given < 0 ? given + rank : given;
    if (axis < 0 || axis >= rank) throw refused(node, `its axis is ${given}`);
    reader.push({ id: `${id}.indices`, op: 'unsqueeze', inputs: [indices], axes: [axis] });
    reader.takeBudget(2 * depth);
    const shape = [depth, ...Array<number>(rank - 1 - axis).fill(1)];
    // Places are counted from either end.
    const ends = [0, -depth].map((from, end) => {
      const places = Float32Array.from({ length: depth }, (_, place) => from + place);
      const constant = reader.set(`${id}.places${end}`, Tensor.f32(shape, places));
      const hit = `${id}.hit${end}`;
      reader.push({ id: hit, op: 'binary', inputs: [`${id}.indices`], function: 'equal', constant });
      return hit;
    });
    reader.push({ id: `${id}.hit`, op: 'binary', inputs: ends, function: 'or' });
    const [off, on] = [0, 1].map((place) => oneOf(reader, node, place)) as [string, string];
    reader.push({ id, op: 'where', inputs: [`${id}.hit`, on, off] });
  },
  Trilu(reader, node) {
    const given = reader.scalar(node, 1) ?? 0;
    const diagonal = Math.min(Math.max(given, -MAX_INTEGER), MAX_INTEGER);
    reader.push({ ...about(node, 'trilu'), upper: intOf(node, 'upper', 1) !== 0, diagonal });
  },
};

/** How many elements a TopK asks for; undefined where only the data tell. */
function countOf(reader: Reader, node: Node): number | undefined {
  if (reader.opset < 10) return intOf(node, 'k', 0);
  const told = reader.constant(node.input[1]!);
  if (told !== undefined) return numbersOf(told)[0];
  if (reader.isShapeNumber(node.input[1]!))
    throw refused(node, 'how many places it asks for depends on sizes that the model leaves open');
  return undefined;
}

/** One of the two values of a OneHot. */
function oneOf(reader: Reader, node: Node, place: number): string {
  const id = `${node.output[0]}.${place === 0 ? 'off' : 'on'}`;
  const values = reader.constant(node.input[2]!);
  if (values === undefined) pushRange(reader, id, node.input[2]!, 0, place, place + 1);
  else {
    const tensor = reader.set(id, Tensor.f32([], [numbersOf(values)[place] ?? 0]));
    reader.push({ id, op: 'constant', inputs: [], tensor });
  }
  return id;
}
