import { Engine } from '../../lib/engine';
import { OPERATORS } from '../../lib/graph/operators';
import { evaluate, evaluateAsync, inferShapes, parseGraph } from '../../lib/graph/public';
import { Tensor } from '../../lib/tensor/tensor';

/** An addition that ends with the first row of -1, as a list of what was found does. */
const found = OPERATORS.binary as { dataAxis?: (node: never) => number | undefined };
beforeAll(() => {
  found.dataAxis = () => 0;
});
afterAll(() => {
  found.dataAxis = undefined as never;
});

const GRAPH = parseGraph({
  input: 'rows',
  inputs: [{ id: 'rows', shape: ['N', 2] }],
  output: 'turned',
  outputs: ['turned', 'list', 'whole'],
  nodes: [
    { id: 'whole', op: 'relu', inputs: ['rows'] },
    { id: 'list', op: 'binary', function: 'add', inputs: ['rows'], constant: 'zero' },
    { id: 'positive', op: 'relu', inputs: ['list'] },
    { id: 'joined', op: 'concat', inputs: ['positive', 'rows'], axis: 0 },
    { id: 'turned', op: 'transpose', inputs: ['joined'], perm: [1, 0] },
  ],
});
const TENSORS = new Map([['zero', Tensor.f32([], [0])]]);

test.each([0, 1, 3])('%i found: what is behind has the size that came out', async (count) => {
  const rows = [...[5, 6, -7, 8, 9, 10].slice(0, 2 * count), ...new Array(2 * (3 - count)).fill(-1)];
  const input = Tensor.f32([3, 2], rows);
  const positive = rows.slice(0, 2 * count).map((each) => Math.max(each, 0));
  const joined = [...positive, ...rows];
  const turned = [0, 1].flatMap((column) => joined.filter((_, i) => i % 2 === column));
  await using engine = await Engine.create({ graph: GRAPH, tensors: TENSORS });
  expect(engine.outputs.map(({ shape }) => shape)).toEqual([null, [null, 2], ['N', 2]]);
  const all = await engine.runAll(input);
  expect([...all].map(([id, { shape, data }]) => [id, shape, [...data]])).toEqual([
    ['turned', [2, count + 3], turned],
    ['list', [count, 2], rows.slice(0, 2 * count)],
    ['whole', [3, 2], rows.map((each) => Math.max(each, 0))],
  ]);
  for (const each of [
    engine.runSync(input),
    evaluate(GRAPH, TENSORS, input),
    await evaluateAsync(GRAPH, TENSORS, input),
  ])
    expect([each.shape, [...(each.data as Float32Array)]]).toEqual([[2, count + 3], turned]);
  expect(() => engine.outputShape([3, 2])).toThrow(expect.objectContaining({ code: 'ERR_REPFUSE_SHAPE' }));
  expect(inferShapes(GRAPH, [3, 2], TENSORS).has('turned')).toBe(false);
});
