import { toBinary } from '@bufbuild/protobuf';
import { evaluate, type Graph, parseGraph } from '../../lib/graph';
import { fromOnnx } from '../../lib/graph/from-onnx/from-onnx';
import { toOnnx } from '../../lib/graph/to-onnx';
import { foldGraph, type OnnxModel, parseOnnx } from '../../lib/onnx';
import { ModelSchema } from '../../lib/onnx/schema/onnx_pb';
import { Tensor } from '../../lib/tensor/tensor';
import { peakError } from '../support/compare';
import { model, node } from '../support/onnx-model';
import { Random } from '../support/random';

// Networks that once differed, or were refused, when they were written as ONNX and read again; random ones are in test/engine/random-graphs.test.ts.

const random = new Random(11);
const floats = (...shape: number[]) => Tensor.f32(shape, random.floats(shape.reduce((a, b) => a * b, 1)));
type Nodes = readonly Record<string, unknown>[];

function graphOf(nodes: Nodes, inputShape: readonly number[]): Graph {
  return parseGraph({ input: 'x', output: nodes.at(-1)!.id, nodes, inputShape });
}

const written = (graph: Graph, tensors: ReadonlyMap<string, Tensor>): OnnxModel =>
  parseOnnx(toBinary(ModelSchema, toOnnx(graph, tensors, 18).proto));

function resultOf(model: OnnxModel, input: Tensor): Tensor {
  const { graph, tensors } = fromOnnx(model);
  return evaluate(graph, tensors, input);
}

const RESIZE = {
  op: 'resize',
  mode: 'nearest',
  coordinates: 'asymmetric',
  nearest: 'floor',
  aspect: 'stretch',
  exclude_outside: false,
  antialias: false,
  cubic_a: -0.75,
  extrapolation: 0,
  crop: [0, 0, 1, 1],
};

test.each<[string, Nodes, Record<string, Tensor>]>([
  ['a mean over no axes', [{ id: 'y', op: 'reduce', inputs: ['x'], function: 'mean', axes: [], keepdims: true }], {}],
  ['a squeeze of no axes', [{ id: 'y', op: 'squeeze', inputs: ['x'], axes: [] }], {}],
  ['an unsqueeze of no axes', [{ id: 'y', op: 'unsqueeze', inputs: ['x'], axes: [] }], {}],
  [
    'a PRelu of two values',
    [
      { id: 'a', op: 'tanh', inputs: ['x'] },
      { id: 'y', op: 'binary', inputs: ['x', 'a'], function: 'prelu' },
    ],
    {},
  ],
  [
    'a PRelu of a constant',
    [{ id: 'y', op: 'binary', inputs: ['x'], function: 'prelu', constant: 'c', constant_first: true }],
    { c: floats(1, 2, 3, 4) },
  ],
  [
    'operators on a constant',
    [
      { id: 'c', op: 'constant', inputs: [], tensor: 'k' },
      { id: 'p', op: 'pad', inputs: ['c'], before: [0, 0, 1, 0], after: [0, 0, 0, 0], mode: 'constant', value: 0.5 },
      { id: 'r', op: 'sigmoid', inputs: ['p'] },
      { id: 'y', op: 'binary', inputs: ['x', 'r'], function: 'mul' },
    ],
    { k: floats(1, 1, 2, 4) },
  ],
])('%s', async (_, nodes, tensors) => {
  const graph = graphOf(nodes, [2, 3, 4]);
  const input = floats(2, 2, 3, 4);
  const held = new Map(Object.entries(tensors));
  const want = evaluate(graph, held, input);
  const read = written(graph, held);
  for (const each of [read, (await foldGraph(read)).model]) {
    const got = resultOf(each, input);
    expect(got.shape).toEqual(want.shape);
    expect(peakError(got.data as Float32Array, want.data as Float32Array)).toBeLessThan(1e-6);
  }
});

test('a Resize to a size along one axis and by a scale along the other is refused: ONNX cannot say it', () => {
  for (const [sizes, scales] of [
    [
      [6, 0],
      [1.5, 2],
    ],
    [
      [0, 6],
      [2, 0],
    ],
  ]) {
    const graph = graphOf([{ id: 'y', inputs: ['x'], ...RESIZE, sizes, scales }], [1, 3, 3]);
    expect(() => toOnnx(graph, new Map(), 18)).toThrow(
      expect.objectContaining({
        code: 'ERR_REPFUSE_GRAPH',
        message: expect.stringMatching(/ONNX cannot say a size of one axis/),
      }),
    );
  }
});

describe('what a Pad crops does not come back as the zeros of a later padding', () => {
  const input = Tensor.f32([1, 1, 1, 4], [1, 2, 3, 4]);
  const pads = (left: number, right: number) =>
    new Tensor('I64', [8], BigInt64Array.from([0, 0, 0, left, 0, 0, 0, right].map(BigInt)));
  const shapes = { inputs: { x: [1, 1, 1, 4] }, outputs: ['y'], opset: 17 };

  test.each<[string, Parameters<typeof model>[0], number[]]>([
    [
      'of a convolution',
      [node('Pad', ['x', 'crop'], ['a']), node('Conv', ['a', 'w'], ['y'], { pads: [0, 1, 0, 1] })],
      [0, 2, 3, 0],
    ],
    [
      'of another Pad',
      [node('Pad', ['x', 'crop'], ['a']), node('Pad', ['a', 'more'], ['b']), node('Conv', ['b', 'w'], ['y'])],
      [0, 2, 3, 0],
    ],
    [
      'before a kernel',
      [node('Pad', ['x', 'crop'], ['a']), node('Conv', ['a', 'k'], ['y'], { pads: [0, 1, 0, 1] })],
      [5, 5],
    ],
  ])('%s', async (_, nodes, values) => {
    const tensors = {
      crop: pads(-1, -1),
      more: pads(1, 1),
      w: Tensor.f32([1, 1, 1, 1], [1]),
      k: Tensor.f32([1, 1, 1, 3], [1, 1, 1]),
    };
    const given = model(nodes, tensors, shapes);
    for (const each of [given, (await foldGraph(given)).model]) expect([...resultOf(each, input).data]).toEqual(values);
  });

  test('zeros that a later Pad crops are gone', async () => {
    const tensors = { crop: pads(-1, -1), more: pads(1, 1), w: Tensor.f32([1, 1, 1, 1], [2]) };
    const given = model(
      [node('Pad', ['x', 'more'], ['a']), node('Pad', ['a', 'crop'], ['b']), node('Conv', ['b', 'w'], ['y'])],
      tensors,
      shapes,
    );
    const { model: folded, report } = await foldGraph(given);
    expect(report.convolutions.after).toBe(1);
    for (const each of [given, folded]) expect([...resultOf(each, input).data]).toEqual([2, 4, 6, 8]);
  });
});
