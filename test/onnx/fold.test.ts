import { foldGraph } from '../../lib/onnx/fold/fold';
import type { OnnxModel } from '../../lib/onnx/model';
import type { Node } from '../../lib/onnx/schema/onnx_pb';
import { tensorOf } from '../../lib/onnx/values';
import { toFloat64 } from '../../lib/tensor/half';
import { Tensor } from '../../lib/tensor/tensor';
import { peakError } from '../support/compare';
import { model, node } from '../support/onnx-model';
import { Random } from '../support/random';
import { referenceOnnx } from '../support/reference-onnx';

const random = new Random(5);
const tensor = (...shape: number[]) => Tensor.f32(shape, random.floats(shape.reduce((a, b) => a * b, 1)));
const positive = (size: number) =>
  Tensor.f32(
    [size],
    random.floats(size).map((v) => Math.abs(v) + 0.5),
  );
const ints = (...values: number[]) => new Tensor('I64', [values.length], BigInt64Array.from(values, BigInt));
const IMAGE = { x: [1, 4, 9, 8] } as const;
const image = { shape: IMAGE.x, data: random.floats(4 * 9 * 8) };
const SAME = { pads: [1, 1, 1, 1], kernel_shape: [3, 3] };

function batchNorm(prefix: string, channels: number): Record<string, Tensor> {
  return {
    [`${prefix}.s`]: tensor(channels),
    [`${prefix}.b`]: tensor(channels),
    [`${prefix}.m`]: tensor(channels),
    [`${prefix}.v`]: positive(channels),
  };
}
const bn = (prefix: string, from: string, to: string, attributes = {}) =>
  node('BatchNormalization', [from, `${prefix}.s`, `${prefix}.b`, `${prefix}.m`, `${prefix}.v`], [to], attributes);

const operators = ({ proto }: OnnxModel) => proto.graph.node.map(({ opType }) => opType);

/** Folds; every output is what it was. */
async function fold(given: OnnxModel, options = {}, input: Parameters<typeof referenceOnnx>[1] = { x: image }) {
  const before = structuredOutputs(given, input);
  const result = await foldGraph(given, options);
  const after = structuredOutputs(result.model, input);
  for (const [name, want] of before) {
    expect(after.get(name)!.shape).toEqual(want.shape);
    expect(peakError(Float64Array.from(after.get(name)!.data), Float64Array.from(want.data))).toBeLessThan(1e-6);
  }
  return result;
}

function structuredOutputs({ proto }: OnnxModel, input: Parameters<typeof referenceOnnx>[1]) {
  const values = referenceOnnx(proto.graph, input);
  return new Map(proto.graph.output.map(({ name }) => [name, values.get(name)!]));
}

