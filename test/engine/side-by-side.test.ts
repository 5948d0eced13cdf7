import { Engine } from '../../lib/engine';
import type { Graph, GraphNode } from '../../lib/graph';
import { Tensor } from '../../lib/tensor/tensor';
import { peakError } from '../support/compare';
import { availableIsas, withIsa } from '../support/isa';
import { Random } from '../support/random';
import { referenceConv2d } from '../support/reference-conv';

// Convolutions of few channels that read one value by the same window, as detectors' heads have them, run as one.

const random = new Random(23);
const IN = 20;
const X = random.floats(2 * IN * 9 * 7);

interface Head {
  readonly channels: number;
  readonly kernel?: number;
  readonly relu?: boolean;
  readonly depthwise?: boolean;
  readonly bias?: boolean;
}

/** The heads' nodes, and what they give by the definition. */
function net(heads: readonly Head[]) {
  const nodes: GraphNode[] = [];
  const tensors = new Map<string, Tensor>();
  const expected = new Map<string, Float64Array>();
  const conv = (id: string, input: string, shape: readonly number[], groups: number, bias: boolean) => {
    const kernel = shape[2]!;
    tensors.set(`${id}.w`, Tensor.f32(shape, random.floats(shape.reduce((a, b) => a * b, 1))));
    if (bias) tensors.set(`${id}.b`, Tensor.f32([shape[0]!], random.floats(shape[0]!)));
    const padding = (kernel - 1) / 2;
    nodes.push({
      ...{ id, op: 'conv2d', inputs: [input], weight: `${id}.w`, bias: bias ? `${id}.b` : null, groups },
      ...{ stride: [1, 1], padding: [padding, padding], dilation: [1, 1] },
    } as GraphNode);
    const [data, channels] = input === 'x' ? [X, IN] : [expected.get(input)!, shape[0]!];
    const result = referenceConv2d({
      ...{ input: data, inputShape: [2, channels, 9, 7], weight: tensors.get(`${id}.w`)!.data as Float32Array },
      ...{ weightShape: shape, bias: (tensors.get(`${id}.b`)?.data as Float32Array) ?? null, stride: [1, 1], groups },
      ...{ padding: [padding, padding, padding, padding], dilation: [1, 1] },
    } as Parameters<typeof referenceConv2d>[0]);
    expected.set(id, result.data);
    return id;
  };
  const outputs = heads.map(({ channels, kernel = 1, relu = false, depthwise = false, bias = true }, i) => {
    let id = conv(`h${i}`, 'x', [channels, IN, kernel, kernel], 1, bias);
    if (relu) {
      const of = expected.get(id)!.map((value) => Math.max(value, 0));
      nodes.push({ id: `r${i}`, op: 'relu', inputs: [id] } as GraphNode);
      id = `r${i}`;
      expected.set(id, of);
    }
    return depthwise ? conv(`d${i}`, id, [channels, 1, 3, 3], channels, bias) : id;
  });
  // Transposed, so that the algebra has nothing to say of them.
  const ends = outputs.map((id) => {
    nodes.push({ id: `${id} turned`, op: 'transpose', inputs: [id], perm: [0, 1, 3, 2] } as GraphNode);
    return `${id} turned`;
  });
  const graph: Graph = { input: 'x', inputShape: [IN, 9, 7], output: ends[0]!, outputs: ends, nodes };
  return { graph, tensors, expected, outputs };
}

const CASES: Readonly<Record<string, readonly [readonly Head[], isOne: boolean]>> = {
  'boxes, a score and landmarks': [[{ channels: 4 }, { channels: 1 }, { channels: 10 }], true],
  'with depthwise convolutions behind': [
    [1, 4, 1, 10].map((channels) => ({ channels, depthwise: true, relu: true })),
    true,
  ],
  'some without bias': [[{ channels: 3 }, { channels: 5, bias: false }], true],
  'more than a block': [[{ channels: 9 }, { channels: 15 }, { channels: 2 }], true],
  'no fewer blocks': [[{ channels: 9 }, { channels: 15 }], false],
  'other windows': [[{ channels: 4 }, { channels: 4, kernel: 3 }], false],
  'other functions': [[{ channels: 4, relu: true }, { channels: 4 }], true],
};

describe.each(availableIsas())('%s', (isa) => {
  test.each(Object.entries(CASES))('%s', async (_, [heads, isOne]) => {
    const { graph, tensors, expected, outputs } = net(heads);
    await withIsa(isa, async () => {
      using engine = await Engine.create({ graph, tensors });
      const got = await engine.runAll(Tensor.f32([2, IN, 9, 7], X));
      for (const id of outputs) {
        const turned = got.get(`${id} turned`)!;
        const want = Float64Array.from(turned.data as Float32Array, (_, i) => {
          const [y, x, plane] = [i % 9, Math.floor(i / 9) % 7, Math.floor(i / 63)];
          return expected.get(id)![plane * 63 + y * 7 + x]!;
        });
        expect(peakError(turned.data as Float32Array, want)).toBeLessThan(2e-6);
      }
      const slices = engine.explain().filter(({ kernel }) => kernel === 'slice' || kernel === 'view');
      expect(slices).toHaveLength(isOne ? heads.length : 0);
    });
  });
});

test('parallel convolutions that are summed are left to the algebra', async () => {
  const { graph, tensors } = net([{ channels: 4 }, { channels: 4 }]);
  const nodes = [...graph.nodes.slice(0, 2), { id: 's', op: 'add', inputs: ['h0', 'h1'] } as GraphNode];
  using engine = await Engine.create({ graph: { input: 'x', inputShape: [IN, 9, 7], output: 's', nodes }, tensors });
  expect(engine.explain().filter(({ macs }) => (macs ?? 0) > 0)).toHaveLength(1);
});
