import type { Sizes } from '../../sizes/size';
import { broadcastShape } from '../../tensor/shape-rules';
import { formatShape } from '../../tensor/tensor';
import { type NodeOf, type Operator, ShapeMismatch, TYPES } from './operator';

/** Of three inputs: the second where the first is not 0, else the third; shapes meet as numpy's do. */
export type WhereNode = NodeOf<'where'>;

export const where: Operator<WhereNode> = {
  inputs: [3, 3],
  fields: {},
  shape(_, inputs) {
    const [first, ...rest] = inputs;
    let met: Sizes | undefined = first;
    for (const shape of rest) met = met && broadcastShape(met, shape);
    if (met === undefined) throw new ShapeMismatch(`shapes ${inputs.map(formatShape).join(', ')} do not meet`);
    return met;
  },
  rank: (_, inputs) => Math.max(...inputs),
  native: () => ({ kind: 'where' }),
  onnx: ({ id, inputs: [condition, ...values] }) => [
    { opType: 'Cast', inputs: [condition!], attributes: { to: TYPES.bool }, part: 'condition' },
    { opType: 'Where', inputs: [`${id}.condition`, ...values] },
  ],
};