describe('what becomes one Conv', () => {
  const weights = {
    w3: tensor(4, 4, 3, 3),
    w1: tensor(4, 4, 1, 1),
    w13: tensor(4, 4, 1, 3),
    b: tensor(4),
    c: Tensor.f32([4, 1, 1], [1, 2, 3, 4]),
    one: Tensor.f32([], [0.5]),
    ...batchNorm('p', 4),
    ...batchNorm('q', 4),
    ...batchNorm('r', 4),
  };
  const cases: Record<string, Node[]> = {
    'conv, batch norm': [node('Conv', ['x', 'w3', 'b'], ['a'], SAME), bn('p', 'a', 'y')],
    'three branches of a RepVGG block, nested': [
      node('Conv', ['x', 'w3'], ['a'], SAME),
      bn('p', 'a', 'd'),
      node('Conv', ['x', 'w1'], ['e']),
      bn('q', 'e', 'f'),
      bn('r', 'x', 'g'),
      node('Add', ['d', 'f'], ['h']),
      node('Add', ['g', 'h'], ['y']),
    ],
    'a Sum of an asymmetric kernel, an average pooling and the value itself': [
      node('Conv', ['x', 'w3'], ['a'], SAME),
      node('Conv', ['x', 'w13'], ['c1'], { pads: [0, 1, 0, 1] }),
      node('AveragePool', ['x'], ['p1'], { ...SAME, count_include_pad: 1 }),
      node('Sum', ['a', 'c1', 'p1', 'x'], ['y']),
    ],
    'constants for each channel': [
      node('Conv', ['x', 'w3'], ['a'], SAME),
      node('Mul', ['c', 'a'], ['d']),
      node('Sub', ['one', 'd'], ['e']),
      node('Div', ['e', 'c'], ['f']),
      node('Add', ['f', 'one'], ['y']),
    ],
    'a difference written as the sum with what is turned to negative': [
      node('Conv', ['x', 'w3'], ['a'], SAME),
      bn('p', 'x', 'd'),
      node('Neg', ['d'], ['e']),
      node('Add', ['a', 'e'], ['f']),
      node('Neg', ['f'], ['y']),
    ],
    'Identity, Dropout, zero padding': [
      node('Pad', ['x', 'pads'], ['a']),
      node('Identity', ['a'], ['d']),
      node('Conv', ['d', 'w3'], ['e'], { kernel_shape: [3, 3] }),
      node('Dropout', ['e'], ['f']),
      bn('p', 'f', 'y'),
    ],
    'a batch norm before a convolution without padding': [bn('p', 'x', 'a'), node('Conv', ['a', 'w3'], ['y'])],
    'branches joined along channels': [
      node('Conv', ['x', 'w3'], ['a'], SAME),
      node('Conv', ['x', 'w1'], ['d']),
      bn('p', 'd', 'e'),
      node('Concat', ['a', 'e'], ['y'], { axis: 1 }),
    ],
    'SAME padding of a dilated kernel (G09)': [
      node('Conv', ['x', 'w3'], ['a'], { auto_pad: 'SAME_UPPER', dilations: [2, 2] }),
      bn('p', 'a', 'y'),
    ],
  };
  test.each(Object.entries(cases))('%s', async (_, nodes) => {
    const given = model(nodes, { ...weights, pads: ints(0, 0, 1, 1, 0, 0, 1, 1) }, { inputs: IMAGE, outputs: ['y'] });
    const { model: folded, report } = await fold(given, { grow: true });
    expect(operators(folded)).toEqual(['Conv']);
    expect(report.folded).toHaveLength(1);
    expect(report.folded[0]!.output).toBe('y');
    expect(folded.proto.graph.initializer).toHaveLength(2); // nothing is left that nobody reads
  });

  test('terms of one value in a sum with others, wherever they stand', async () => {
    const given = model(
      [
        node('Conv', ['x', 'w3'], ['a'], SAME),
        node('Relu', ['x'], ['r']),
        node('Add', ['a', 'r'], ['d']),
        node('Conv', ['x', 'w1'], ['e']),
        bn('p', 'e', 'f'),
        node('Add', ['d', 'f'], ['g']),
        node('Sum', ['g', 'x', 'r'], ['y']),
      ],
      weights,
      { inputs: IMAGE, outputs: ['y'] },
    );
    const { model: folded, report } = await fold(given);
    expect(operators(folded).sort()).toEqual(['Add', 'Add', 'Conv', 'Relu']);
    expect(report.folded[0]!.from).toHaveLength(4); // two convolutions, a batch norm, their sum
  });

  test('BatchNormalization after ConvTranspose, in groups, and after Gemm', async () => {
    const tensors = {
      w: tensor(4, 3, 2, 2),
      g: tensor(5, 6),
      gb: tensor(5),
      ...batchNorm('p', 6),
      ...batchNorm('q', 5),
    };
    const given = model(
      [
        node('ConvTranspose', ['x', 'w'], ['a'], { group: 2, strides: [2, 2] }),
        bn('p', 'a', 'y'),
        node('GlobalAveragePool', ['y'], ['m']),
        node('Flatten', ['m'], ['f']),
        node('Gemm', ['f', 'g', 'gb'], ['h'], { transB: 1 }),
        bn('q', 'h', 'z'),
      ],
      tensors,
      { inputs: IMAGE, outputs: ['y', 'z'] },
    );
    const { model: folded } = await fold(given);
    expect(operators(folded)).toEqual(['ConvTranspose', 'GlobalAveragePool', 'Flatten', 'Gemm']);
  });
});

test('BatchNormalization behind a concatenation of convolutions of unlike sources: each takes its own channels', async () => {
  const tensors = { w3: tensor(5, 4, 3, 3), w1: tensor(2, 4, 1, 1), ...batchNorm('p', 7) };
  const nodes = (second: string) => [
    node('Relu', ['x'], ['r']),
    node('Conv', ['r', 'w3'], ['a'], SAME),
    node('Conv', ['x', 'w1'], ['b']),
    node('Concat', ['a', second], ['c'], { axis: 1 }),
    bn('p', 'c', 'y'),
    node('Relu', ['b'], ['z']),
  ];
  const apart = model(nodes('b').slice(0, 5), tensors, { inputs: IMAGE, outputs: ['y'] });
  const { model: folded, report } = await fold(apart);
  expect(operators(folded)).toEqual(['Relu', 'Conv', 'Conv', 'Concat']);
  expect(report.folded.map(({ from }) => from.length)).toEqual([2, 2]);
  const shared = model(nodes('b'), tensors, { inputs: IMAGE, outputs: ['y', 'z'] });
  expect((await foldGraph(shared)).model).toBe(shared);
});

