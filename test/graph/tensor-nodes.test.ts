import { Engine } from '../../lib/engine';
import { RepfuseError } from '../../lib/errors';
import { evaluate, inferShapes, parseGraph } from '../../lib/graph';
import { Tensor } from '../../lib/tensor/tensor';
import { peakError } from '../support/compare';
import { Random } from '../support/random';
import type { Json } from './tiny-graph';

/** Every operator on tensors of any rank once, [2, 4, 6, 6] -> [2, 8]; a new object at every call. */
function tensorGraph(): Json {
  const resize = {
    mode: 'linear',
    coordinates: 'half_pixel',
    nearest: 'round_prefer_floor',
    aspect: 'stretch',
    exclude_outside: false,
    antialias: false,
    cubic_a: -0.75,
    extrapolation: 0,
    scales: [0.5, 0.5],
    sizes: [0, 0],
    crop: [0, 0, 1, 1],
  };
  const node = (id: string, op: string, input: string | string[], fields = {}) => ({
    id,
    op,
    inputs: typeof input === 'string' ? [input] : input,
    ...fields,
  });
  return {
    input: 'x',
    output: 'product',
    outputs: ['product', 'mean'],
    nodes: [
      node('up', 'conv_transpose2d', 'x', {
        weight: 'up.weight',
        bias: 'up.bias',
        stride: [2, 2],
        padding: [0, 1, 1, 0],
        output_padding: [0, 1],
        dilation: [1, 1],
        groups: 2,
      }), // [2, 4, 12, 13]
      node('leaky', 'leaky_relu', 'up', { slope: 0.1 }),
      node('clip', 'clip', 'leaky', { min: null, max: 1 }),
      node('hard', 'hard_sigmoid', 'clip', { alpha: 0.2, beta: 0.5 }),
      node('tanh', 'tanh', 'hard'),
      node('scaled', 'binary', 'tanh', { function: 'mul', constant: 'factor', constant_first: true }),
      node('sum', 'binary', ['scaled', 'leaky'], { function: 'sub' }),
      node('half', 'resize', 'sum', resize), // [2, 4, 6, 6]
      node('joined', 'concat', ['half', 'x'], { axis: 1 }),
      node('spread', 'depth_to_space', 'joined', { block: [2, 2], channels_first: true }), // [2, 2, 12, 12]
      node('framed', 'pad', 'spread', {
        before: [0, 0, 1, 0],
        after: [0, 0, 0, 1],
        mode: 'constant',
        value: 0,
        fill: 'fill',
      }),
      node('mirrored', 'pad', 'framed', { before: [0, 0, 0, 2], after: [0, 0, 1, 0], mode: 'reflect', value: 0 }), // [2, 2, 14, 15]
      node('cut', 'slice', 'mirrored', { starts: [0, 0, 1, -1], ends: [9, 9, 9, 0], steps: [1, 1, 1, -2] }), // [2, 2, 8, 7]
      node('turned', 'transpose', 'cut', { perm: [0, 2, 3, 1] }),
      node('rows', 'reshape', 'turned', { shape: [0, -1, 2] }), // [2, 56, 2]
      node('matrix', 'constant', [], { tensor: 'matrix' }), // [2, 8]
      node('times', 'matmul', ['rows', 'matrix']),
      node('shares', 'softmax', 'times', { axis: 2, joint: false }),
      node('mean', 'reduce', 'shares', { function: 'mean', axes: [1], keepdims: true }), // [2, 1, 8]
      node('less', 'squeeze', 'mean', { axes: [1] }),
      node('more', 'unsqueeze', 'less', { axes: [2] }),
      node('product', 'flatten', 'more', { axis: 1 }),
    ],
    inputShape: [4, 6, 6],
  };
}

const random = new Random(3);
const tensor = (...shape: number[]) => Tensor.f32(shape, random.floats(shape.reduce((a, b) => a * b, 1)));
const tensors = new Map([
  ['up.weight', tensor(4, 2, 3, 3)],
  ['up.bias', tensor(4)],
  ['factor', tensor(4, 1, 1)],
  ['fill', tensor(2)],
  ['matrix', tensor(2, 8)],
]);
const input = tensor(2, 4, 6, 6);

