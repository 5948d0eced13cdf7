import { Engine } from '../../lib/engine';
import { evaluateAsync, exportOnnx, readOnnxModel } from '../../lib/graph';
import { fromOnnx } from '../../lib/graph/from-onnx/from-onnx';
import type { OnnxModel } from '../../lib/onnx/model';
import type { Node } from '../../lib/onnx/schema/onnx_pb';
import { seededUniform, uniformValues } from '../../lib/tensor/random';
import { Tensor } from '../../lib/tensor/tensor';
import { peakError } from '../support/compare';
import { ALL_ISAS, availableIsas, withIsa } from '../support/isa';
import { model, node } from '../support/onnx-model';
import { referenceOnnx } from '../support/reference-onnx';
import { temporaryFolder } from '../support/temporary';

const { path } = temporaryFolder();

/** Of the peak: float32 convolutions before and after. */
const BOUND = 4e-6;
const CHANNELS = 20; // more than one block of 16, and no whole number of them

const random = seededUniform(7);
const floats = (...shape: number[]) =>
  Tensor.f32(
    shape,
    uniformValues(
      random,
      shape.reduce((a, b) => a * b, 1),
      -1,
      1,
    ),
  );
const integers = (...values: number[]) => new Tensor('I64', [values.length], BigInt64Array.from(values, BigInt));
const number = (value: number) => Tensor.f32([], [value]);

/** A network that computes `a` and `b` [N, 20, 9, 7] by convolutions, then what the case says, which ends in `y`. */
interface Case {
  readonly nodes: readonly Node[];
  readonly tensors?: Readonly<Record<string, Tensor>>;
  /** Channels of y, where a convolution reads it: the layout that it leaves is read too. */
  readonly channels?: number;
  readonly opset?: number;
  /** Height and width are open, and the graph cannot be written: sizes computed from sizes. */
  readonly open?: boolean;
}