describe('BatchNormalization behind what keeps channels apart becomes part of the products before it', () => {
  const weights = {
    w3: tensor(6, 4, 3, 3),
    w1: tensor(2, 4, 1, 1),
    w8: tensor(8, 4, 1, 1),
    t: tensor(4, 2, 1, 1),
    c: tensor(1, 8, 1, 1),
    ...batchNorm('o', 10),
    ...batchNorm('p', 8),
    ...batchNorm('q', 6),
    ...batchNorm('r', 2),
    up: positive(6),
    pads: ints(0, 0, 1, 2, 0, 0, 0, 1),
    one: ints(1),
    two: ints(2),
    four: ints(4),
    far: ints(7),
    parts: ints(2, 4),
    scales: Tensor.f32([4], [1, 1, 2, 2]),
    turned: ints(1, 2, 3, 9, 8),
    back: ints(1, 6, 9, 8),
  };
  const relu = node('Relu', ['x'], ['r']);
  const conv = (to: string) => node('Conv', ['r', 'w3'], [to], SAME);
  const small = (to: string, from = 'x', weight = 'w1') => node('Conv', [from, weight], [to]);
  const cases: Record<string, readonly [nodes: Node[], operators: readonly string[], outputs?: string[]]> = {
    'a concatenation of concatenations, one of them of a transposed convolution': [
      [
        relu,
        conv('a'),
        small('b'),
        node('Concat', ['a', 'b'], ['c1'], { axis: 1 }),
        node('ConvTranspose', ['x', 't'], ['d']),
        node('Concat', ['d', 'c1'], ['e'], { axis: -3 }),
        bn('o', 'e', 'y'),
      ],
      ['Relu', 'Conv', 'Conv', 'Concat', 'ConvTranspose', 'Concat'],
    ],
    'a concatenation of parts with norms and arithmetic of their own': [
      [
        relu,
        conv('a'),
        bn('q', 'a', 'a2'),
        small('b'),
        node('Concat', ['a2', 'b'], ['c1'], { axis: 1 }),
        node('Mul', ['c1', 'c'], ['d']),
        bn('p', 'd', 'y'),
      ],
      ['Relu', 'Conv', 'Conv', 'Concat'],
    ],
    'one part of a concatenation keeps its own': [
      [relu, conv('a'), node('Concat', ['r', 'a'], ['c1'], { axis: 1 }), bn('o', 'c1', 'y')],
      ['Relu', 'Conv', 'BatchNormalization', 'Concat'],
    ],
    'sums and differences of unlike sources': [
      [
        relu,
        small('a'),
        small('b', 'r'),
        node('ConvTranspose', ['x', 't'], ['d']),
        node('Sub', ['a', 'b'], ['e']),
        node('Add', ['e', 'd'], ['f']),
        bn('r', 'f', 'y'),
      ],
      ['Relu', 'Conv', 'Conv', 'ConvTranspose', 'Sub', 'Add'],
    ],
    'poolings, a cast, a crop': [
      [
        relu,
        conv('a'),
        node('Cast', ['a'], ['b'], { to: 1 }),
        node('AveragePool', ['b'], ['d'], { ...SAME, strides: [2, 2] }),
        node('Slice', ['d', 'one', 'four', 'two'], ['e']),
        node('GlobalAveragePool', ['e'], ['f']),
        bn('q', 'f', 'y'),
      ],
      ['Relu', 'Conv', 'Cast', 'AveragePool', 'Slice', 'GlobalAveragePool'],
    ],
    'padding that counts: what is added stays': [
      [relu, conv('a'), node('AveragePool', ['a'], ['d'], { ...SAME, count_include_pad: 1 }), bn('q', 'd', 'y')],
      ['Relu', 'Conv', 'AveragePool', 'Add'],
    ],
    'a frame of zeros: what is added stays': [
      [relu, conv('a'), node('Pad', ['a', 'pads'], ['d']), bn('q', 'd', 'y')],
      ['Relu', 'Conv', 'Pad', 'Add'],
    ],
    'a frame of what is there': [
      [relu, conv('a'), node('Pad', ['a', 'pads'], ['d'], { mode: 'edge' }), bn('q', 'd', 'y')],
      ['Relu', 'Conv', 'Pad'],
    ],
    'the largest of each window, where no channel is turned': [
      [
        relu,
        conv('a'),
        node('MaxPool', ['a'], ['d'], SAME),
        node('BatchNormalization', ['d', 'up', 'q.b', 'q.m', 'q.v'], ['y']),
      ],
      ['Relu', 'Conv', 'MaxPool'],
    ],
    'the largest of each window, where channels are turned': [
      [relu, conv('a'), node('MaxPool', ['a'], ['d'], SAME), bn('q', 'd', 'y')],
      ['Relu', 'Conv', 'MaxPool', 'BatchNormalization'],
    ],
    'some of the channels': [
      [relu, node('Conv', ['r', 'w8'], ['a']), node('Slice', ['a', 'one', 'far', 'one'], ['d']), bn('q', 'd', 'y')],
      ['Relu', 'Conv', 'Slice'],
    ],
    'parts of the channels, each with a norm, or none': [
      [relu, conv('a'), node('Split', ['a', 'parts'], ['d', 'z'], { axis: 1 }), bn('r', 'd', 'y')],
      ['Relu', 'Conv', 'Split'],
      ['y', 'z'],
    ],
    'enlarged, turned to negative': [
      [
        relu,
        conv('a'),
        node('Resize', ['a', '', 'scales'], ['d'], {
          mode: 'nearest',
          coordinate_transformation_mode: 'asymmetric',
          nearest_mode: 'floor',
        }),
        node('Neg', ['d'], ['e']),
        bn('q', 'e', 'y'),
      ],
      ['Relu', 'Conv', 'Resize', 'Neg'],
    ],
    'depth to space, by rows': [
      [relu, node('Conv', ['r', 'w8'], ['a']), node('DepthToSpace', ['a'], ['d'], { blocksize: 2 }), bn('r', 'd', 'y')],
      ['Relu', 'Conv', 'DepthToSpace'],
    ],
    'depth to space, by columns': [
      [
        relu,
        node('Conv', ['r', 'w8'], ['a']),
        node('DepthToSpace', ['a'], ['d'], { blocksize: 2, mode: 'CRD' }),
        bn('r', 'd', 'y'),
      ],
      ['Relu', 'Conv', 'DepthToSpace'],
    ],
    'shuffled channels': [
      [
        relu,
        conv('a'),
        node('Reshape', ['a', 'turned'], ['d']),
        node('Transpose', ['d'], ['e'], { perm: [0, 2, 1, 3, 4] }),
        node('Reshape', ['e', 'back'], ['f']),
        bn('q', 'f', 'y'),
      ],
      ['Relu', 'Conv', 'Reshape', 'Transpose', 'Reshape'],
    ],
  };
  test.each(Object.entries(cases))('%s', async (_, [nodes, wanted, outputs = ['y']]) => {
    const { model: folded } = await fold(model(nodes, weights, { inputs: IMAGE, outputs }));
    expect(operators(folded).sort()).toEqual([...wanted].sort());
    expect(folded.proto.graph.initializer.map(({ dataType }) => dataType)).not.toContain(11);
  });
});

