import { parseGraph } from '../../lib/graph';
import { graphMetadata, parseGraphText, readGraphMetadata } from '../../lib/graph/model-file';
import { type Json, nodeOf, refusalOf, tinyGraph } from './tiny-graph';

/** `json` must be refused by a readable error that names each of the parts. */
function expectRefusal(json: unknown, ...parts: string[]): void {
  const { code, message } = refusalOf(() => parseGraph(json));
  expect({ code, message }).toEqual({ code: 'ERR_REPFUSE_GRAPH', message: expect.stringContaining('Expected') });
  for (const part of parts) expect(message).toContain(part);
  expect(message.length).toBeLessThan(2000);
}

/** The tiny graph with one change. */
function changed(change: (graph: Json) => void): Json {
  const graph = tinyGraph();
  change(graph);
  return graph;
}

test('a valid graph is taken as it is, through metadata too', () => {
  expect(parseGraph(tinyGraph())).toEqual(tinyGraph());
  expect(readGraphMetadata(graphMetadata(parseGraph(tinyGraph())))).toEqual(tinyGraph());
  expect(readGraphMetadata({ format: 'pt' })).toBeUndefined();
});

test('inputs of any rank and types at the edge are taken as they are', () => {
  const inputs = [
    { id: 'x', shape: ['N', 4, 6, 6] },
    { id: 'ids', shape: ['N', 'L'], type: 'I64' },
    { id: 'scale', shape: [], type: 'F16' },
  ];
  const { inputShape, ...graph } = tinyGraph();
  const read = parseGraph({ ...graph, inputs, outputTypes: { softmax: 'F16' } });
  expect(read).toEqual({ ...graph, inputs, outputTypes: { softmax: 'F16' } });
  expectRefusal({ ...graph, inputs, inputShape: [4, 6, 6] }, 'nothing where there are inputs for inputShape');
  expectRefusal({ ...graph, inputs, output: 'ids' }, 'the id of a node for output');
});

test('unknown fields are left out', () => {
  const graph = changed((json) => {
    json.extra = 1;
    json.normalization.extra = 1;
    for (const node of json.nodes) node.extra = { deep: [1] };
  });
  expect(parseGraph(graph)).toEqual(tinyGraph());
});

test('text that is no JSON is refused with its source', () => {
  const { code, message } = refusalOf(() => parseGraphText('{"input": ', 'graph.json'));
  expect(code).toBe('ERR_REPFUSE_GRAPH');
  expect(message).toContain('graph.json');
  expect(refusalOf(() => readGraphMetadata({ repfuse: 'x' })).message).toContain('metadata repfuse');
});

test.each([null, undefined, 1, 'graph', true, [], [{}]])('%j is no graph', (json) => {
  expectRefusal(json, 'an object for the graph');
});

const BAD_GRAPHS: [field: string, value: unknown, part: string][] = [
  ['input', undefined, 'for input'],
  ['input', '', 'for input'],
  ['input', ['x'], 'for input'],
  ['input', 'n'.repeat(1001), 'received 1001 characters'],
  ['output', undefined, 'for output'],
  ['output', 'nowhere', 'for output but received "nowhere"'],
  ['output', 'x', 'the id of a node for output'],
  ['output', ['softmax'], 'for output'],
  ['nodes', undefined, 'for nodes'],
  ['nodes', [], '1 to 10000 nodes'],
  ['nodes', { length: 3 }, 'for nodes but received an object'],
  ['nodes', new Array(10_001).fill({}), '10001 items'],
  ['nodes', [null], 'node 0'],
  ['nodes', ['relu'], 'node 0'],
  ['nodes', [[]], 'node 0'],
  ['inputs', {}, '1 to 256 inputs'],
  ['inputs', [], '1 to 256 inputs'],
  ['inputs', new Array(257).fill({ id: 'x', shape: [] }), '257 items'],
  ['inputs', [null], 'an object for input 0'],
  ['inputs', [{ shape: [1] }], 'id of input 0'],
  ['inputs', [{ id: 'x' }], 'shape of input 0'],
  ['inputs', [{ id: 'x', shape: [0] }], 'shape of input 0'],
  ['inputs', [{ id: 'x', shape: new Array(9).fill(1) }], 'shape of input 0'],
  ['inputs', [{ id: 'x', shape: [''] }], 'shape of input 0'],
  ['inputs', [{ id: 'x', shape: ['N + 1'] }], 'shape of input 0'],
  ['inputs', [{ id: 'x', shape: [1], type: 'C64' }], 'type of input 0'],
  ['inputs', [{ id: 'y', shape: [1] }], 'the first of inputs'],
  [
    'inputs',
    [
      { id: 'x', shape: [1] },
      { id: 'x', shape: [2] },
    ],
    'different ids',
  ],
  [
    'inputs',
    [
      { id: 'x', shape: [1] },
      { id: 'conv', shape: [2] },
    ],
    'no node before it has',
  ],
  ['outputTypes', [], 'an object for outputTypes'],
  ['outputTypes', { conv: 'F16' }, 'results alone'],
  ['outputTypes', { softmax: 'F8_E5M2' }, 'outputTypes of softmax'],
  ['inputShape', [1, 4, 6, 6], '3 integers'],
  ['inputShape', [4, 0, 6], 'for inputShape'],
  ['inputShape', [4, 6.5, 6], 'for inputShape'],
  ['inputShape', '466', 'for inputShape'],
  ['inputShape', [4, 6, 2 ** 31], 'for inputShape'],
  ['labels', 'cat', 'for labels'],
  ['labels', ['cat', 1], 'for labels'],
  ['labels', ['n'.repeat(1001)], 'for labels'],
  ['labels', new Array(100_001).fill('n'), 'for labels'],
  ['normalization', 2, 'an object for normalization'],
  ['normalization', [], 'an object for normalization'],
  ['normalization', {}, 'scale of normalization'],
  ['normalization', { scale: 0 }, 'scale of normalization'],
  ['normalization', { scale: '1' }, 'scale of normalization'],
  ['normalization', { scale: Number.POSITIVE_INFINITY }, 'scale of normalization'],
  ['normalization', { scale: 1, mean: 0.5 }, 'mean of normalization'],
  ['normalization', { scale: 1, mean: [null] }, 'mean of normalization'],
  ['normalization', { scale: 1, std: [1, 0] }, 'std of normalization'],
];