const CASES: Readonly<Record<string, Case>> = {
  'ConvTranspose, kernel 4 of stride 2': {
    nodes: [node('ConvTranspose', ['a', 'w', 'c'], ['y'], { strides: [2, 2], pads: [1, 1, 1, 1] })],
    tensors: { w: floats(CHANNELS, 18, 4, 4), c: floats(18) },
    channels: 18,
  },
  'ConvTranspose, groups, uneven padding': {
    nodes: [node('ConvTranspose', ['a', 'w'], ['y'], { strides: [3, 2], pads: [0, 1, 2, 0], group: 4 })],
    tensors: { w: floats(CHANNELS, 3, 2, 5) },
    channels: 12,
  },
  'Reshape to the shape of a value that has another name too': {
    nodes: [
      node('Identity', ['a'], ['same']),
      node('Flatten', ['b'], ['row']),
      node('Shape', ['same'], ['shape']),
      node('Reshape', ['row', 'shape'], ['y']),
    ],
    channels: CHANNELS,
  },
  'Clip, folded into the convolution': {
    nodes: [node('Clip', ['a', 'low', 'high'], ['y'])],
    tensors: { low: number(-0.3), high: number(0.6) },
    channels: CHANNELS,
  },
  'LeakyRelu after a convolution': { nodes: [node('LeakyRelu', ['a'], ['y'], { alpha: 0.1 })], channels: CHANNELS },
  'PRelu of channels': {
    nodes: [node('PRelu', ['a', 's'], ['y'])],
    tensors: { s: floats(CHANNELS, 1, 1) },
    channels: CHANNELS,
  },
  'Tanh, HardSigmoid': {
    nodes: [node('Tanh', ['a'], ['t']), node('HardSigmoid', ['t'], ['y'], { alpha: 0.3, beta: 0.4 })],
    channels: CHANNELS,
  },
  'Erf, as GELU is written by its parts': {
    nodes: [
      node('Div', ['a', 'root'], ['s']),
      node('Erf', ['s'], ['e']),
      node('Add', ['e', 'one'], ['p']),
      node('Mul', ['a', 'p'], ['q']),
      node('Mul', ['q', 'half'], ['y']),
    ],
    tensors: { root: number(Math.SQRT2), one: number(1), half: number(0.5) },
    channels: CHANNELS,
  },
  'hard swish as it was written before': {
    nodes: [
      node('Add', ['a', 'three'], ['p']),
      node('Clip', ['p', 'zero', 'six'], ['q']),
      node('Mul', ['a', 'q'], ['r']),
      node('Div', ['r', 'six'], ['y']),
    ],
    tensors: { three: number(3), zero: number(0), six: number(6) },
    channels: CHANNELS,
  },
  'functions of two images': {
    nodes: [node('Sub', ['a', 'b'], ['d']), node('Mul', ['d', 'b'], ['m']), node('Add', ['m', 'a'], ['y'])],
    channels: CHANNELS,
  },
  'a gate of channels': {
    nodes: [node('GlobalAveragePool', ['b'], ['g']), node('Sigmoid', ['g'], ['s']), node('Mul', ['s', 'a'], ['y'])],
    channels: CHANNELS,
  },
  'a map for all channels': {
    nodes: [node('Conv', ['b', 'w'], ['one']), node('Mul', ['a', 'one'], ['y'])],
    tensors: { w: floats(1, CHANNELS, 1, 1) },
    channels: CHANNELS,
  },
  'constants of channels, on either side': {
    nodes: [node('Sub', ['k', 'a'], ['d']), node('Div', ['d', 'half'], ['q']), node('Add', ['q', 'row'], ['y'])],
    tensors: { k: floats(1, CHANNELS, 1, 1), half: number(0.5), row: floats(7) },
    channels: CHANNELS,
  },
  'Concat along channels': {
    nodes: [node('Concat', ['a', 'b', 'a'], ['y'], { axis: 1 })],
    channels: 3 * CHANNELS,
  },
  'Concat along rows': { nodes: [node('Concat', ['a', 'b'], ['y'], { axis: 2 })], channels: CHANNELS },
  'Resize, nearest, twice as large': {
    nodes: [
      node('Resize', ['a', '', 'scales'], ['y'], {
        mode: 'nearest',
        coordinate_transformation_mode: 'asymmetric',
        nearest_mode: 'floor',
      }),
    ],
    tensors: { scales: Tensor.f32([4], [1, 1, 2, 2]) },
    channels: CHANNELS,
  },
  'Resize to the size of another map': {
    nodes: [
      node('MaxPool', ['a'], ['small'], { kernel_shape: [2, 2], strides: [2, 2] }),
      node('Shape', ['b'], ['shape']),
      node('Slice', ['shape', 'two', 'four'], ['pixels']),
      node('Shape', ['small'], ['own']),
      node('Slice', ['own', 'zero', 'two'], ['planes']),
      node('Concat', ['planes', 'pixels'], ['sizes'], { axis: 0 }),
      node('Resize', ['small', '', '', 'sizes'], ['large'], { mode: 'linear' }),
      node('Add', ['large', 'b'], ['y']),
    ],
    tensors: { zero: integers(0), two: integers(2), four: integers(4) },
    channels: CHANNELS,
    open: true,
  },
  'Resize to a size that is cut from a shape, up to as many entries as it has': {
    nodes: [
      node('MaxPool', ['a'], ['small'], { kernel_shape: [2, 2], strides: [2, 2] }),
      node('Shape', ['b'], ['shape']),
      node('Shape', ['shape'], ['count']),
      node('Slice', ['shape', 'two', 'count'], ['pixels']),
      node('Shape', ['small'], ['own']),
      node('Slice', ['own', 'zero', 'two'], ['planes']),
      node('Concat', ['planes', 'pixels'], ['sizes'], { axis: 0 }),
      node('Resize', ['small', '', '', 'sizes'], ['large'], { mode: 'linear' }),
      node('Add', ['large', 'b'], ['y']),
    ],
    tensors: { zero: integers(0), two: integers(2) },
    channels: CHANNELS,
    open: true,
  },
  'Resize, linear': {
    nodes: [node('Resize', ['a', '', 'scales'], ['y'], { mode: 'linear' })],
    tensors: { scales: Tensor.f32([4], [1, 1, 1.5, 3]) },
    channels: CHANNELS,
  },
  'DepthToSpace, both orders': {
    nodes: [
      node('DepthToSpace', ['a'], ['d'], { blocksize: 2, mode: 'CRD' }),
      node('Concat', ['d', 'd', 'd', 'd'], ['e'], { axis: 1 }),
      node('DepthToSpace', ['e'], ['y'], { blocksize: 2 }),
    ],
    channels: 5,
  },
  'Pad, every mode': {
    nodes: [
      node('Pad', ['a', 'pads', 'value'], ['p']),
      node('Pad', ['p', 'pads'], ['q'], { mode: 'reflect' }),
      node('Pad', ['q', 'pads'], ['y'], { mode: 'edge' }),
    ],
    tensors: { pads: integers(0, 0, 1, 2, 0, 0, 3, 0), value: number(0.25) },
    channels: CHANNELS,
  },
  "a detector's head": {
    nodes: [
      node('Transpose', ['a'], ['t'], { perm: [0, 2, 3, 1] }),
      node('Shape', ['t'], ['shape']),
      node('Gather', ['shape', 'first'], ['n'], { axis: 0 }),
      node('Concat', ['n', 'rest'], ['wanted'], { axis: 0 }),
      node('Reshape', ['t', 'wanted'], ['r']),
      node('Sigmoid', ['r'], ['y']),
    ],
    tensors: { first: integers(0), rest: integers(-1, 4) },
  },
  'an attention of pixels': {
    nodes: [
      node('Reshape', ['a', 'flat'], ['f']),
      node('Transpose', ['f'], ['t'], { perm: [0, 2, 1] }),
      node('MatMul', ['t', 'w'], ['m']),
      node('Softmax', ['m'], ['s'], { axis: -1 }),
      node('Transpose', ['s'], ['u'], { perm: [0, 2, 1] }),
      node('Reshape', ['u', 'map'], ['y']),
    ],
    tensors: { flat: integers(0, CHANNELS, -1), w: floats(CHANNELS, 9), map: integers(0, 9, 9, 7) },
    channels: 9,
  },
  'a channel shuffle': {
    nodes: [
      node('Reshape', ['a', 'five'], ['f']),
      node('Transpose', ['f'], ['t'], { perm: [0, 2, 1, 3, 4] }),
      node('Reshape', ['t', 'four'], ['y']),
    ],
    tensors: { five: integers(0, 4, 5, 9, 7), four: integers(0, CHANNELS, 9, 7) },
    channels: CHANNELS,
  },
  'halves of the channels': {
    nodes: [
      node('Slice', ['a', 'zero', 'ten', 'axis'], ['l']),
      node('Slice', ['a', 'ten', 'end', 'axis'], ['r']),
      node('Concat', ['r', 'l'], ['y'], { axis: 1 }),
    ],
    tensors: { zero: integers(0), ten: integers(10), end: integers(2 ** 40), axis: integers(1) },
    channels: CHANNELS,
  },
  'convolutions and pools of uneven padding': {
    nodes: [
      node('Conv', ['a', 'w'], ['c'], { pads: [0, 1, 2, 3], strides: [2, 1], kernel_shape: [3, 3] }),
      node('MaxPool', ['c'], ['m'], { kernel_shape: [3, 2], pads: [2, 0, 1, 1], strides: [1, 2] }),
      node('AveragePool', ['m'], ['y'], { kernel_shape: [2, 2], pads: [1, 0, 0, 1] }),
    ],
    tensors: { w: floats(17, CHANNELS, 3, 3) },
    channels: 17,
  },
};