test('BatchNormalization after MatMul, with and without a bias between: they become Gemm', async () => {
  const tensors = { w: tensor(4, 5), c: tensor(5), v: tensor(5, 3), ...batchNorm('p', 5), ...batchNorm('q', 3) };
  const given = model(
    [
      node('GlobalAveragePool', ['x'], ['m']),
      node('Flatten', ['m'], ['f']),
      node('MatMul', ['f', 'w'], ['a']),
      node('Add', ['c', 'a'], ['b']),
      bn('p', 'b', 'h'),
      node('Relu', ['h'], ['r']),
      node('MatMul', ['r', 'v'], ['d']),
      bn('q', 'd', 'y'),
    ],
    tensors,
    { inputs: IMAGE, outputs: ['y'] },
  );
  const { model: folded, report } = await fold(given);
  expect(operators(folded)).toEqual(['GlobalAveragePool', 'Flatten', 'Gemm', 'Relu', 'Gemm']);
  expect(report.folded.map(({ from }) => from.length)).toEqual([3, 2]);
});

test('BatchNormalization after a product of stacks of matrices stays: its channels are another axis', async () => {
  const tensors = { shape: ints(1, 4, 72), w: tensor(72, 4), ...batchNorm('p', 4) };
  const given = model(
    [node('Reshape', ['x', 'shape'], ['r']), node('MatMul', ['r', 'w'], ['a']), bn('p', 'a', 'y')],
    tensors,
    { inputs: IMAGE, outputs: ['y'] },
  );
  const { model: same, report } = await foldGraph(given);
  expect(same).toBe(given);
  expect(report.kept[0]!.reason).toMatch(/normalises another axis than that of features/);
});