const BAD_LIST = [undefined, null, 1, 'x', [1.5], ['1'], new Array(9).fill(1), [2 ** 31]];
const BAD_NUMBER = [undefined, null, '1', Number.NaN, Number.POSITIVE_INFINITY, [1]];
const BAD_PAIR = [undefined, null, 1, [1], [1, 1, 1], [-1, 1]];
const BAD_NAME = [undefined, null, '', 0];
const BAD_WORD = [undefined, null, 'x', 0];
const BAD_BOOLEAN = [undefined, null, 0];
const BAD_FIELDS: Record<string, Record<string, readonly unknown[]>> = {
  up: {
    weight: BAD_NAME,
    bias: [undefined, '', 0],
    stride: BAD_PAIR,
    padding: [...BAD_PAIR, [1, 1, 1, -1]],
    output_padding: BAD_PAIR,
    dilation: BAD_PAIR,
    groups: [undefined, 0, 1.5],
  },
  leaky: { slope: BAD_NUMBER },
  clip: { min: [undefined, '0', Number.NaN], max: [undefined, '0', Number.NaN] },
  hard: { alpha: BAD_NUMBER, beta: BAD_NUMBER },
  scaled: { function: BAD_WORD, constant: [null, '', 0], constant_first: [null, 0] },
  half: {
    mode: BAD_WORD,
    coordinates: BAD_WORD,
    nearest: BAD_WORD,
    aspect: BAD_WORD,
    exclude_outside: BAD_BOOLEAN,
    antialias: BAD_BOOLEAN,
    cubic_a: BAD_NUMBER,
    extrapolation: BAD_NUMBER,
    scales: [undefined, [1], [1, Number.NaN]],
    sizes: BAD_PAIR,
    crop: [undefined, [0, 0, 1], [0, 0, 1, '1']],
  },
  joined: { axis: [undefined, -1, 0.5] },
  spread: { block: [...BAD_PAIR, [0, 1]], channels_first: BAD_BOOLEAN },
  framed: { before: BAD_LIST, after: BAD_LIST, mode: BAD_WORD, value: BAD_NUMBER, fill: [null, '', 0] },
  cut: { starts: BAD_LIST, ends: BAD_LIST, steps: [...BAD_LIST, [0, 1, 1, 1]] },
  turned: { perm: [...BAD_LIST, [0, 1, 2, -1]] },
  rows: { shape: [...BAD_LIST, [-2]] },
  matrix: { tensor: BAD_NAME },
  shares: { axis: [null, -1, 0.5], joint: [null, 0] },
  mean: { function: [...BAD_NAME, 'average'], axes: [...BAD_LIST, [-1]], keepdims: BAD_BOOLEAN },
  less: { axes: [...BAD_LIST, [-1]] },
  more: { axes: [...BAD_LIST, [-1]] },
  product: { axis: [null, -1, 0.5] },
};

function changed(change: (graph: Json) => void): Json {
  const graph = tensorGraph();
  change(graph);
  return graph;
}
const nodeOf = (graph: Json, id: string): Json => graph.nodes.find((node: Json) => node.id === id);

test('a graph of every operator on tensors runs, both ways alike, with all its outputs', async () => {
  const graph = parseGraph(tensorGraph());
  expect(JSON.parse(JSON.stringify(graph))).toEqual(tensorGraph());
  const want = evaluate(graph, tensors, input);
  expect(want.shape).toEqual([2, 8]);
  await using engine = await Engine.create({ graph, tensors });
  const outputs = await engine.runAll(input);
  expect([...outputs.keys()]).toEqual(['product', 'mean']);
  expect(outputs.get('mean')!.shape).toEqual([2, 1, 8]);
  expect(peakError(outputs.get('product')!.data as Float32Array, want.data as Float32Array)).toBeLessThan(1e-5);
});

