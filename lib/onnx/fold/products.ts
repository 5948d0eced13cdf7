import type { Stage } from '../../ops';
import { DTYPES } from '../../tensor/dtype';
import { floatValues } from '../../tensor/half';
import { elementCount, Tensor } from '../../tensor/tensor';
import { FLOATS } from '../affine';
import { floatOf, intOf, isOfOnnx } from '../attributes';
import type { Node } from '../schema/onnx_pb';
import type { ConstantValues } from '../values';

/** A node that multiplies by a constant weight, as a convolution of one pixel for each feature of its result. */
export interface Product {
  /** Output features first: [O, I / groups, taps, 1]. */
  readonly weight: Tensor;
  readonly groups: number;
  /** What it does after its weight: alpha and bias of a Gemm. */
  readonly stages: readonly Stage[];
  readonly kernel: readonly [number, number];
  /** Of its result, where the node says it; its features are then axis 1. */
  readonly rank: number | undefined;
  /** Whether what scales its input's features can become part of its weight; nothing pads that input, and they are its last axis. */
  readonly takesInput: boolean;
  /** A weight of that form in the node's own. */
  restore(weight: Tensor): Tensor;
}

/** Whether a node multiplies by a weight, which may be no constant. */
export function isProduct(node: Node | undefined): boolean {
  return node !== undefined && isOfOnnx(node.domain) && Object.hasOwn(PRODUCTS, node.opType);
}

/** A product of a constant weight; why it is none that takes anything into its weight; undefined for a node of another kind. */
export function productOf(node: Node, constants: ConstantValues): Product | string | undefined {
  if (!isProduct(node) || node.output.length !== 1) return undefined;
  const [, weightName = '', biasName = ''] = node.input;
  const weight = constants.get(weightName);
  const bias = biasName === '' ? null : constants.get(biasName);
  if (weight === undefined || bias === undefined) return 'the weight or bias before it is no constant';
  if (!FLOATS.includes(weight.dtype)) return `the weight before it is ${weight.dtype}`;
  return PRODUCTS[node.opType]!(node, weight, bias);
}

const PRODUCTS: Readonly<Record<string, (node: Node, weight: Tensor, bias: Tensor | null) => Product | string>> = {
  Conv(node, weight, bias) {
    const { shape } = weight;
    if (shape.length < 3) return 'the weight before it is no kernel';
    const groups = intOf(node, 'group', 1);
    const restore = (fused: Tensor) => reshaped(fused, shape);
    return { ...ofImages(weight, bias), weight: reshaped(weight, oneTap(shape)), groups, restore };
  },
  ConvTranspose(node, weight, bias) {
    const { shape } = weight;
    if (shape.length < 3) return 'the weight before it is no kernel';
    const groups = intOf(node, 'group', 1);
    const kernel = swapChannels(reshaped(weight, oneTap(shape)), groups);
    const restore = (fused: Tensor) => reshaped(swapChannels(fused, groups), shape);
    return { ...ofImages(weight, bias), weight: kernel, groups, restore };
  },
  MatMul(_, weight) {
    const { shape } = weight;
    const isMatrix = shape.length >= 2 && shape.slice(0, -2).every((size) => size === 1);
    if (!isMatrix) return 'the weight before it is no matrix';
    const flat = reshaped(weight, shape.slice(-2));
    const restore = (fused: Tensor) => transposed(asMatrix(fused));
    return { ...OF_MATRIX, rank: undefined, weight: asKernel(transposed(flat)), stages: [], restore };
  },
  Gemm(node, weight, bias) {
    const isTurned = intOf(node, 'transB', 0) !== 0;
    const rows = isTurned ? weight : transposed(weight);
    const outputs = rows.shape[0]!;
    const alpha = floatOf(node, 'alpha', 1);
    const beta = floatOf(node, 'beta', 1);
    const stages: Stage[] =
      alpha === 1 ? [] : [{ kind: 'scale', scale: new Tensor('F64', [1], Float64Array.of(alpha)) }];
    if (bias !== null) {
      const isRow = bias.size === 1 || (bias.size === outputs && bias.shape.at(-1) === outputs);
      if (!isRow) return 'the bias before it is no vector of its outputs';
      const values = floatValues(bias);
      const scaled = Float64Array.from({ length: outputs }, (_, i) => beta * values[bias.size === 1 ? 0 : i]!);
      stages.push({ kind: 'bias', bias: new Tensor('F64', [outputs], scaled) });
    }
    const restore = (fused: Tensor) => (isTurned ? asMatrix(fused) : transposed(asMatrix(fused)));
    const takesInput = intOf(node, 'transA', 0) === 0;
    return { ...OF_MATRIX, rank: 2, weight: asKernel(rows), stages, takesInput, restore };
  },
};

const OF_MATRIX = { groups: 1, kernel: [1, 1], takesInput: true } as const;

function ofImages({ shape }: Tensor, bias: Tensor | null) {
  const [height, width = 1] = shape.slice(2) as [number, number?];
  const stages: Stage[] = bias === null ? [] : [{ kind: 'bias', bias }];
  return { kernel: [height, width] as const, rank: shape.length, takesInput: false, stages };
}

function oneTap([first, second, ...taps]: readonly number[]): readonly number[] {
  return [first!, second!, elementCount(taps), 1];
}

function asKernel(matrix: Tensor): Tensor {
  return reshaped(matrix, [...matrix.shape, 1, 1]);
}

function asMatrix(kernel: Tensor): Tensor {
  return reshaped(kernel, kernel.shape.slice(0, 2));
}

function reshaped({ dtype, data }: Tensor, shape: readonly number[]): Tensor {
  return new Tensor(dtype, shape, data);
}

/** A matrix with its rows as columns, of the same type. */
const SQUARE = 32;

function transposed({ dtype, shape, data }: Tensor): Tensor {
  const [rows, columns] = shape as [number, number];
  const out = new DTYPES[dtype].array(data.length);
  // By squares whose lines stay in the cache.
  for (let top = 0; top < rows; top += SQUARE) {
    const bottom = Math.min(top + SQUARE, rows);
    for (let left = 0; left < columns; left += SQUARE) {
      const right = Math.min(left + SQUARE, columns);
      for (let j = left; j < right; j++) for (let i = top; i < bottom; i++) out[j * rows + i] = data[i * columns + j]!;
    }
  }
  return new Tensor(dtype, [columns, rows], out);
}

/** [I, O / groups, h, w] to [O, I / groups, h, w], or the other way: group by group a transposition. */
function swapChannels({ dtype, shape, data: from }: Tensor, groups: number): Tensor {
  const [first, second, height, width] = shape as [number, number, number, number];
  const per = first / groups;
  const plane = height * width;
  const data = new DTYPES[dtype].array(from.length);
  for (let group = 0; group < groups; group++) {
    for (let i = 0; i < per; i++) {
      for (let o = 0; o < second; o++) {
        const source = ((group * per + i) * second + o) * plane;
        const target = ((group * second + o) * per + i) * plane;
        for (let tap = 0; tap < plane; tap++) data[target + tap] = from[source + tap]!;
      }
    }
  }
  return new Tensor(dtype, [second * groups, per, height, width], data);
}
