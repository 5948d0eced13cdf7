import { broadcastShape } from '../../tensor/shape-rules';
import { elementCount, formatShape } from '../../tensor/tensor';
import { type NodeOf, type Operator, ShapeMismatch } from './operator';

/** Of two inputs, as numpy's: 1-D operands are a row and a column, and lose that axis in the result. */
export interface MatMulNode extends NodeOf<'matmul'> {}

export const matmul: Operator<MatMulNode> = {
  inputs: 2,
  fields: {},
  shape(_, [a, b = []]) {
    const mismatch = () => new ShapeMismatch(`${formatShape(a)} and ${formatShape(b)} have no matrix product`);
    if (a.length === 0 || b.length === 0) throw mismatch();
    const left = a.length === 1 ? [1, a[0]!] : a;
    const right = b.length === 1 ? [b[0]!, 1] : b;
    const batch = broadcastShape(left.slice(0, -2), right.slice(0, -2));
    if (left.at(-1) !== right.at(-2) || batch === undefined) throw mismatch();
    return [...batch, ...(a.length === 1 ? [] : [left.at(-2)!]), ...(b.length === 1 ? [] : [right.at(-1)!])];
  },
  rank: (_, inputs) => Math.max(...inputs, 2) - inputs.filter((rank) => rank === 1).length,
  magnitude: (node) => node,
  native: () => ({ kind: 'matMul' }),
  macs: (_, input, result) => elementCount(result) * input.at(-1)!,
  onnx: ({ inputs }) => ({ opType: 'MatMul', inputs }),
};
