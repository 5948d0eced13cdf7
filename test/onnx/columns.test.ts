import { fromOnnx } from '../../lib/graph/from-onnx/from-onnx';
import { Tensor } from '../../lib/tensor/tensor';
import { model, node } from '../support/onnx-model';
import { refusalOf } from '../support/refusal';

const ints = (...values: number[]) => new Tensor('I64', [values.length], BigInt64Array.from(values, BigInt));

describe('a Col2Im that is none is refused', () => {
  test.each([
    ['a negative window', [-1, 1], {}, /window/],
    ['a window of nothing', [0, 2], {}, /window/],
    ['a window larger than a Float32Array', [2 ** 31, 2 ** 31], {}, /channels/],
    ['a step of 0', [2, 2], { strides: [0, 1] }, /window/],
    ['a negative dilation', [2, 2], { dilations: [1, -1] }, /window/],
    ['strides of a line', [2, 2], { strides: [1] }, /strides/],
    ['channels that are none of windows', [2, 3], {}, /channels/],
  ] as const)('%s', (_, block, attributes, reason) => {
    const given = model(
      [node('Col2Im', ['x', 'size', 'block'], ['y'], attributes)],
      { size: ints(5, 5), block: ints(...block) },
      { inputs: { x: [1, 8, 16] }, outputs: ['y'] },
    );
    const refusal = refusalOf(() => fromOnnx(given));
    expect(refusal.message).toMatch(reason);
  });
});
