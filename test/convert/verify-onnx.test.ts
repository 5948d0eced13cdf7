import { create } from '@bufbuild/protobuf';
import { foldOnnx, type OnnxReport } from '../../lib/convert';
import { verifyOnnx } from '../../lib/convert/verify/onnx';
import { type OnnxModel, readOnnx, writeOnnx } from '../../lib/onnx';
import { changed } from '../../lib/onnx/messages';
import { type Node, NodeSchema } from '../../lib/onnx/schema/onnx_pb';
import { protoOf, tensorOf } from '../../lib/onnx/values';
import { toFloat32, toFloat64 } from '../../lib/tensor/half';
import { narrowed } from '../../lib/tensor/round';
import { Tensor } from '../../lib/tensor/tensor';
import { model, node } from '../support/onnx-model';
import { Random } from '../support/random';
import { reportedPath } from '../support/reported';
import { temporaryFolder } from '../support/temporary';

const { path } = temporaryFolder();
const random = new Random(7);
const floats = (...shape: number[]) => Tensor.f32(shape, random.floats(shape.reduce((a, b) => a * b, 1)));
const filled = (value: number, size: number) => Tensor.f32([size], new Float32Array(size).fill(value));
const positive = (size: number) =>
  Tensor.f32(
    [size],
    random.floats(size).map((value) => Math.abs(value) + 0.5),
  );

/** An operator that nobody has. */
function foreign(input: string, output: string): Node {
  return create(NodeSchema, {
    opType: 'Mystery',
    domain: 'com.example',
    name: 'foreign',
    input: [input],
    output: [output],
  });
}

/** Conv 3x3, BatchNormalization, Relu, Conv 1x1, as they are trained. */
async function network(name: string, channels: number, { offset = 0, last = 'Relu' } = {}): Promise<string> {
  const nodes = [
    node('Conv', ['x', 'w'], ['a'], { pads: [1, 1, 1, 1], kernel_shape: [3, 3] }),
    node('BatchNormalization', ['a', 'scale', 'shift', 'mean', 'var'], ['b']),
    node('Relu', ['b'], ['c']),
    node('Conv', ['c', 'v'], ['d'], { kernel_shape: [1, 1] }),
    node('Add', ['d', 'e'], ['f']),
    last === 'foreign' ? foreign('f', 'y') : node(last, ['f'], ['y']),
  ];
  const shift = Float32Array.from(floats(channels).data as Float32Array, (value) => value + offset);
  const tensors = {
    w: floats(channels, channels, 3, 3),
    scale: positive(channels),
    shift: Tensor.f32([channels], shift),
    mean: floats(channels),
    var: positive(channels),
    v: floats(8, channels, 1, 1),
    e: floats(1, 8, 1, 1),
  };
  const file = path(`${name}.onnx`);
  await writeOnnx(file, model(nodes, tensors, { inputs: { x: [1, channels, 12, 12] }, outputs: ['y'], opset: 17 }));
  return file;
}

/** The model with some elements of an initializer changed. */
async function spoil(
  file: string,
  initializer: (name: string) => boolean,
  change: (value: number, index: number) => number,
): Promise<string> {
  const { proto, opset } = await readOnnx(file);
  const { graph } = proto;
  const one = graph.initializer.find(({ name }) => initializer(name))!;
  const tensor = tensorOf(one)!;
  const other = protoOf(one.name, Tensor.f32(tensor.shape, [...toFloat64(tensor)].map(change)));
  const listed = graph.initializer.map((each) => (each === one ? other : each));
  const spoiled = path('spoiled.onnx');
  const changedProto = changed(proto, { graph: changed(graph, { initializer: listed }) }) as OnnxModel['proto'];
  await writeOnnx(spoiled, { proto: changedProto, opset }, { force: true });
  return spoiled;
}

test('Q20: offsets that cancel: the fold is exact, and equal; the error of the output is told', async () => {
  const { verification } = await foldOnnx(reportedPath('cancel.onnx'), path('cancel.onnx'), { verify: true });
  expect(verification).toMatchObject({ equal: true, notRun: null });
  const [output, ...regions] = verification!.values;
  expect(output).toMatchObject({ value: 'y', of: 'output', equal: true });
  expect(output!.folded).toBeGreaterThan(1e-3);
  for (const { folded } of regions) expect(folded).toBeLessThan(5e-7);
});

