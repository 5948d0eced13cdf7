import { countMacs, type Graph, inferShapes, parseGraph } from '../../lib/graph';
import { Tensor } from '../../lib/tensor/tensor';
import { type Json, nodeOf, refusalOf, TINY_INPUT, tinyGraph, tinyTensors } from './tiny-graph';

test('the shape of every operator', () => {
  const shapes = inferShapes(parseGraph(tinyGraph()), [5, 4, 6, 6], tinyTensors());
  expect(Object.fromEntries(shapes)).toEqual({
    x: [5, 4, 6, 6],
    conv: [5, 4, 6, 6],
    bn: [5, 4, 6, 6],
    relu: [5, 4, 6, 6],
    identity: [5, 4, 6, 6],
    pad: [5, 4, 8, 8],
    crop: [5, 4, 6, 6],
    add: [5, 4, 6, 6],
    silu: [5, 4, 6, 6],
    average: [5, 4, 5, 5],
    maximum: [5, 4, 4, 4],
    se: [5, 4, 4, 4],
    hardswish: [5, 4, 4, 4],
    mean: [5, 4, 1, 1],
    sigmoid: [5, 4, 1, 1],
    flat: [5, 4],
    linear: [5, 3],
    softmax: [5, 3],
  });
});

test('multiply-accumulates: convolutions and the linear layer', () => {
  const graph = parseGraph(tinyGraph());
  const tensors = tinyTensors();
  const macs = countMacs(graph, inferShapes(graph, TINY_INPUT, tensors), tensors);
  expect(macs).toBe(4 * 36 * (2 * 9) + 4 * 36 * 2 + 3 * 4);
});

/** What must be said of the tiny graph after a change to it, its tensors or its input. */
const CASES: readonly [what: string, node: string, part: string, change: (given: Json) => void][] = [
  ['a missing weight', 'conv', 'conv.weight is missing', ({ tensors }) => tensors.delete('conv.weight')],
  ['a missing bias', 'conv', 'conv.bias is missing', ({ tensors }) => tensors.delete('conv.bias')],
  ['missing statistics', 'bn', 'bn.running_var is missing', ({ tensors }) => tensors.delete('bn.running_var')],
  ['a missing expansion', 'se', 'se.expand.bias is missing', ({ tensors }) => tensors.delete('se.expand.bias')],
  [
    'integers',
    'linear',
    'linear.weight is I32',
    ({ tensors }) => tensors.set('linear.weight', new Tensor('I32', [3, 4], new Int32Array(12))),
  ],
  ['a kernel of three axes', 'conv', 'conv.weight of shape [4, 2, 9]', reshape('conv.weight', [4, 2, 9])],
  ['a kernel for other channels', 'conv', 'does not fit 4 input channels', reshape('conv.weight', [4, 4, 3, 3])],
  ['an empty kernel', 'conv', 'conv.weight of shape [4, 2, 0, 3]', reshape('conv.weight', [4, 2, 0, 3])],
  ['groups that do not divide the outputs', 'conv', 'in 2 groups', reshape('conv.weight', [3, 2, 3, 3])],
  ['a bias too long', 'conv', 'expected [4] for its tensor conv.bias but it is [5]', reshape('conv.bias', [5])],
  ['statistics of other channels', 'bn', 'bn.running_mean', reshape('bn.running_mean', [8])],
  ['statistics of two axes', 'pad', 'pad.running_var', reshape('pad.running_var', [1, 4])],
  ['an identity that is no 1x1', 'identity', 'expected [4, 2, 1, 1]', reshape('identity.weight', [4, 2, 3, 3])],
  ['a squeeze of other channels', 'se', 'se.reduce.weight', reshape('se.reduce.weight', [2, 8, 1, 1])],
  ['a squeeze to nothing', 'se', 'se.reduce.weight', reshape('se.reduce.weight', [0, 4, 1, 1])],
  ['a squeeze bias too long', 'se', 'se.reduce.bias', reshape('se.reduce.bias', [3])],
  ['an expansion of other channels', 'se', 'se.expand.weight', reshape('se.expand.weight', [4, 3, 1, 1])],
  ['an expansion bias too long', 'se', 'se.expand.bias', reshape('se.expand.bias', [5])],
  ['other features', 'linear', 'linear.weight', reshape('linear.weight', [3, 5])],
  ['a linear weight of four axes', 'linear', 'linear.weight', reshape('linear.weight', [3, 4, 1, 1])],
  ['groups that do not divide the inputs', 'identity', '3 groups', edit('identity', { groups: 3 })],
  ['a crop of everything', 'crop', 'nothing remains', edit('crop', { rows: [4, 4] })],
  ['a kernel larger than the input', 'conv', '3x3 kernel', edit('conv', { padding: [0, 0], dilation: [3, 1] })],
  ['a window larger than the input', 'average', 'of at least 9 pixels', edit('average', { kernel: [9, 1] })],
  ['padding beyond half a window', 'maximum', 'padding', edit('maximum', { padding: [2, 0] })],
  ['a sum of unequal shapes', 'add', '[1, 4, 8, 8]', edit('add', { inputs: ['pad', 'identity'] })],
  ['a flat map where pixels are due', 'mean', 'expected [N, C, H, W]', edit('mean', { inputs: ['x'] }, [1, 4])],
  ['pixels where a flat map is due', 'linear', 'expected [N, features]', edit('linear', { inputs: ['mean'] })],
  ['a frame of gigabytes', 'pad', 'more than 2147483647 values', edit('pad', { pad: 2 ** 31 - 1 })],
  ['padding of gigabytes', 'conv', 'more than 2147483647 values', edit('conv', { padding: [2 ** 24, 2 ** 24] })],
  ['an input that comes later', 'relu', 'its input add does not come before it', edit('relu', { inputs: ['add'] })],
  [
    'channels that the input has not',
    'conv',
    '8 input channels',
    (given) => Object.assign(given, { input: [1, 8, 6, 6] }),
  ],
  ['an input too small', 'maximum', 'pixels', (given) => Object.assign(given, { input: [1, 4, 6, 2] })],
];

