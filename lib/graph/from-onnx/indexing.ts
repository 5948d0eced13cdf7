import { intOf, stringOf } from '../../onnx/attributes';
import type { Node } from '../../onnx/schema/onnx_pb';
import { numbersOf } from '../../onnx/values';
import { SCATTER_FUNCTIONS, type ScatterFunction } from '../operators/indexing';
import { about, type Reader, refused, type Take } from './reader';
import { pushRange } from './tensors';

/** What reads or writes elements at places that another value holds, and what repeats elements. */
export const INDEXING_OPERATORS: Readonly<Record<string, Take>> = {
  Gather(reader, node) {
    const [input, index] = node.input as [string, string];
    const axis = reader.axis(input, intOf(node, 'axis', 0));
    const indices = reader.constant(index);
    if (indices?.size !== 1 || indices.shape.length > 1) {
      expectWithin(reader, node, axis);
      reader.push({ ...about(node, 'gather'), inputs: [input, index], axis });
      return;
    }
    const [place] = numbersOf(indices) as [number];
    const part = indices.shape.length === 1 ? node.output[0]! : `${node.output[0]}.part`;
    pushRange(reader, part, input, axis, place, place === -1 ? undefined : place + 1);
    if (indices.shape.length === 0) reader.push({ id: node.output[0]!, op: 'squeeze', inputs: [part], axes: [axis] });
  },
  GatherElements(reader, node) {
    const axis = reader.axis(node.input[0]!, intOf(node, 'axis', 0));
    expectWithin(reader, node, axis);
    reader.push({ ...about(node, 'gather_elements'), inputs: node.input, axis });
  },
  GatherND(reader, node) {
    reader.push({ ...about(node, 'gather_nd'), inputs: node.input, batch_dims: intOf(node, 'batch_dims', 0) });
  },
  Scatter: takeScatterElements,
  ScatterElements: takeScatterElements,
  ScatterND(reader, node) {
    reader.push({ ...about(node, 'scatter_nd'), inputs: node.input, ...functionOf(node) });
  },
  Expand(reader, node) {
    reader.push({ ...about(node, 'expand'), shape: reader.sizeTexts(reader.shapeNumbers(node, 1)) });
  },
  Tile(reader, node) {
    const [input] = node.input as [string];
    const repeats = reader.listed(node, 1, 'repeats') ?? [];
    const sizes = reader.sizes(input);
    if (repeats.length !== reader.rank(input)) throw refused(node, 'its repeats are not one for each axis');
    // An axis of one element is spread, copies of a longer one stand one after the other.
    const isUnit = sizes.map((size) => size === 1);
    const id = node.output[0]!;
    let value = input;
    for (const [axis, count] of repeats.entries()) {
      if (count === 1 || isUnit[axis]) continue;
      if (typeof count !== 'number') throw refused(node, `it repeats an axis ${count} times, which is open`);
      const copies = Array<string>(count).fill(value);
      value = `${id}.${axis}`;
      reader.push({ id: value, op: 'concat', inputs: copies, axis });
    }
    const spread = repeats.map((count, axis) => (isUnit[axis] ? reader.sizeText(count) : 1));
    if (spread.some((count) => count !== 1)) reader.push({ id, op: 'expand', inputs: [value], shape: spread });
    else reader.alias(node, value);
  },
  CumSum(reader, node) {
    const given = reader.scalar(node, 1);
    if (given === undefined) throw refused(node, 'it has no axis');
    const [exclusive, reverse] = [intOf(node, 'exclusive', 0) !== 0, intOf(node, 'reverse', 0) !== 0];
    reader.push({ ...about(node, 'cum_sum'), axis: reader.axis(node.input[0]!, given), exclusive, reverse });
  },
};

function takeScatterElements(reader: Reader, node: Node): void {
  const axis = reader.axis(node.input[0]!, intOf(node, 'axis', 0));
  expectWithin(reader, node, axis);
  reader.push({ ...about(node, 'scatter_elements'), inputs: node.input, axis, ...functionOf(node) });
}

function functionOf(node: Node): { readonly function?: ScatterFunction } {
  const name = stringOf(node, 'reduction', 'none');
  if (name === 'none') return {};
  if (!SCATTER_FUNCTIONS.includes(name as ScatterFunction)) throw refused(node, `its reduction is ${name}`);
  return { function: name as ScatterFunction };
}

/** Constant indices are places of the axis; what is computed is looked at as it is used. */
function expectWithin(reader: Reader, node: Node, axis: number): void {
  const [input, index] = node.input as [string, string];
  const indices = reader.constant(index);
  if (indices === undefined) return;
  const size = reader.sizes(input)[axis]!;
  if (typeof size !== 'number') return;
  const outside = numbersOf(indices).find((place) => place < -size || place >= size);
  if (outside !== undefined) throw refused(node, `its index ${outside} is not within an axis of ${size}`);
}