describe('BatchNormalization of features becomes part of a matrix', () => {
  const weights = {
    w: tensor(4, 5),
    v: tensor(5, 3),
    wide: tensor(288, 5),
    up: tensor(5, 24),
    half: Tensor.f32([], [0.5]),
    row: tensor(5),
    ...batchNorm('p', 4),
    ...batchNorm('q', 5),
    ...batchNorm('r', 3),
    ...batchNorm('s', 6),
    flat: ints(-1, 5),
    back: ints(1, 72, 5),
    tokens: ints(1, 4, 72),
    images: ints(-1, 6, 2, 2),
  };
  const rows = [node('Reshape', ['x', 'tokens'], ['t']), node('Transpose', ['t'], ['u'], { perm: [0, 2, 1] })];
  const cases: Record<string, readonly [nodes: Node[], operators: readonly string[]]> = {
    'before and behind Gemm, with Dropout between': [
      [
        node('GlobalAveragePool', ['x'], ['m']),
        node('Flatten', ['m'], ['f']),
        bn('p', 'f', 'g'),
        node('Dropout', ['g'], ['d']),
        node('Gemm', ['d', 'w'], ['h']),
        bn('q', 'h', 'y'),
      ],
      ['GlobalAveragePool', 'Flatten', 'Gemm'],
    ],
    'of images, before their Flatten and a MatMul': [
      [
        node('Relu', ['x'], ['a']),
        bn('p', 'a', 'b'),
        node('Flatten', ['b'], ['f']),
        node('MatMul', ['f', 'wide'], ['y']),
      ],
      ['Relu', 'Flatten', 'Gemm'],
    ],
    'arithmetic before Gemm whose constant comes first': [
      [
        node('GlobalAveragePool', ['x'], ['m']),
        node('Flatten', ['m'], ['f']),
        node('Tanh', ['f'], ['t']),
        node('Mul', ['half', 't'], ['g']),
        node('Gemm', ['g', 'w'], ['h']),
        bn('q', 'h', 'y'),
      ],
      ['GlobalAveragePool', 'Flatten', 'Tanh', 'Gemm'],
    ],
    'of images, which a Reshape makes of a Gemm': [
      [
        node('Flatten', ['x'], ['f']),
        node('Gemm', ['f', 'wide'], ['g']),
        node('Relu', ['g'], ['h']),
        node('Gemm', ['h', 'up'], ['i']),
        node('Reshape', ['i', 'images'], ['j']),
        bn('s', 'j', 'y'),
      ],
      ['Flatten', 'Gemm', 'Relu', 'Gemm', 'Reshape'],
    ],
    'of rows, behind a MatMul of stacks and Reshape': [
      [
        ...rows,
        node('MatMul', ['u', 'w'], ['a']),
        node('Reshape', ['a', 'flat'], ['b']),
        bn('q', 'b', 'c'),
        node('Reshape', ['c', 'back'], ['y']),
      ],
      ['Reshape', 'Transpose', 'MatMul', 'Add', 'Reshape', 'Reshape'],
    ],
    'of [N, C, L], behind a MatMul of stacks, Add and Transpose': [
      [
        ...rows,
        node('MatMul', ['u', 'w'], ['a']),
        node('Add', ['row', 'a'], ['b']),
        node('Transpose', ['b'], ['c'], { perm: [0, 2, 1] }),
        bn('q', 'c', 'd'),
        node('Mul', ['d', 'half'], ['y']),
      ],
      ['Reshape', 'Transpose', 'MatMul', 'Add', 'Transpose'],
    ],
  };
  test.each(Object.entries(cases))('%s', async (_, [nodes, wanted]) => {
    const { model: folded, report } = await fold(model(nodes, weights, { inputs: IMAGE, outputs: ['y'] }));
    expect(operators(folded)).toEqual(wanted);
    expect(report.kept).toEqual([]);
  });
});

describe('sizes that a model leaves open tell where features lie', () => {
  const weights = {
    w: tensor(4, 6),
    row: tensor(6),
    w1: tensor(4, 4, 1, 1),
    all: ints(-1),
    first: ints(0),
    second: ints(2),
    one: ints(1),
    axes: ints(2, 3),
    ...batchNorm('p', 4),
    ...batchNorm('q', 6),
  };
  const rows = [
    node('Shape', ['x'], ['shape']),
    node('Slice', ['shape', 'first', 'second', 'first', 'one'], ['ends']),
    node('Concat', ['ends', 'all'], ['tokens'], { axis: 0 }),
  ];
  const excited = [
    node('ReduceMean', ['x', 'axes'], ['m']),
    node('Conv', ['m', 'w1'], ['e']),
    node('Sigmoid', ['e'], ['s']),
    node('Mul', ['x', 's'], ['a']),
  ];
  const cases: Record<string, readonly [nodes: Node[], operators: readonly string[]]> = {
    'rows of all pixels, before and behind a matrix': [
      [
        ...excited,
        bn('p', 'a', 'b'),
        ...rows,
        node('Reshape', ['b', 'tokens'], ['t']),
        node('Transpose', ['t'], ['u'], { perm: [0, 2, 1] }),
        node('MatMul', ['u', 'w'], ['c']),
        node('Add', ['row', 'c'], ['d']),
        node('Transpose', ['d'], ['f'], { perm: [0, 2, 1] }),
        bn('q', 'f', 'y'),
      ],
      [
        ...['ReduceMean', 'Conv', 'Sigmoid', 'Mul', 'Shape', 'Slice', 'Concat'],
        ...['Reshape', 'Transpose', 'MatMul', 'Add', 'Transpose'],
      ],
    ],
    'an average pooling between, where others read what it averages': [
      [
        ...excited,
        bn('p', 'a', 'b'),
        node('AveragePool', ['b'], ['c'], { kernel_shape: [2, 2], strides: [2, 2] }),
        node('Conv', ['c', 'w1'], ['d']),
        node('AveragePool', ['a'], ['f'], { kernel_shape: [2, 2], strides: [2, 2] }),
        node('Add', ['d', 'f'], ['y']),
      ],
      ['ReduceMean', 'Conv', 'Sigmoid', 'Mul', 'AveragePool', 'Conv', 'AveragePool', 'Add'],
    ],
  };
  test.each(Object.entries(cases))('%s', async (_, [nodes, wanted]) => {
    const given = model(nodes, weights, { inputs: { x: [null, 4, null, null] }, outputs: ['y'] });
    const { model: folded } = await fold(given);
    expect(operators(folded).toSorted()).toEqual([...wanted].sort());
  });

  test('a frame counts: a BatchNormalization before padded pooling stays', async () => {
    const nodes = [
      ...excited,
      bn('p', 'a', 'b'),
      node('AveragePool', ['b'], ['c'], { ...SAME, count_include_pad: 1 }),
      node('Conv', ['c', 'w1'], ['y']),
    ];
    const given = model(nodes, weights, { inputs: { x: [null, 4, null, null] }, outputs: ['y'] });
    expect(operators((await fold(given)).model)).toContain('BatchNormalization');
  });
});