test.each(BAD_GRAPHS.map((row) => [inShort(row[1]), ...row] as const))('%s for %s', (_, field, value, part) => {
  expectRefusal(
    changed((graph) => {
      graph[field] = value;
    }),
    part,
  );
});

function inShort(value: unknown): string {
  return String(JSON.stringify(value)).slice(0, 40);
}

/** Values that no field of that kind takes. */
const BAD_NAME = [undefined, null, '', 0, {}, ['a'], 'n'.repeat(1001)];
const BAD_PAIR = [undefined, null, 1, [], [1], [1, 1, 1], ['1', 1], [1.5, 1], [-1, 1], [1, 2 ** 31], [Number.NaN, 1]];
const BAD_POSITIVE_PAIR = [...BAD_PAIR, [0, 1]];
const BAD_GROUPS = [undefined, null, 0, -1, 1.5, '1', [1], 2 ** 31, Number.NaN];
const BAD_BOOLEAN = [undefined, null, 0, 'true'];
const BAD_EPS = [undefined, null, -1e-5, '1e-5', Number.NaN, Number.POSITIVE_INFINITY];

const BAD_FIELDS: Record<string, Record<string, readonly unknown[]>> = {
  conv: {
    weight: BAD_NAME,
    bias: BAD_NAME.filter((value) => value !== null),
    stride: BAD_POSITIVE_PAIR,
    padding: BAD_PAIR,
    dilation: BAD_POSITIVE_PAIR,
    groups: BAD_GROUPS,
  },
  bn: { prefix: BAD_NAME, eps: BAD_EPS, affine: BAD_BOOLEAN },
  identity: { weight: BAD_NAME, groups: BAD_GROUPS },
  pad: { prefix: BAD_NAME, eps: BAD_EPS, affine: BAD_BOOLEAN, pad: [undefined, -1, '1', 0.5, [1], 2 ** 31] },
  crop: { rows: BAD_PAIR, cols: BAD_PAIR },
  average: {
    kernel: BAD_POSITIVE_PAIR,
    stride: BAD_POSITIVE_PAIR,
    padding: BAD_PAIR,
    count_include_pad: BAD_BOOLEAN,
    ceil_mode: [null, 0, 'true'],
  },
  maximum: { kernel: BAD_POSITIVE_PAIR, stride: BAD_POSITIVE_PAIR, padding: BAD_PAIR, ceil_mode: [null, 0, 'true'] },
  se: { reduce: BAD_NAME, expand: BAD_NAME, activation: [undefined, 'silu', null], gate: [undefined, 'relu', 1] },
  linear: { weight: BAD_NAME, bias: BAD_NAME.filter((value) => value !== null) },
};
const badFields = Object.entries(BAD_FIELDS).flatMap(([id, fields]) =>
  Object.entries(fields).map(([field, values]) => [id, field, values] as const),
);

test.each(badFields)('node %s: bad values of %s are refused, node and field named', (id, field, values) => {
  for (const value of values) {
    const graph = changed((json) => {
      nodeOf(json, id)[field] = value;
    });
    expectRefusal(graph, `${field} of node ${id} (${nodeOf(graph, id).op})`);
    expect(refusalOf(() => parseGraph(graph)).details).toMatchObject({ node: id });
  }
});