test('every field of every node has bad values, and these are refused, node and field named', () => {
  const common = ['id', 'op', 'inputs'];
  for (const node of tensorGraph().nodes) {
    for (const field of Object.keys(node).filter((each) => !common.includes(each))) {
      const values = BAD_FIELDS[node.id === 'sum' ? 'scaled' : node.id === 'mirrored' ? 'framed' : node.id]![field];
      expect([node.id, field, values === undefined]).toEqual([node.id, field, false]);
      for (const value of values!) {
        const graph = changed((json) => {
          nodeOf(json, node.id)[field] = value;
        });
        expect(() => parseGraph(graph)).toThrow(
          expect.objectContaining({ code: 'ERR_REPFUSE_GRAPH', details: expect.objectContaining({ node: node.id }) }),
        );
      }
    }
  }
});

test.each([
  ['no nodes', ['nowhere']],
  ['another first', ['mean', 'product']],
  ['the input', ['product', 'x']],
])('outputs: %s', (_, outputs) => {
  expect(() => parseGraph({ ...tensorGraph(), outputs })).toThrow(/for outputs but received/);
});

const MISFITS: [node: string, field: string, value: unknown, problem: RegExp][] = [
  ['up', 'groups', 3, /does not fit 4 input channels/],
  ['up', 'padding', [99, 99], /padding leaves nothing/],
  ['half', 'scales', [1, 1], /do not fit/],
  ['joined', 'axis', 7, /no axis 7/],
  ['spread', 'block', [3, 1], /no whole number of blocks/],
  ['framed', 'before', [0, 1, 0, 0], /stand around images only/],
  ['mirrored', 'before', [0, 0, 0, 99], /reflection by 99/],
  ['cut', 'starts', [0, 0, 1], /each axis/],
  ['cut', 'ends', [9, 9, 1, 0], /nothing remains/],
  ['turned', 'perm', [0, 1, 1, 2], /no permutation/],
  ['rows', 'shape', [0, -1, 5], /cannot become/],
  ['rows', 'shape', [-1, -1, 2], /cannot become/],
  ['less', 'axes', [0], /is not 1/],
  ['more', 'axes', [9], /not those of a result/],
  ['mean', 'axes', [3], /no axis 3/],
  ['half', 'scales', [0.01, 0.01], /nothing remains/],
];

test.each(MISFITS)('%s: %s %j is told before anything runs', (id, field, value, problem) => {
  const graph = parseGraph(
    changed((json) => {
      nodeOf(json, id)[field] = value;
    }),
  );
  expect(() => inferShapes(graph, input.shape, tensors)).toThrow(problem);
  expect(() => inferShapes(graph, input.shape, tensors)).toThrow(
    expect.objectContaining({ code: 'ERR_REPFUSE_GRAPH' }),
  );
});

test('a stride that would make too much of a weight is refused, by the engine too', async () => {
  const graph = parseGraph({
    input: 'x',
    output: 'up',
    nodes: [{ ...nodeOf(tensorGraph(), 'up'), stride: [1e5, 1e5] }],
  });
  const pixel = tensor(1, 4, 1, 1);
  expect(() => evaluate(graph, tensors, pixel)).toThrow(/Node up .*would hold/);
  await expect(Engine.create({ graph, tensors })).rejects.toMatchObject({ code: 'ERR_REPFUSE_GRAPH' });
});

test('any value put in place of any other gives a result or a coded refusal, eagerly and in the engine', async () => {
  const values = [undefined, null, -1, 0, 1, 2, 7, 1.5, 'x', 'up', [], [0], [1, 1], [0, 0, 1, 1], [2, -1], true, {}];
  const places = tensorGraph().nodes.flatMap((node: Json) =>
    Object.keys(node).map((field) => [node.id, field] as const),
  );
  for (const [id, field] of places) {
    for (const value of values) {
      const json = changed((graph) => {
        nodeOf(graph, id)[field] = value;
      });
      try {
        const graph = parseGraph(json);
        evaluate(graph, tensors, input);
        using engine = await Engine.create({ graph, tensors });
        engine.runSync(input);
      } catch (error) {
        if (!(error instanceof RepfuseError))
          throw new Error(`${id}.${field} = ${JSON.stringify(value)}`, { cause: error });
      }
    }
  }
});