test('Q03: 70 x Conv, BatchNormalization, Relu: 70 regions, equal', async () => {
  const { folded, verification } = await foldOnnx(reportedPath('convbn70.onnx'), path('70.onnx'), { verify: true });
  expect(folded).toHaveLength(70);
  expect(verification).toMatchObject({ equal: true, notRun: null });
  expect(verification!.values.filter(({ of }) => of === 'region')).toHaveLength(70);
});

describe.each([
  ['16 channels', 16, 0],
  ['100 channels', 100, 0],
  ['16 channels and an offset of 300', 16, 300],
])('%s', (_, channels, offset) => {
  const taps = channels * 9;
  const output = path(`right${channels}-${offset}.onnx`);
  let file: string;
  let report: OnnxReport;

  beforeAll(async () => {
    file = await network(`net${channels}-${offset}`, channels, { offset });
    report = await foldOnnx(file, output, { verify: true });
  });

  test('the fold as it is: equal', () => {
    expect(report.verification).toMatchObject({ equal: true, notRun: null });
  });

  test.each<[string, string, (value: number, index: number) => number]>([
    ['one channel of the weight', '.weight', (value, i) => (Math.floor(i / taps) === 3 ? value * (1 + 1e-4) : value)],
    [
      'one value of the weight',
      '.weight',
      (value, i) => (i === 5 * taps + 77 ? value + 1e-4 * (offset > 0 ? 10 : 1) : value),
    ],
    ['one value of the bias', '.bias', (value, i) => (i === 2 ? value * (1 + 1e-4) + 1e-4 : value)],
    ['two weights that changed places', '.weight', (value, i) => (i < 2 ? value + (i === 0 ? 1 : -1) * 1e-3 : value)],
  ])('a fold whose %s is wrong is NOT EQUAL, by region', async (__, part, change) => {
    const { folded } = report;
    const region = folded.find(({ output: value }) => value === 'b')!;
    const wrong = await spoil(output, (each) => each.startsWith(region.node) && each.endsWith(part), change);
    const { equal, values } = await verifyOnnx(file, wrong, folded, {});
    expect(equal).toBe(false);
    expect(values.filter((value) => !value.equal && value.of === 'region').map(({ value }) => value)).toEqual(['b']);
  });
});

describe('a model of which repfuse does not run a node', () => {
  test('has its verdict by region, and the report says what was not run', async () => {
    const file = await network('foreign', 16, { last: 'foreign' });
    const { folded, verification } = await foldOnnx(file, path('foreign.folded.onnx'), { verify: true });
    expect(verification).toMatchObject({
      equal: true,
      input: [],
      notRun: expect.stringMatching(/Mystery "foreign" \(1 node\)/),
    });
    expect(verification!.values.map(({ value, of, equal }) => [value, of, equal])).toEqual([
      ['b', 'region', true],
      ['f', 'region', true],
    ]);
    const wrong = await spoil(
      path('foreign.folded.onnx'),
      (name) => name.includes('fused.weight'),
      (v, i) => (i < 20 ? v * 1.0001 : v),
    );
    const second = await verifyOnnx(file, wrong, folded, {});
    expect(second.equal).toBe(false);
    expect(second.values.filter(({ equal }) => !equal)).toHaveLength(1);
  });

  test('is not equal where another node than the folded ones changed', async () => {
    const file = path('foreign.onnx');
    const { proto, opset } = await readOnnx(path('foreign.folded.onnx'));
    const { graph } = proto;
    const nodes = graph.node.map((each) => (each.opType === 'Relu' ? changed(each, { opType: 'Sigmoid' }) : each));
    const other = changed(proto, { graph: changed(graph, { node: nodes }) }) as OnnxModel['proto'];
    await writeOnnx(path('other.onnx'), { proto: other, opset });
    const { equal, notRun } = await verifyOnnx(file, path('other.onnx'), [], {});
    expect(equal).toBe(false);
    expect(notRun).toMatch(/Mystery.*; not compared: Sigmoid/);
  });
});