test('half types are folded in float64 and stay what they are', async () => {
  const half = (given: Tensor) =>
    new Tensor(
      'BF16',
      given.shape,
      Uint16Array.from(new Uint32Array((given.data as Float32Array).buffer), (bits) => bits >>> 16),
    );
  const float = { w: tensor(4, 4, 3, 3), ...batchNorm('p', 4) };
  const tensors = Object.fromEntries(Object.entries(float).map(([name, each]) => [name, half(each)]));
  const nodes = [node('Conv', ['x', 'w'], ['a'], SAME), bn('p', 'a', 'y')];
  const given = model(nodes, tensors, { inputs: IMAGE, outputs: ['y'] });
  given.proto.graph.input[0]!.type!.tensorType!.elemType = 16;
  const { model: folded } = await foldGraph(given);
  expect(operators(folded)).toEqual(['Conv']);
  const [weight, bias] = folded.proto.graph.initializer.map((each) => tensorOf(each)!);
  expect([weight!.dtype, bias!.dtype]).toEqual(['BF16', 'BF16']);
  const [w, scale, shift, mean, variance] = ['w', 'p.s', 'p.b', 'p.m', 'p.v'].map((name) => toFloat64(tensors[name]!));
  const factors = Array.from(scale!, (value, c) => value / Math.sqrt(variance![c]! + Math.fround(1e-5)));
  const wanted = [
    ...Array.from(w!, (value, i) => value * factors[Math.floor(i / 36)]!),
    ...factors.map((factor, c) => shift![c]! - mean![c]! * factor),
  ];
  for (const [i, got] of [...toFloat64(weight!), ...toFloat64(bias!)].entries())
    expect(Math.abs(got - wanted[i]!)).toBeLessThanOrEqual(Math.abs(wanted[i]!) * 2 ** -8);
});

test('float64 models are folded to float64: three convolutions beside each other, and a matrix', async () => {
  const wide = ({ shape, data }: Tensor) =>
    new Tensor(
      'F64',
      shape,
      Float64Array.from(data as Float32Array, (value) => value + value * 2 ** -30),
    );
  const float = {
    w: tensor(4, 4, 3, 3),
    v: tensor(4, 4, 1, 1),
    g: tensor(5, 4),
    ...batchNorm('p', 4),
    ...batchNorm('q', 4),
    ...batchNorm('r', 4),
    ...batchNorm('s', 5),
  };
  const tensors = Object.fromEntries(Object.entries(float).map(([name, each]) => [name, wide(each)]));
  const EXACT = { epsilon: 2 ** -16 }; // an attribute is float32
  const nodes = [
    node('Conv', ['x', 'w'], ['a'], SAME),
    bn('p', 'a', 'b', EXACT),
    node('Conv', ['x', 'v'], ['c']),
    bn('q', 'c', 'd', EXACT),
    bn('r', 'x', 'e', EXACT),
    node('Sum', ['b', 'd', 'e'], ['f']),
    node('GlobalAveragePool', ['f'], ['h']),
    node('Flatten', ['h'], ['i']),
    node('Gemm', ['i', 'g'], ['j'], { transB: 1 }),
    bn('s', 'j', 'y', EXACT),
  ];
  const given = model(nodes, tensors, { inputs: IMAGE, outputs: ['y'] });
  given.proto.graph.input[0]!.type!.tensorType!.elemType = 11;
  const { model: folded } = await foldGraph(given);
  expect(operators(folded)).toEqual(['Conv', 'GlobalAveragePool', 'Flatten', 'Gemm']);
  expect(folded.proto.graph.initializer.map(({ dataType }) => dataType)).toEqual([11, 11, 11, 11]);
  const [want, got] = [given, folded].map((each) => structuredOutputs(each, { x: image }).get('y')!.data);
  expect(peakError(Float64Array.from(got!), Float64Array.from(want!))).toBeLessThan(1e-13);
});