function networkOf({ nodes, tensors = {}, channels, opset = 17, open = false }: Case): OnnxModel {
  const convolution = (name: string) => node('Conv', ['x', `${name}.weight`], [name], { pads: [1, 1, 1, 1] });
  const last = channels === undefined ? [] : [node('Conv', ['y', 'last.weight'], ['z'])];
  const weights = {
    'a.weight': floats(CHANNELS, 3, 3, 3),
    'b.weight': floats(CHANNELS, 3, 3, 3),
    ...(channels === undefined ? {} : { 'last.weight': floats(6, channels, 1, 1) }),
  };
  return model(
    [convolution('a'), convolution('b'), ...nodes, ...last],
    { ...tensors, ...weights },
    {
      inputs: { x: open ? [null, 3, null, null] : [null, 3, 9, 7] },
      outputs: channels === undefined ? ['y'] : ['z'],
      opset,
    },
  );
}

const levels = availableIsas();
const input = floats(2, 3, 9, 7);

describe.each(Object.entries(CASES))('%s', (name, each) => {
  const onnx = networkOf(each);
  const output = onnx.proto.graph.output[0]!.name;
  const want = referenceOnnx(onnx.proto.graph, { x: { shape: input.shape, data: input.data as Float32Array } }).get(
    output,
  )!;
  const { graph, tensors } = fromOnnx(onnx);
  const expectEqual = (got: Tensor) => {
    expect(got.shape).toEqual(want.shape);
    expect(peakError(got.data as Float32Array, Float64Array.from(want.data))).toBeLessThan(BOUND);
  };

  test.each(ALL_ISAS.filter((isa) => levels.includes(isa)))('in the engine, %s', async (isa) => {
    await withIsa(isa, async () => {
      const results: Tensor[] = [];
      for (const threads of [1, 3]) {
        await using engine = await Engine.create({ graph, tensors }, { threads });
        await engine.run(input); // what a run leaves behind must not matter
        results.push(await engine.run(input));
      }
      for (const got of results) expectEqual(got);
      expect(results[1]!.data).toEqual(results[0]!.data);
    });
  });

  if (name === 'hard swish as it was written before')
    test('of its parts nothing remains', () => {
      expect(graph.nodes.map(({ op }) => op)).toEqual(['conv2d', 'hardswish', 'conv2d']);
    });

  test('operator by operator', async () => expectEqual(await evaluateAsync(graph, tensors, input)));

  if (each.open === true) return;

  test('written as ONNX and read again', async () => {
    const file = path(`${name.replace(/\W+/g, '-')}.onnx`);
    await exportOnnx(file, { graph: { ...graph, inputShape: [3, 9, 7] }, tensors });
    const again = await readOnnxModel(file);
    expectEqual(await evaluateAsync(again.graph, again.tensors, input));
  });
});

test('a MaxPool behind a border of -Infinity, as NASNet pads, is the padded one', async () => {
  const x = Tensor.f32(
    [1, 3, 7, 6],
    Float32Array.from(floats(1, 3, 7, 6).data, (value) => value - 2),
  );
  const pads = new Tensor('I64', [8], BigInt64Array.from([0, 0, 1, 0, 0, 0, 1, 2].map(BigInt)));
  const tensors = { pads, least: Tensor.f32([], [-Infinity]) };
  const window = { kernel_shape: [3, 3], strides: [2, 2] };
  const open = { inputs: { x: [1, 3, 7, 6] }, outputs: ['y'] };
  const bordered = [node('Pad', ['x', 'pads', 'least'], ['b']), node('MaxPool', ['b'], ['y'], window)];
  const padded = [node('MaxPool', ['x'], ['y'], { ...window, pads: [1, 0, 1, 2] })];
  const results = [bordered, padded].map(async (nodes) => {
    const engine = await Engine.create(fromOnnx(model(nodes, tensors, open)));
    return (await engine.run(x)).data;
  });
  const [border, pad] = await Promise.all(results);
  expect(border).toEqual(pad);
});
