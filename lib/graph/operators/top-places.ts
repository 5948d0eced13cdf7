import { leastOf, minus } from '../../sizes/size';
import { BOOLEAN, integer, optional } from './fields';
import { expectAxis, integerTensor, type NodeOf, type OnnxNode, type Operator, ShapeMismatch, TYPES } from './operator';

/**
 * Places of the largest or smallest elements along an axis, best first; of equal ones the earlier first. `gather_elements` of the same input
 * and these are the elements.
 */
export interface TopPlacesNode extends NodeOf<'top_places'> {
  readonly axis: number;
  readonly largest: boolean;
  /** How many; else a second input of one element says it, and the data tell the size of the result. */
  readonly count?: number;
}

export const topPlaces: Operator<TopPlacesNode> = {
  inputs: [1, 2],
  fields: { axis: integer(0), largest: BOOLEAN, count: optional(integer(1)) },
  unfitInputs: ({ inputs, count }) =>
    inputs.length + (count === undefined ? 0 : 1) === 2 ? undefined : 'two ids, or one and a count',
  dataAxis: ({ axis, count }) => (count === undefined ? axis : undefined),
  shape({ axis, count }, [input, told]) {
    expectAxis(axis, input);
    if (told?.some((size) => size !== 1)) throw new ShapeMismatch('its count is not one element');
    const most = input[axis]!;
    if (count !== undefined && leastOf(minus(count, most)) > 0)
      throw new ShapeMismatch(`it asks for ${count} places of an axis of ${most}`);
    return input.map((size, i) => (i === axis ? (count ?? most) : size));
  },
  native: ({ axis, largest, count = 0 }) => ({ kind: 'topPlaces', ints: [axis, count, largest ? 1 : 0] }),
  onnx({ id, inputs: [input, told], axis, largest, count }) {
    const topK = (k: OnnxNode['inputs'][number]): OnnxNode => ({
      opType: 'TopK',
      inputs: [input!, k],
      attributes: { axis, largest, sorted: true },
      results: ['values', 'places'],
    });
    const places: OnnxNode = { opType: 'Cast', inputs: [`${id}.places`], attributes: { to: TYPES.float32 } };
    if (count !== undefined) return [topK(integerTensor([count])), places];
    return [
      { opType: 'Cast', inputs: [told!], attributes: { to: TYPES.int64 }, part: 'whole' },
      { opType: 'Reshape', inputs: [`${id}.whole`, integerTensor([1])], part: 'count' },
      topK(`${id}.count`),
      places,
    ];
  },
};
