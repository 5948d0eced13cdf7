import { Engine } from '../../lib/engine';
import type { Graph, GraphNode } from '../../lib/graph';
import { Tensor } from '../../lib/tensor/tensor';
import { availableIsas, withIsa } from '../support/isa';
import { Random } from '../support/random';

// A channel shuffle, written as reshapes and a transposition, and slices of it stay in the layout of images.

const random = new Random(31);
const [BATCH, HEIGHT, WIDTH] = [2, 5, 7];
const PIXELS = HEIGHT * WIDTH;

interface Case {
  readonly channels: number;
  readonly groups: number;
  /** Rows and columns as one axis while the groups are turned. */
  readonly flat?: boolean;
  /** Slices of it, from and to. */
  readonly parts?: readonly (readonly [number, number])[];
  readonly steps?: number;
}

function net({ channels, groups, flat = false, parts = [], steps = 1 }: Case): Graph {
  const pixels = flat ? [PIXELS] : [HEIGHT, WIDTH];
  const nodes = [
    { id: 'y', op: 'relu', inputs: ['x'] },
    { id: 'grouped', op: 'reshape', inputs: ['y'], shape: [-1, groups, channels / groups, ...pixels] },
    { id: 'turned', op: 'transpose', inputs: ['grouped'], perm: flat ? [0, 2, 1, 3] : [0, 2, 1, 3, 4] },
    { id: 'shuffled', op: 'reshape', inputs: ['turned'], shape: [-1, channels, HEIGHT, WIDTH] },
    ...parts.map(([first, end], i) => ({
      ...{ id: `part${i}`, op: 'slice', inputs: ['shuffled'], starts: [0, first, 0, 0] },
      ...{ ends: [99, end, 99, 99], steps: [1, steps, 1, 1] },
    })),
  ] as GraphNode[];
  const ends = parts.length === 0 ? ['shuffled'] : parts.map((_, i) => `part${i}`);
  const pooled = ends.map((id) => ({ id: `${id}.r`, op: 'relu', inputs: [id] }) as GraphNode);
  const outputs = pooled.map(({ id }) => id);
  return {
    ...{ input: 'x', inputShape: [channels, HEIGHT, WIDTH], output: outputs[0]!, outputs },
    nodes: [...nodes, ...pooled],
  };
}

const CASES: Readonly<Record<string, Case>> = {
  'of two groups': { channels: 32, groups: 2 },
  'of three groups, off blocks': { channels: 51, groups: 3 },
  'of many groups': { channels: 120, groups: 12 },
  'halves of it': {
    channels: 116,
    groups: 2,
    parts: [
      [0, 58],
      [58, 116],
    ],
  },
  'rows and columns as one axis': { channels: 24, groups: 4, flat: true, parts: [[5, 24]] },
  'every other channel of it': { channels: 48, groups: 2, parts: [[0, 48]], steps: 2 },
};

describe.each(availableIsas())('%s', (isa) => {
  test.each(Object.entries(CASES))('%s', async (_, given) => {
    const { channels, groups, parts = [[0, channels]], steps = 1 } = given;
    const graph = net(given);
    const x = Tensor.f32([BATCH, channels, HEIGHT, WIDTH], random.floats(BATCH * channels * PIXELS));
    await withIsa(isa, async () => {
      using engine = await Engine.create({ graph, tensors: new Map() });
      const got = await engine.runAll(x);
      parts.forEach(([first, end], i) => {
        const want: number[] = [];
        for (let n = 0; n < BATCH; n++)
          for (let made = first; made < end; made += steps)
            for (let pixel = 0; pixel < PIXELS; pixel++) {
              const channel = (made % groups) * (channels / groups) + Math.floor(made / groups);
              want.push(Math.max(0, (x.data as Float32Array)[(n * channels + channel) * PIXELS + pixel]!));
            }
        expect([...(got.get(graph.outputs![i]!)!.data as Float32Array)]).toEqual(want);
      });
      const kernels = engine.explain().map(({ kernel }) => kernel);
      expect(kernels).toContain('select channels');
      expect(kernels).not.toContain('transpose');
    });
  });
});

test('what is turned otherwise is left as it is', async () => {
  const graph = net({ channels: 32, groups: 2 });
  const nodes = graph.nodes.map((node) =>
    node.id === 'shuffled' ? ({ ...node, shape: [-1, 32, WIDTH, HEIGHT] } as GraphNode) : node,
  );
  using engine = await Engine.create({ graph: { ...graph, nodes }, tensors: new Map() });
  expect(engine.explain().map(({ kernel }) => kernel)).toContain('transpose');
});
