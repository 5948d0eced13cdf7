import { Engine } from '../../lib';
import { evaluate } from '../../lib/graph';
import { fromOnnx } from '../../lib/graph/from-onnx/from-onnx';
import { parseGraph } from '../../lib/graph/parse';
import type { Node } from '../../lib/onnx/schema/onnx_pb';
import { Tensor } from '../../lib/tensor/tensor';
import { peakError } from '../support/compare';
import { model, node } from '../support/onnx-model';
import { Random } from '../support/random';

const integers = (...values: number[]) => new Tensor('I64', [values.length], BigInt64Array.from(values, BigInt));
const scalar = (value: number) => new Tensor('I64', [], BigInt64Array.of(BigInt(value)));
const random = new Random(1);
const weight = (...shape: number[]) =>
  Tensor.f32(shape, random.floats(shape.reduce((product, size) => product * size, 1)));

interface Case {
  readonly nodes: readonly Node[];
  readonly tensors: Readonly<Record<string, Tensor>>;
  /** Heights and widths that fit. */
  readonly sizes: readonly (readonly [number, number])[];
  /** Of which the size must be a multiple, and one that is none. */
  readonly multiple?: readonly [number, readonly [number, number]];
}

const SIZES = [`h`, `w`].flatMap((name, i) => [
  node('Shape', ['x'], [`shape_${name}`]),
  node('Gather', [`shape_${name}`, `axis${i + 2}`], [name]),
]);
const PLACES = { axis2: integers(2), axis3: integers(3), axis0: scalar(0) };
const ANY = [
  [64, 64],
  [61, 50],
  [33, 97],
  [5, 7],
] as const;

/** In each the sizes of the one input are open. */
const CASES: Readonly<Record<string, Case>> = {
  'SAME padding, upper and lower, of every window': {
    nodes: [
      node('Conv', ['x', 'k3'], ['a'], { auto_pad: 'SAME_UPPER', strides: [2, 2] }),
      node('MaxPool', ['a'], ['b'], { auto_pad: 'SAME_UPPER', kernel_shape: [3, 3], strides: [2, 2] }),
      node('Conv', ['b', 'k5'], ['c'], { auto_pad: 'SAME_LOWER', strides: [2, 2] }),
      node('AveragePool', ['c'], ['y'], { auto_pad: 'SAME_UPPER', kernel_shape: [2, 2], strides: [2, 2] }),
    ],
    tensors: { k3: weight(4, 3, 3, 3), k5: weight(6, 4, 5, 5) },
    sizes: ANY,
  },
  'a frame to a multiple of 8, that is cut off again': {
    nodes: [
      ...SIZES,
      ...['h', 'w'].flatMap((name) => [
        node('Mod', [name, 'eight'], [`${name}_rest`]),
        node('Sub', ['eight', `${name}_rest`], [`${name}_missing`]),
        node('Mod', [`${name}_missing`, 'eight'], [`${name}_more`]),
      ]),
      node('Concat', ['zeros', 'zeros', 'zeros', 'h_more', 'w_more'], ['pads'], { axis: 0 }),
      node('Pad', ['x', 'pads'], ['framed'], { mode: 'reflect' }),
      node('Conv', ['framed', 'k3'], ['a'], { pads: [1, 1, 1, 1] }),
      node('Concat', ['h', 'w'], ['ends'], { axis: 0 }),
      node('Slice', ['a', 'starts', 'ends', 'axes'], ['y']),
    ],
    tensors: {
      ...PLACES,
      zeros: integers(0, 0),
      eight: integers(8),
      k3: weight(4, 3, 3, 3),
      starts: integers(0, 0),
      axes: integers(2, 3),
    },
    sizes: [
      [64, 64],
      [61, 50],
      [9, 23],
    ],
  },
  'a grid of places, as data': {
    nodes: [
      ...SIZES,
      node('Squeeze', ['h', 'first'], ['h0']),
      node('Squeeze', ['w', 'first'], ['w0']),
      node('Range', ['axis0', 'h0', 'one'], ['rows']),
      node('Range', ['axis0', 'w0', 'two'], ['columns']),
      node('Cast', ['rows'], ['ys'], { to: 1 }),
      node('Cast', ['columns'], ['xs'], { to: 1 }),
      node('Cast', ['h'], ['height'], { to: 1 }),
      node('Div', ['ys', 'height'], ['share']),
      node('Unsqueeze', ['share', 'ones'], ['down']),
      node('Mul', ['down', 'xs'], ['grid']),
      node('Concat', ['h', 'last'], ['halved'], { axis: 0 }),
      node('Reshape', ['grid', 'halved'], ['flat']),
      node('Relu', ['x'], ['r']),
      node('ReduceMean', ['r'], ['mean'], { axes: [0, 1, 2, 3], keepdims: 0 }),
      node('Add', ['flat', 'mean'], ['y']),
    ],
    tensors: { ...PLACES, first: integers(0), ones: integers(1), one: scalar(1), two: scalar(2), last: integers(-1) },
    sizes: ANY,
  },
  'windows of 7 pixels, apart and together': {
    nodes: [
      ...SIZES,
      node('Div', ['h', 'seven'], ['rows']),
      node('Div', ['w', 'seven'], ['columns']),
      node('Concat', ['batch', 'channels', 'rows', 'seven', 'columns', 'seven'], ['apart'], { axis: 0 }),
      node('Reshape', ['x', 'apart'], ['windows']),
      node('Transpose', ['windows'], ['turned'], { perm: [0, 2, 4, 3, 5, 1] }),
      node('Reshape', ['turned', 'tokens'], ['t']),
      node('MatMul', ['t', 'm'], ['made']),
      node('Concat', ['batch', 'rows', 'columns', 'seven', 'seven', 'channels'], ['together'], { axis: 0 }),
      node('Reshape', ['made', 'together'], ['u']),
      node('Transpose', ['u'], ['v'], { perm: [0, 5, 1, 3, 2, 4] }),
      node('Concat', ['batch', 'channels', 'h', 'w'], ['back'], { axis: 0 }),
      node('Reshape', ['v', 'back'], ['y']),
    ],
    tensors: {
      ...PLACES,
      seven: integers(7),
      batch: integers(1),
      channels: integers(3),
      tokens: integers(-1, 49, 3),
      m: weight(3, 3),
    },
    sizes: [
      [7, 7],
      [21, 14],
    ],
    multiple: [7, [21, 15]],
  },
  'halves and a size that floats compute': {
    nodes: [
      ...SIZES,
      node('Concat', ['h', 'w'], ['own'], { axis: 0 }),
      node('Cast', ['own'], ['floats'], { to: 1 }),
      node('Mul', ['floats', 'half'], ['halves']),
      node('Floor', ['halves'], ['floors']),
      node('Cast', ['floors'], ['pixels'], { to: 7 }),
      node('Concat', ['planes', 'pixels'], ['sizes'], { axis: 0 }),
      node('Resize', ['x', '', '', 'sizes'], ['small'], { mode: 'linear' }),
      node('Split', ['small'], ['upper', 'lower'], { axis: 2 }),
      node('GlobalAveragePool', ['upper'], ['p']),
      node('GlobalAveragePool', ['lower'], ['q']),
      node('Sub', ['p', 'q'], ['y']),
    ],
    tensors: { ...PLACES, half: Tensor.f32([1], [0.5]), planes: integers(1, 3) },
    sizes: [
      [64, 64],
      [61, 50],
      [33, 97],
    ],
  },
};

