import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Engine } from '../../lib/engine';
import { evaluate, exportOnnx, type Graph, type GraphNode, readOnnxModel } from '../../lib/graph';
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

/** Halves that are joined, shuffled and parted again, of images of so many channels. */
function joined(counts: readonly number[], by: 'shuffle' | 'strides', readTwice = false) {
  const channels = counts.reduce((sum, count) => sum + count, 0);
  const names = counts.map((_, i) => `y${i}`);
  const first = counts.map((_, i) => counts.slice(0, i).reduce((sum, count) => sum + count, 0));
  const whole = { starts: [0, 0, 0, 0], ends: [9, channels, 99, 99], steps: [1, 1, 1, 1] };
  const slice = (id: string, of: string, fields: object) => ({ id, op: 'slice', inputs: [of], ...whole, ...fields });
  const parts = names.map((id, i) =>
    slice(id, 'x', { starts: [0, first[i], 0, 0], ends: [9, first[i]! + counts[i]!, 99, 99] }),
  );
  const shuffle = [
    { id: 'grouped', op: 'reshape', inputs: ['joined'], shape: [-1, 2, channels / 2, HEIGHT, WIDTH] },
    { id: 'turned', op: 'transpose', inputs: ['grouped'], perm: [0, 2, 1, 3, 4] },
    { id: 'shuffled', op: 'reshape', inputs: ['turned'], shape: [-1, channels, HEIGHT, WIDTH] },
    slice('left', 'shuffled', { ends: [9, channels / 2, 99, 99] }),
    slice('right', 'shuffled', { starts: [0, channels / 2, 0, 0] }),
  ];
  const strides = ['left', 'right'].map((id, i) => slice(id, 'joined', { starts: [0, i, 0, 0], steps: [1, 2, 1, 1] }));
  const nodes = [
    ...parts.flatMap((part) => [
      { ...part, id: `${part.id}.part` },
      { id: part.id, op: 'relu', inputs: [`${part.id}.part`] },
    ]),
    { id: 'joined', op: 'concat', inputs: names, axis: 1 },
    ...(by === 'shuffle' ? shuffle : strides),
    ...(readTwice ? [{ id: 'other', op: 'relu', inputs: ['joined'] }] : []),
    ...['left', 'right'].map((id) => ({ id: `${id}.r`, op: 'relu', inputs: [id] })),
  ] as GraphNode[];
  const outputs = ['left.r', 'right.r', ...(readTwice ? ['other'] : [])];
  const graph: Graph = { input: 'x', inputShape: [channels, HEIGHT, WIDTH], output: 'left.r', outputs, nodes };
  // The channels of each half, as the shuffle and the strides alike have them.
  const half = channels / 2;
  const order = Array.from({ length: channels }, (_, made) => (made % 2) * half + (made >> 1));
  const ofHalves =
    by === 'shuffle'
      ? [order.slice(0, half), order.slice(half)]
      : [0, 1].map((start) => Array.from({ length: half }, (_, i) => start + 2 * i));
  return { graph, channels, ofHalves };
}

describe.each(availableIsas())('%s, of a concatenation', (isa) => {
  test.each([
    [[58, 58], 'shuffle'],
    [[24, 24], 'strides'],
    [[5, 32, 13], 'shuffle'],
    [[1, 40, 3, 2], 'strides'],
  ] as const)('of %j channels, by %s', async (counts, by) => {
    const { graph, channels, ofHalves } = joined(counts, by);
    const x = Tensor.f32([BATCH, channels, HEIGHT, WIDTH], random.floats(BATCH * channels * PIXELS));
    await withIsa(isa, async () => {
      using engine = await Engine.create({ graph, tensors: new Map() });
      const got = await engine.runAll(x);
      ['left.r', 'right.r'].forEach((id, i) => {
        const want = Array.from({ length: BATCH }, (_, n) =>
          ofHalves[i]!.flatMap((channel) => {
            const at = (n * channels + channel) * PIXELS;
            return Array.from((x.data as Float32Array).subarray(at, at + PIXELS), (value) => Math.max(0, value));
          }),
        ).flat();
        expect([...(got.get(id)!.data as Float32Array)]).toEqual(want);
      });
      const kernels = engine.explain().map(({ kernel }) => kernel);
      expect(kernels.filter((kernel) => kernel === 'select channels')).toHaveLength(2);
      expect(kernels.filter((kernel) => /concat|transpose/.test(kernel))).toEqual([]);
    });
  });
});

test('a concatenation that something else reads is made', async () => {
  const { graph } = joined([58, 58], 'shuffle', true);
  using engine = await Engine.create({ graph, tensors: new Map() });
  expect(engine.explain().map(({ kernel }) => kernel)).toContain('concat');
});

test('selected of several images: eagerly, in the engine, and in the engine from ONNX', async () => {
  const graph = {
    input: 'a',
    inputs: ['a', 'b'].map((id, i) => ({ id, shape: [1, 2 + i, 1, 2] })),
    nodes: [{ id: 'y', op: 'select_channels', inputs: ['a', 'b'], channels: [4, 0, 2, 3] }],
    output: 'y',
  } as unknown as Graph;
  const input = { a: Tensor.f32([1, 2, 1, 2], [0, 1, 2, 3]), b: Tensor.f32([1, 3, 1, 2], [4, 5, 6, 7, 8, 9]) };
  const want = [8, 9, 0, 1, 4, 5, 6, 7];
  const tensors = new Map<string, Tensor>();
  expect([...(evaluate(graph, tensors, input).data as Float32Array)]).toEqual(want);
  const folder = mkdtempSync(join(tmpdir(), 'repfuse-'));
  try {
    await exportOnnx(join(folder, 'net.onnx'), { graph, tensors });
    for (const model of [{ graph, tensors }, await readOnnxModel(join(folder, 'net.onnx'))]) {
      using engine = await Engine.create(model);
      expect([...((await engine.run(input)).data as Float32Array)]).toEqual(want);
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
});