test('weights that nodes compute of constants are computed, whether a BatchNormalization follows or not', async () => {
  const tensors = {
    w: tensor(3, 3, 4, 6),
    m: tensor(6, 1, 1, 1),
    g: tensor(6, 6),
    one: Tensor.f32([], [0.5]),
    large: ints(6, 6),
    ...batchNorm('p', 6),
  };
  const nodes = [
    node('Transpose', ['w'], ['t'], { perm: [3, 2, 0, 1] }),
    node('Mul', ['t', 'm'], ['u']),
    node('Conv', ['x', 'u'], ['a'], SAME),
    node('Relu', ['a'], ['b']),
    node('Conv', ['x', 'u'], ['c'], SAME),
    bn('p', 'c', 'd'),
    node('Add', ['b', 'd'], ['y']),
    node('GlobalAveragePool', ['y'], ['e']),
    node('Flatten', ['e'], ['f']),
    node('Expand', ['one', 'large'], ['h']),
    node('Gemm', ['f', 'h'], ['z']),
  ];
  const given = model(nodes, tensors, { inputs: IMAGE, outputs: ['y', 'z'] });
  const { model: folded, report } = await fold(given);
  // A weight larger than what it is computed of stays computed.
  const left = ['Conv', 'Relu', 'Conv', 'Add', 'GlobalAveragePool', 'Flatten', 'Expand', 'Gemm'];
  expect(operators(folded)).toEqual(left);
  expect(report.folded.map(({ from }) => from.length).sort()).toEqual([2, 3]);
});

describe('arithmetic that runtimes know as part of one operator stays beside it', () => {
  const weights = {
    w: tensor(4, 4, 1, 1),
    root: Tensor.f32([], [Math.SQRT2]),
    one: Tensor.f32([], [1]),
    half: Tensor.f32([], [0.5]),
  };
  const cases: Record<string, readonly Node[]> = {
    'the last factor of a GELU': [
      node('Div', ['a', 'root'], ['b']),
      node('Erf', ['b'], ['c']),
      node('Add', ['c', 'one'], ['d']),
      node('Mul', ['a', 'd'], ['e']),
      node('Mul', ['e', 'half'], ['f']),
    ],
    'scale and shift of a layer normalization': [
      node('ReduceMean', ['a'], ['m'], { axes: [1] }),
      node('Sub', ['a', 'm'], ['s']),
      node('Mul', ['s', 's'], ['q']),
      node('ReduceMean', ['q'], ['v'], { axes: [1] }),
      node('Sqrt', ['v'], ['r']),
      node('Div', ['s', 'r'], ['n']),
      node('Mul', ['n', 'half'], ['o']),
      node('Add', ['o', 'half'], ['f']),
    ],
  };
  test.each(Object.entries(cases))('%s', async (_, nodes) => {
    const given = model([node('Relu', ['x'], ['a']), ...nodes, node('Conv', ['f', 'w'], ['y'])], weights, {
      inputs: IMAGE,
      outputs: ['y'],
    });
    expect((await foldGraph(given)).model).toBe(given);
  });
});