test('every field of every operator is in the table above', () => {
  const common = ['id', 'op', 'inputs'];
  const fields = tinyGraph().nodes.flatMap((node: Json) =>
    Object.keys(node)
      .filter((field) => !common.includes(field))
      .map((field) => `${node.id}.${field}`),
  );
  const tested = badFields.map(([id, field]) => `${id}.${field}`);
  expect(fields.filter((field: string) => !tested.includes(field))).toEqual([]);
});

test('an id that is no name, or taken, is refused', () => {
  for (const id of [undefined, null, '', 1, {}, 'x', 'conv', 'n'.repeat(1001)]) {
    expectRefusal(
      changed((graph) => {
        graph.nodes[3].id = id;
      }),
      'id of node 3',
    );
  }
});

test.each([undefined, null, 1, 'conv3d', 'CONV2D', 'constructor', '__proto__', 'hasOwnProperty', ['relu']])(
  'op %j is refused',
  (op) => {
    expectRefusal(
      changed((graph) => {
        nodeOf(graph, 'relu').op = op;
      }),
      'op of node relu',
      'conv2d',
    );
  },
);

test.each<[string, unknown]>([
  ['none', undefined],
  ['null', null],
  ['a string', 'bn'],
  ['an empty list', []],
  ['one too many', ['bn', 'bn']],
  ['a number', [1]],
  ['an unknown id', ['nowhere']],
  ['a name of Object.prototype', ['toString']],
  ['itself', ['relu']],
  ['a node that comes later', ['add']],
  ['a nested list', [['bn']]],
])('inputs: %s', (_, inputs) => {
  expectRefusal(
    changed((graph) => {
      nodeOf(graph, 'relu').inputs = inputs;
    }),
    'inputs of node relu (relu)',
    '1 of the ids before it',
  );
});

test('a cycle is refused at its first node', () => {
  const graph = changed((json) => {
    nodeOf(json, 'bn').inputs = ['identity'];
  });
  expectRefusal(graph, 'inputs of node bn (batch_norm)', '"identity"');
});

test('an addition takes two inputs', () => {
  for (const inputs of [['crop'], ['crop', 'identity', 'relu']]) {
    expectRefusal(
      changed((graph) => {
        nodeOf(graph, 'add').inputs = inputs;
      }),
      'inputs of node add (add)',
    );
  }
});

test('names of Object.prototype are ordinary names', () => {
  const text = `{"input": "__proto__", "output": "constructor", "__proto__": {"nodes": 1},
    "nodes": [{"id": "constructor", "op": "relu", "inputs": ["__proto__"], "__proto__": {"op": "add"}}]}`;
  expect(parseGraphText(text, 'text').nodes).toEqual([{ id: 'constructor', op: 'relu', inputs: ['__proto__'] }]);
  const inherited = `{"input": "x", "output": "y", "nodes": [{"id": "y", "op": "flatten", "inputs": ["x"]}],
    "__proto__": {"inputShape": [1]}}`;
  expect(parseGraphText(inherited, 'text').inputShape).toBeUndefined();
});

test('values nested very deep, or very long, are described in a few words', () => {
  const deep = '['.repeat(200_000) + ']'.repeat(200_000);
  const node = `{"id": "y", "op": "relu", "inputs": ${deep}}`;
  for (const text of [
    `{"input": ${deep}, "output": "y", "nodes": [${node}]}`,
    `{"input": "x", "output": "y", "nodes": [${node}]}`,
    `{"input": "x", "output": "y", "nodes": ${deep}}`,
    `{"input": "x", "output": "${'y'.repeat(1e6)}", "nodes": [{"id": "y", "op": "relu", "inputs": ["x"]}]}`,
    deep,
  ]) {
    const { code, message } = refusalOf(() => parseGraphText(text, 'text'));
    expect(code).toBe('ERR_REPFUSE_GRAPH');
    expect(message.length).toBeLessThan(300);
  }
});

test('a text cut off anywhere is refused', () => {
  const text = JSON.stringify(tinyGraph());
  for (let length = 0; length < text.length; length += 7) {
    expect(refusalOf(() => parseGraphText(text.slice(0, length), 'text')).code).toBe('ERR_REPFUSE_GRAPH');
  }
});

test('any value put in place of any other gives a graph or a coded refusal', () => {
  const values = [undefined, null, 0, -1, 1e9, Number.POSITIVE_INFINITY, 'x', '__proto__', [], {}, [[1]], true];
  const places = (json: Json, path: string[] = []): string[][] =>
    typeof json === 'object' && json !== null
      ? Object.keys(json).flatMap((key) => [[...path, key], ...places(json[key], [...path, key])])
      : [];
  for (const path of places(tinyGraph())) {
    for (const value of values) {
      const graph = tinyGraph();
      const parent = path.slice(0, -1).reduce((json, key) => json[key], graph);
      parent[path.at(-1)!] = value;
      try {
        parseGraph(graph);
      } catch (error) {
        expect([path.join('.'), value, (error as { code?: string }).code]).toEqual([
          path.join('.'),
          value,
          'ERR_REPFUSE_GRAPH',
        ]);
      }
    }
  }
});