test('regions of every kind are compared alone: SAME with a stride, sums in another order, matrices, transposed convolutions', async () => {
  const norm = (channels: number, name: string) => ({
    [`${name}s`]: positive(channels),
    [`${name}b`]: floats(channels),
    [`${name}m`]: floats(channels),
    [`${name}v`]: positive(channels),
  });
  const bn = (input: string, output: string, name: string) =>
    node('BatchNormalization', [input, `${name}s`, `${name}b`, `${name}m`, `${name}v`], [output]);
  const nodes = [
    node('Conv', ['x', 'w1'], ['a'], { auto_pad: 'SAME_LOWER', strides: [2, 2], kernel_shape: [3, 3] }),
    bn('a', 'b', 'p'),
    node('Relu', ['b'], ['c']),
    node('Conv', ['c', 'w2'], ['d'], { pads: [1, 1, 1, 1], kernel_shape: [3, 3] }),
    node('Sigmoid', ['c'], ['other']),
    node('Add', ['d', 'other'], ['e']),
    node('Conv', ['c', 'w3'], ['f'], { kernel_shape: [1, 1] }),
    node('Add', ['e', 'f'], ['g']),
    node('ConvTranspose', ['g', 'w4'], ['h'], { kernel_shape: [2, 2], strides: [2, 2] }),
    bn('h', 'i', 'q'),
    node('Sub', ['i', 'thousand'], ['j']),
    node('Tanh', ['j'], ['k']),
    node('GlobalAveragePool', ['k'], ['l']),
    node('Flatten', ['l'], ['m']),
    node('MatMul', ['m', 'w5'], ['n']),
    node('Add', ['n', 'w6'], ['y']),
  ];
  const tensors = {
    w1: floats(6, 4, 3, 3),
    w2: floats(6, 6, 3, 3),
    w3: floats(6, 6, 1, 1),
    w4: floats(6, 5, 2, 2),
    w5: floats(5, 3),
    w6: floats(3),
    thousand: filled(1000, 1),
    ...norm(6, 'p'),
    ...norm(5, 'q'),
  };
  const file = path('kinds.onnx');
  await writeOnnx(file, model(nodes, tensors, { inputs: { x: [1, 4, 13, 10] }, outputs: ['y'], opset: 17 }));
  const { folded, verification } = await foldOnnx(file, path('kinds.folded.onnx'), { verify: true });
  expect(verification!.values.filter(({ equal }) => !equal)).toEqual([]);
  expect(verification!.equal).toBe(true);
  const regions = verification!.values.filter(({ of }) => of === 'region').map(({ value }) => value);
  expect(regions.sort()).toEqual(folded.map(({ output }) => output).sort());
  expect(folded.length).toBeGreaterThanOrEqual(3);
});

test.each(['F16', 'BF16'] as const)(
  'weights of %s: their own rounding is no error, a wrong weight is one',
  async (dtype) => {
    const half = (tensor: Tensor) => narrowed(tensor, dtype);
    const nodes = [
      node('Cast', ['x'], ['h'], { to: dtype === 'F16' ? 10 : 16 }),
      node('Conv', ['h', 'w'], ['a'], { pads: [1, 1, 1, 1], kernel_shape: [3, 3] }),
      node('Cast', ['a'], ['b'], { to: 1 }),
      node('BatchNormalization', ['b', 'scale', 'shift', 'mean', 'var'], ['c']),
      node('Relu', ['c'], ['y']),
    ];
    const tensors = {
      w: half(floats(8, 8, 3, 3)),
      scale: positive(8),
      shift: floats(8),
      mean: floats(8),
      var: positive(8),
    };
    const [given, folded] = [path(`${dtype}.onnx`), path(`${dtype}.folded.onnx`)];
    await writeOnnx(given, model(nodes, tensors, { inputs: { x: [1, 8, 9, 9] }, outputs: ['y'] }));
    const { folded: regions, verification } = await foldOnnx(given, folded, { verify: true });
    expect(verification).toMatchObject({ equal: true, notRun: null });
    const { proto, ...rest } = await readOnnx(folded);
    const [wide] = proto.graph.initializer.map((each) => tensorOf(each)!);
    expect(wide!.dtype).toBe(dtype);
    const wrong = proto.graph.initializer.map((each) => {
      const read = tensorOf(each)!;
      const values = toFloat32(read);
      if (read.shape.length === 4) values[5] = values[5]! + 1;
      return protoOf(each.name, half(Tensor.f32(read.shape, values)));
    });
    const broken = path(`${dtype}.broken.onnx`);
    await writeOnnx(broken, {
      ...rest,
      proto: changed(proto, { graph: changed(proto.graph, { initializer: wrong }) }),
    });
    expect((await verifyOnnx(given, broken, regions, {})).equal).toBe(false);
  },
);