function reshape(key: string, shape: number[]) {
  return ({ tensors }: Json) => tensors.set(key, Tensor.f32(shape));
}

function edit(id: string, fields: object, input = TINY_INPUT) {
  return (given: Json) => {
    Object.assign(nodeOf(given.graph, id), fields);
    if (input.length !== 4) {
      given.graph.nodes = [nodeOf(given.graph, id)];
      given.graph.output = id;
      given.input = input;
    }
  };
}

test.each(CASES)('%s: node %s is named', (_, node, part, change) => {
  const given = { graph: tinyGraph(), tensors: tinyTensors(), input: TINY_INPUT };
  change(given);
  const { code, message, details } = refusalOf(() => inferShapes(given.graph, given.input, given.tensors));
  expect(code).toBe('ERR_REPFUSE_GRAPH');
  expect(message).toContain(`Node ${node} (${nodeOf(given.graph, node).op}): `);
  expect(message).toContain(part);
  expect(details).toEqual({ node });
});

test('softmax needs a channel axis', () => {
  const graph: Graph = { input: 'x', output: 'y', nodes: [{ id: 'y', op: 'softmax', inputs: ['x'] }] };
  expect(refusalOf(() => inferShapes(graph, [3], new Map())).message).toContain('Node y (softmax)');
});

test.each([[[0, 4, 6, 6]], [[1, 4, 6.5, 6]], [[1, 4, -6, 6]], [[1, 4, Number.NaN, 6]]])('%j is no input', (shape) => {
  const { code } = refusalOf(() => inferShapes(parseGraph(tinyGraph()), shape, tinyTensors()));
  expect(code).toBe('ERR_REPFUSE_SHAPE');
});
