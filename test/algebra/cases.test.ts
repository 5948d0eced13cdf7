import {
  type AffineConv,
  addBranches,
  averagePool,
  composeSequential,
  conv,
  foldBatchNorm,
  identity,
  materialize,
} from '../../lib/algebra';
import { conv2d } from '../../lib/ops';
import { Tensor } from '../../lib/tensor/tensor';

/** One kernel [O, I, kh, kw] of the given values. */
const kernel = (shape: readonly number[], values: readonly number[]) => Tensor.f32(shape, values);
const one = (value: number, bias: number | null = null, options = {}) =>
  conv(kernel([1, 1, 1, 1], [value]), bias === null ? null : Tensor.f32([1], [bias]), options);
const ones3x3 = () => kernel([1, 1, 3, 3], Array(9).fill(1));

function batchNorm(gamma: number[] | null, beta: number[] | null, mean: number[], variance: number[], eps: number) {
  const vector = (values: number[]) => Tensor.f32([values.length], values);
  return {
    weight: gamma && vector(gamma),
    bias: beta && vector(beta),
    runningMean: vector(mean),
    runningVar: vector(variance),
    eps,
  };
}

function fused(description: AffineConv) {
  const { weight, bias } = materialize(description);
  return { weight: [...(weight.data as Float32Array)], bias: [...(bias.data as Float32Array)] };
}

function run(description: AffineConv, shape: readonly number[], values: readonly number[]): number[] {
  const { weight, bias } = materialize(description);
  const { stride, padding, dilation, groups } = description;
  return [
    ...(conv2d(Tensor.f32(shape, values), weight, bias, { stride, padding, dilation, groups }).data as Float32Array),
  ];
}

const centre = (value: number) => [0, 0, 0, 0, value, 0, 0, 0, 0];

test('R01 both forms agree on running statistics', () => {
  const dense = conv(kernel([1, 1, 3, 3], centre(1)), null, { padding: 1 });
  const block = addBranches([
    foldBatchNorm(dense, batchNorm([3], [1], [2], [4], 0)),
    foldBatchNorm(one(1), batchNorm([1], [0], [0], [1], 0)),
  ]);
  expect(fused(block)).toEqual({ weight: centre(2.5), bias: [-2] });
  expect(run(block, [1, 1, 4, 4], Array(16).fill(4))).toEqual(Array(16).fill(8));
});

test('R02 dilation is kept, and a 1x1 branch still lands on the centre tap', () => {
  const dilated = conv(kernel([1, 1, 3, 3], [1, 2, 3, 4, 5, 6, 7, 8, 9]), null, { padding: 2, dilation: 2 });
  const delta = Array.from({ length: 25 }, (_, i) => (i === 12 ? 1 : 0));
  const want = [
    [9, 0, 8, 0, 7],
    [0, 0, 0, 0, 0],
    [6, 0, 5, 0, 4],
    [0, 0, 0, 0, 0],
    [3, 0, 2, 0, 1],
  ].flat();
  expect(run(dilated, [1, 1, 5, 5], delta)).toEqual(want);
  const both = addBranches([dilated, one(10)]);
  expect(both).toMatchObject({ kernel: [3, 3], dilation: [2, 2], padding: [2, 2, 2, 2] });
  expect(fused(both).weight[4]).toBe(15);
  expect(run(both, [1, 1, 5, 5], delta)).toEqual(want.map((v, i) => (i === 12 ? 15 : v)));
});

test('R06 the identity branch is what its BatchNorm says', () => {
  const branch = foldBatchNorm(identity(2), batchNorm([2, -1], [0, 3], [1, 0], [4, 1], 0));
  expect(fused(branch)).toEqual({ weight: [1, 0, 0, -1], bias: [-1, 3] });
});

test('R09 the bias of the convolution takes part in the fold', () => {
  expect(fused(foldBatchNorm(one(2, 5), batchNorm([3], [1], [1], [4], 0)))).toEqual({ weight: [3], bias: [7] });
});

