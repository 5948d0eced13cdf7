import { fromOnnx } from '../../lib/graph/from-onnx/from-onnx';
import { affineStep } from '../../lib/onnx/affine';
import { analyse } from '../../lib/onnx/analysis';
import { readPads } from '../../lib/onnx/pads';
import { readConv, readConvTranspose, readPool, slidSizes } from '../../lib/onnx/windows';
import { toPadding4 } from '../../lib/ops/geometry';
import { openSize, substituted } from '../../lib/sizes/size';
import { Tensor } from '../../lib/tensor/tensor';
import { model, node } from '../support/onnx-model';

const conv = (attributes: Parameters<typeof node>[3]) => node('Conv', ['x', 'w'], ['y'], attributes);
const pool = (attributes: Parameters<typeof node>[3]) => node('AveragePool', ['x'], ['y'], attributes);

describe('auto_pad of a Conv 3x2', () => {
  const weight = [4, 4, 3, 2];
  test.each([
    ['SAME_UPPER, the odd column at the end', { auto_pad: 'SAME_UPPER' }, undefined, [1, 0, 1, 1]],
    ['SAME_LOWER, at the start', { auto_pad: 'SAME_LOWER' }, undefined, [1, 1, 1, 0]],
    ['SAME of a dilated kernel', { auto_pad: 'SAME_UPPER', dilations: [2, 3] }, undefined, [2, 1, 2, 2]],
    ['SAME of stride 2, an even size', { auto_pad: 'SAME_UPPER', strides: [2, 2] }, [8, 8], [0, 0, 1, 0]],
    ['SAME of stride 2, an odd size', { auto_pad: 'SAME_UPPER', strides: [2, 2] }, [9, 9], [1, 0, 1, 1]],
    ['a stride beyond the kernel needs none', { auto_pad: 'SAME_LOWER', strides: [4, 4] }, [9, 8], [1, 0, 1, 0]],
    ['VALID, whatever pads say', { auto_pad: 'VALID', pads: [1, 1, 1, 1] }, undefined, [0, 0, 0, 0]],
    ['NOTSET', { auto_pad: 'NOTSET', pads: [1, 2, 3, 4] }, undefined, [1, 2, 3, 4]],
    ['nothing', {}, undefined, [0, 0, 0, 0]],
  ] as const)('%s', (_, attributes, sizes, padding) => {
    expect(readConv(conv(attributes), weight, sizes)).toMatchObject({ padding });
  });

  test.each([
    ['a size that nothing tells', { auto_pad: 'SAME_UPPER', strides: [2, 1] }, undefined, /depends on sizes/],
    ['a word that is none', { auto_pad: 'SAME' }, undefined, /auto_pad is SAME$/],
    ['pads of a line', { pads: [1, 1] }, undefined, /pads are not those of images/],
    ['strides of a volume', { strides: [1, 1, 1] }, undefined, /strides are not those of images/],
  ] as const)('%s: the reason', (_, attributes, sizes, reason) => {
    expect(readConv(conv(attributes), weight, sizes)).toMatch(reason);
  });
});

test('pads of open sizes are expressions of them', () => {
  const open = readConv(
    conv({ auto_pad: 'SAME_UPPER', strides: [2, 1] }),
    [4, 4, 3, 3],
    [openSize('H'), openSize('W')],
  );
  if (typeof open === 'string') throw new Error(open);
  for (const height of [1, 2, 7, 8]) {
    const values = new Map([['H', height]]);
    const known = readConv(conv({ auto_pad: 'SAME_UPPER', strides: [2, 1] }), [4, 4, 3, 3], [height, 5]);
    const settled = open.padding.map((size) => substituted(size, values));
    expect(known).toMatchObject({ padding: settled });
  }
});

test('pools: kernel, rounding and counting', () => {
  expect(
    readPool(pool({ kernel_shape: [2, 3], strides: [2, 1], ceil_mode: 1, count_include_pad: 1 }), undefined),
  ).toEqual({
    kernel: [2, 3],
    stride: [2, 1],
    dilation: [1, 1],
    padding: [0, 0, 0, 0],
    ceilMode: true,
    countIncludePad: true,
  });
  expect(readPool(pool({ kernel_shape: [3] }), undefined)).toMatch(/not those of images/);
});

test('a transposed convolution pads so that its result has the size that is asked for', () => {
  const transposed = (attributes: Parameters<typeof node>[3]) =>
    readConvTranspose(node('ConvTranspose', ['x', 'w'], ['y'], attributes), [4, 4, 3, 3], [5, 5]);
  const strides = [2, 2];
  expect(transposed({ strides })).toMatchObject({ padding: [0, 0, 0, 0], outputPadding: [0, 0] });
  expect(transposed({ strides, auto_pad: 'SAME_UPPER' })).toMatchObject({ padding: [0, 0, 1, 1] }); // 11 to 10
  expect(transposed({ strides, auto_pad: 'SAME_LOWER' })).toMatchObject({ padding: [1, 1, 0, 0] });
  expect(transposed({ strides, output_shape: [9, 13] })).toMatchObject({
    padding: [1, 0, 1, 0],
    outputPadding: [0, 2],
  });
});

test('sizes after a window', () => {
  expect(slidSizes(conv({ strides: [2, 2], pads: [1, 1, 1, 1] }), [3, 3], [9, 8])).toEqual([5, 4]);
  expect(slidSizes(conv({ strides: [2, 3], auto_pad: 'SAME_LOWER' }), [3, 3], [9, 8])).toEqual([5, 3]);
  expect(slidSizes(conv({ dilations: [4] }), [3], [9])).toEqual([1]); // a line
  expect(slidSizes(pool({ ceil_mode: 1 }), [3, 3], [9, 8])).toBeUndefined();
});

test('pads: of all axes, of some, counted from the end', () => {
  const pads = (...numbers: (readonly number[] | undefined)[]) =>
    readPads(
      node('Pad', ['x', 'p', '', ...(numbers.length > 2 ? ['a'] : [])], ['y']),
      4,
      (index) => numbers[index - 1],
    );
  expect(pads([0, 1, 2, 3, 4, 5, 6, 7])).toEqual({ before: [0, 1, 2, 3], after: [4, 5, 6, 7] });
  expect(pads([1, -2, 3, 4], undefined, [-1, 2])).toEqual({ before: [0, 0, -2, 1], after: [0, 0, 4, 3] });
  expect(pads([1, 2], undefined, [4])).toMatch(/no axis 4/);
  expect(pads([1, 2, 3])).toMatch(/two for each axis/);
  expect(pads(undefined)).toMatch(/no constant/);
});

test('a graph and the fold read one node alike', () => {
  const attributes = [
    { auto_pad: 'SAME_LOWER', dilations: [1, 2] },
    { auto_pad: 'SAME_UPPER', strides: [2, 3] },
    { auto_pad: 'VALID', strides: [1, 2] },
    { pads: [0, 1, 2, 3], group: 2 },
  ];
  for (const each of attributes) {
    const groups = 'group' in each ? 2 : 1;
    const w = Tensor.f32([4, 4 / groups, 3, 2]);
    const given = model([conv(each)], { w }, { inputs: { x: [1, 4, 9, 11] }, outputs: ['y'] });
    const step = affineStep(given.proto.graph.node[0]!, analyse(given).known);
    const [read] = fromOnnx(given).graph.nodes;
    if (step?.kind !== 'stages' || read?.op !== 'conv2d') throw new Error('neither is a convolution');
    const { stride, dilation, padding } = read;
    expect(step.stages).toMatchObject([{ stride, dilation, groups, padding: toPadding4(padding) }]);
  }
});