describe('what stays, and why', () => {
  const weights = { w3: tensor(4, 4, 3, 3), w1: tensor(4, 4, 1, 1), ...batchNorm('p', 4) };
  const cases: Record<string, [Node[], RegExp | null, string[]?]> = {
    'a value that two nodes read (G04)': [
      [node('Conv', ['x', 'w3'], ['a'], SAME), bn('p', 'a', 'y'), node('Relu', ['a'], ['z'])],
      /others read the value before it/,
      ['y', 'z'],
    ],
    'a batch norm behind what is not affine': [
      [node('Relu', ['x'], ['a']), bn('p', 'a', 'y')],
      /a Relu stands before it/,
    ],
    'a value that is an output': [[node('Conv', ['x', 'w3'], ['a'], SAME), bn('p', 'a', 'y')], null, ['y', 'a']],
    'reflected padding (G11)': [
      [node('Pad', ['x', 'pads'], ['a'], { mode: 'reflect' }), node('Conv', ['a', 'w3'], ['y'])],
      /pads by reflect/,
    ],
    'an average pooling whose padding does not count': [
      [node('AveragePool', ['x'], ['a'], SAME), node('Conv', ['a', 'w1'], ['y'])],
      /count_include_pad 0/,
    ],
    'an average pooling that may hang over the edge': [
      [node('AveragePool', ['x'], ['a'], { kernel_shape: [2, 2], ceil_mode: 1 }), node('Conv', ['a', 'w1'], ['y'])],
      /ceil_mode/,
    ],
    'a constant that differs from pixel to pixel (G08)': [
      [node('Conv', ['x', 'w3'], ['a'], SAME), node('Add', ['a', 'plane'], ['y'])],
      /pixel to pixel/,
    ],
    'a batch norm before a padded convolution': [
      [bn('p', 'x', 'a'), node('Conv', ['a', 'w3'], ['y'], SAME)],
      /border|padding/i,
    ],
    'a 1x1 before a dense 3x3 that it would make larger': [
      [node('Conv', ['x', 'narrow'], ['a']), node('Conv', ['a', 'wide'], ['y'])],
      /cost more/,
    ],
    'a batch norm in training mode': [
      [node('Conv', ['x', 'w3'], ['a'], SAME), bn('p', 'a', 'y', { training_mode: 1 })],
      /batch statistics/,
    ],
  };
  test.each(Object.entries(cases))('%s', async (_, [nodes, reason, outputs = ['y']]) => {
    const tensors = {
      ...weights,
      pads: ints(0, 0, 1, 1, 0, 0, 1, 1),
      plane: tensor(9, 8),
      narrow: tensor(2, 4, 1, 1),
      wide: tensor(4, 2, 3, 3),
    };
    const given = model(nodes, tensors, { inputs: IMAGE, outputs });
    const { model: folded, report } = await foldGraph(given);
    expect(folded).toBe(given); // node for node
    expect(report.folded).toEqual([]);
    if (reason !== null) expect(report.kept.map((item) => item.reason).join('\n')).toMatch(reason);
  });

  test('branches whose sizes meet only at some sizes of the input: merged where it has that size alone', async () => {
    const nodes = [
      node('Conv', ['x', 'w3'], ['a'], { ...SAME, strides: [2, 2] }),
      bn('p', 'a', 'b'),
      node('AveragePool', ['x'], ['d'], {
        kernel_shape: [2, 2],
        strides: [2, 2],
        pads: [0, 0, 1, 0],
        count_include_pad: 1,
      }),
      node('Add', ['b', 'd'], ['y']),
    ];
    expect(operators((await fold(model(nodes, weights, { inputs: IMAGE, outputs: ['y'] }))).model)).toEqual(['Conv']);
    const open = model(nodes, weights, { inputs: { x: [1, 4, null, null] }, outputs: ['y'] });
    const { model: folded, report } = await fold(open);
    expect(operators(folded)).toEqual(['Conv', 'AveragePool', 'Add']);
    expect(report.kept.map(({ reason }) => reason)).toEqual([
      expect.stringMatching(
        /^Expected padding .* \(equal output sizes for every input\) for branch 1 but received -?\d$/,
      ),
    ]);
  });

  test('a value that a graph inside a node reads', async () => {
    const inner = model([node('Relu', ['a'], ['t'])], {}, { inputs: {}, outputs: ['t'] }).proto.graph;
    const given = model(
      [
        node('Conv', ['x', 'w3'], ['a'], SAME),
        bn('p', 'a', 'y'),
        node('If', ['y'], ['z'], { then_branch: inner, else_branch: inner }),
      ],
      weights,
      { inputs: IMAGE, outputs: ['z'] },
    );
    expect((await foldGraph(given)).model).toBe(given);
  });
});

test('a name that is taken is not used again (G02)', async () => {
  const tensors = { w: tensor(4, 4, 3, 3), 'BatchNormalization:y_fused.weight': tensor(1), ...batchNorm('p', 4) };
  const given = model(
    [
      node('Conv', ['x', 'w'], ['a'], SAME),
      bn('p', 'a', 'y'),
      node('Identity', ['BatchNormalization:y_fused.weight'], ['z']),
    ],
    tensors,
    { inputs: IMAGE, outputs: ['y', 'z'] },
  );
  const names = (await fold(given)).model.proto.graph.initializer.map(({ name }) => name);
  expect(new Set(names).size).toBe(names.length);
  expect(names).toContain('BatchNormalization:y_fused.weight_1');
});

test('shared initializers: each region has its own, nobody else sees a change (G05)', async () => {
  const one = Tensor.f32([1], [1]);
  const tensors = { w: Tensor.f32([1, 1, 1, 1], [1]), one, zero: Tensor.f32([1], [0]) };
  const shared = (mean: string, from: string, to: string) =>
    node('BatchNormalization', [from, 'one', 'one', mean, 'one'], [to], { epsilon: 0 });
  const given = model(
    [
      node('Conv', ['x', 'w'], ['a']),
      shared('zero', 'a', 'y'),
      node('Conv', ['x', 'w'], ['d']),
      shared('one', 'd', 'z'),
      node('Conv', ['x', 'w'], ['bare']),
    ],
    tensors,
    { inputs: { x: [1, 1, 2, 2] }, outputs: ['y', 'z', 'bare'] },
  );
  const x = { shape: [1, 1, 2, 2], data: [0, 1, 2, 3] };
  const { model: folded } = await fold(given, {}, { x });
  const values = referenceOnnx(folded.proto.graph, { x });
  expect([...Array.from(values.get('y')!.data)]).toEqual([1, 2, 3, 4]);
  expect([...Array.from(values.get('z')!.data)]).toEqual([0, 1, 2, 3]);
  expect(tensorOf(folded.proto.graph.initializer.find(({ name }) => name === 'w')!)!.data).toEqual(
    new Float32Array([1]),
  );
});