test('R11 a 1x1 with bias before a padded 3x3: exact only with the bias as border', () => {
  const second = conv(ones3x3(), null, { padding: 1 });
  const zeros = Array(9).fill(0);
  const exact = composeSequential(one(1, 1), second, { border: 'bias' });
  expect(run(exact, [1, 1, 3, 3], zeros)).toEqual(Array(9).fill(9));
  expect(() => composeSequential(one(1, 1), second)).toThrow(
    expect.objectContaining({ code: 'ERR_REPFUSE_INEXACT', message: expect.stringMatching(/zero padding.*border/) }),
  );
  const padded = conv2d(Tensor.f32([1, 1, 3, 3], Array(9).fill(1)), ones3x3(), null, { padding: 1 });
  expect([...(padded.data as Float32Array)]).toEqual([4, 6, 4, 6, 9, 6, 4, 6, 4]); // what the refusal saves from
});

test('R12 a 1x3 kernel is the middle row, a 3x1 kernel the middle column', () => {
  const square = conv(kernel([1, 1, 3, 3], Array(9).fill(0)), null, { padding: 1 });
  const row = conv(kernel([1, 1, 1, 3], [1, 2, 3]), null, { padding: [0, 1] });
  const column = conv(kernel([1, 1, 3, 1], [1, 2, 3]), null, { padding: [1, 0] });
  expect(fused(addBranches([square, row])).weight).toEqual([0, 0, 0, 1, 2, 3, 0, 0, 0]);
  expect(fused(addBranches([square, column])).weight).toEqual([0, 1, 0, 0, 2, 0, 0, 3, 0]);
});

test('R14 average pooling with padding that counts is a convolution, without it is not', () => {
  const pool = { channels: 1, kernel: 3, stride: 1, padding: 1 };
  const [corner, edge, middle] = [4 / 9, 2 / 3, 1].map(Math.fround) as [number, number, number];
  const got = run(averagePool(pool), [1, 1, 3, 3], Array(9).fill(1));
  [corner, edge, corner, edge, middle, edge, corner, edge, corner].forEach((want, i) => {
    expect(got[i]).toBeCloseTo(want, 6);
  });
  expect(() => averagePool({ ...pool, countIncludePad: false })).toThrow(
    expect.objectContaining({ code: 'ERR_REPFUSE_INEXACT' }),
  );
});

test('R15 transform III carries both biases', () => {
  const second = conv(ones3x3(), Tensor.f32([1], [1]));
  expect(fused(composeSequential(one(2, 3), second))).toEqual({ weight: Array(9).fill(2), bias: [28] });
});

test('R19 an absent bias is zeros, present in the result', () => {
  expect(fused(conv(kernel([2, 1, 1, 1], [1, 2]), null)).bias).toEqual([0, 0]);
});

test.each([
  [3, 4],
  [5, 12],
])('R23 a 1x1 kernel lands on the centre of %i', (size, index) => {
  const square = conv(kernel([1, 1, size, size], Array(size * size).fill(0)), null, { padding: (size - 1) / 2 });
  const { weight } = fused(addBranches([square, one(7)]));
  expect(weight).toEqual(weight.map((_, i) => (i === index ? 7 : 0)));
});

test.each([
  ['neither', null, null, 1, -0.5],
  ['only gamma', [3], null, 3, -1.5],
  ['only beta', null, [1], 1, 0.5],
])('R25 affine parameters that are absent are 1 and 0: %s', (_, gamma, beta, weight, bias) => {
  expect(fused(foldBatchNorm(one(2), batchNorm(gamma, beta, [1], [4], 0)))).toEqual({ weight: [weight], bias: [bias] });
});

test('R26 eps is a choice that shows', () => {
  const at = (eps: number) => fused(foldBatchNorm(one(1), batchNorm([1], [0], [0], [1e-4], eps))).weight[0];
  expect(at(1e-5)).toBeCloseTo(95.346, 3);
  expect(at(1e-3)).toBeCloseTo(30.151, 3);
});

test('R27 eps stands under the root, once', () => {
  const { weight } = fused(foldBatchNorm(one(1), batchNorm([1], [0], [0], [0], 1e-5)));
  expect(weight[0]).toBeCloseTo(316.2278, 4);
});

test('R35 a negative gamma keeps its sign, zero gives a zero kernel and beta', () => {
  expect(fused(foldBatchNorm(one(2), batchNorm([-3], [4], [1], [1], 0)))).toEqual({ weight: [-6], bias: [7] });
  expect(fused(foldBatchNorm(one(2), batchNorm([0], [4], [1], [1], 0)))).toEqual({ weight: [0], bias: [4] });
});
