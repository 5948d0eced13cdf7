import { agree } from '../../sizes/conditions';
import type { Sizes } from '../../sizes/size';
import { broadcastShape } from '../../tensor/shape-rules';
import { elementCount, formatShape } from '../../tensor/tensor';
import { NAME, optional } from './fields';
import { type NodeOf, type Operator, type Shape, ShapeMismatch } from './operator';

/** Of two inputs, as numpy's: 1-D operands are a row and a column, and lose that axis in the result. Or of one and a tensor [in, out]. */
export interface MatMulNode extends NodeOf<'matmul'> {
  readonly constant?: string;
}

export const matmul: Operator<MatMulNode> = {
  inputs: [1, 2],
  fields: { constant: optional(NAME) },
  unfitInputs: ({ inputs, constant }) =>
    inputs.length + (constant === undefined ? 0 : 1) === 2 ? undefined : 'two ids, or one and a constant',
  keys: ({ constant }) => (constant === undefined ? [] : [constant]),
  shape({ constant }, [a, other = []], shapeOf) {
    const b = constant === undefined ? other : shapeOf(constant);
    const mismatch = () => new ShapeMismatch(`${formatShape(a)} and ${formatShape(b)} have no matrix product`);
    if (a.length === 0 || b.length === 0 || (constant !== undefined && b.length !== 2)) throw mismatch();
    const left: Sizes = a.length === 1 ? [1, a[0]!] : a;
    const right: Sizes = b.length === 1 ? [b[0]!, 1] : b;
    const batch = broadcastShape(left.slice(0, -2), right.slice(0, -2));
    if (!agree(left.at(-1)!, right.at(-2)!) || batch === undefined) throw mismatch();
    return [...batch, ...(a.length === 1 ? [] : [left.at(-2)!]), ...(b.length === 1 ? [] : [right.at(-1)!])];
  },
  rank({ constant }, inputs) {
    const ranks = constant === undefined ? inputs : [inputs[0]!, 2];
    return Math.max(...ranks, 2) - ranks.filter((rank) => rank === 1).length;
  },
  magnitude: (node) => node,
  native({ constant }, weight) {
    if (constant === undefined) return { kind: 'matMul' };
    const bias = weight(constant);
    return { kind: 'matMul', bias, ints: bias.shape };
  },
  macs: (_, input: Shape, result) => elementCount(result) * input.at(-1)!,
  onnx: ({ inputs, constant }) => ({
    opType: 'MatMul',
    inputs: constant === undefined ? inputs : [...inputs, { key: constant }],
  }),
};