describe.each(Object.entries(CASES))('%s', (_, { nodes, tensors, sizes, multiple }) => {
  const read = (height: number | null, width: number | null) =>
    fromOnnx(model(nodes, tensors, { inputs: { x: [1, 3, height, width] }, outputs: ['y'] }));
  const image = (height: number, width: number) =>
    Tensor.f32([1, 3, height, width], new Random(height).floats(3 * height * width));

  test('runs at every size as the model of that size does, in the engine and operator by operator', async () => {
    const open = read(null, null);
    expect(parseGraph(JSON.parse(JSON.stringify(open.graph)))).toEqual(open.graph);
    await using engine = await Engine.create(open);
    for (const [height, width] of sizes) {
      const fixed = read(height, width);
      const x = image(height, width);
      const want = evaluate(fixed.graph, fixed.tensors, x);
      const found = [await engine.run(x), evaluate(open.graph, open.tensors, x)];
      for (const { shape, data } of found) {
        expect([height, width, shape]).toEqual([height, width, want.shape]);
        expect(peakError(data as Float32Array, want.data as Float32Array)).toBeLessThan(1e-6);
      }
    }
  });

  test('a size that does not fit is refused with the multiple that does', async () => {
    const { graph, tensors: weights } = read(null, null);
    const [of, [height, width]] = multiple ?? [undefined, [0, 0]];
    expect(graph.multiples?.H).toBe(of);
    if (of === undefined) return;
    await using engine = await Engine.create({ graph, tensors: weights });
    await expect(engine.run(image(height, width))).rejects.toMatchObject({
      code: 'ERR_REPFUSE_SHAPE',
      message: expect.stringContaining(`that is a multiple of ${of} but received ${width}`),
    });
  });
});

test('arithmetic on sizes has a budget: a file that squares one again and again is refused before long', () => {
  const nodes = [node('Shape', ['x'], ['s0'])];
  for (let i = 0; i < 3000; i++) {
    nodes.push(node('Mul', [`s${2 * i}`, `s${2 * i}`], [`s${2 * i + 1}`]));
    nodes.push(node('Add', [`s${2 * i + 1}`, 's0'], [`s${2 * i + 2}`]));
  }
  nodes.push(node('Reshape', ['x', 's6000'], ['y']));
  const begin = process.cpuUsage().user;
  expect(() => fromOnnx(model(nodes, {}, { inputs: { x: [null, 3, null, null] }, outputs: ['y'] }))).toThrow(
    expect.objectContaining({ code: 'ERR_REPFUSE_GRAPH' }),
  );
  expect(process.cpuUsage().user - begin).toBeLessThan(10e6);
});
