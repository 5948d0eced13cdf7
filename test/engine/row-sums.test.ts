import { Engine } from '../../lib/engine';
import type { Graph, GraphNode } from '../../lib/graph';
import { Tensor } from '../../lib/tensor/tensor';
import { imageOf, pixelOf } from '../support/float64-image';
import { Float64Net } from '../support/float64-net';
import { availableIsas, withIsa } from '../support/isa';
import { Random } from '../support/random';

// Global averages of maps whose sums are taken as the rows are made, by every step that does: beside the float64 average of the same map.

const random = new Random(19);
const tensor = (...shape: number[]) => Tensor.f32(shape, random.floats(shape.reduce((a, b) => a * b, 1)));

class Net extends Float64Net {
  readonly pooled: [map: string, pool: string][] = [];

  constructor(height: number, width: number) {
    super(tensor(2, 24, height, width), random);
  }

  silu(input: string): string {
    const { shape, data } = this.value(input);
    return this.push({ op: 'silu', inputs: [input] }, { shape, data: data.map((v) => v / (1 + Math.exp(-v))) });
  }

  pool(input: string): string {
    const x = this.value(input);
    const [n, channels, height, width] = x.shape;
    const made = imageOf([n, channels, 1, 1], (i, c) => {
      let sum = 0;
      for (let y = 0; y < height; y++) for (let z = 0; z < width; z++) sum += pixelOf(x, i, c, y, z);
      return sum / (height * width);
    });
    const id = this.push({ op: 'global_avg_pool', inputs: [input] }, made);
    this.pooled.push([input, id]);
    return id;
  }

  gate(input: string, factors: string): string {
    const [x, f] = [this.value(input), this.value(factors)];
    const made = imageOf(x.shape, (i, c, y, z) => pixelOf(x, i, c, y, z) * pixelOf(f, i, c, 0, 0));
    return this.push({ op: 'binary', function: 'mul', inputs: [input, factors] }, made);
  }
}

/** A map for each step that makes one: dense convolutions, depthwise ones, and steps of several. */
function everyStep(height: number, width: number): Net {
  const net = new Net(height, width);
  const start = net.silu(net.conv('x', 65));
  net.pool(start);
  net.pool(net.conv(start, 48, 3, { stride: 2 }));
  net.pool(net.conv(start, 130, 1, { groups: 5 }));
  const depthwise = net.silu(net.conv(start, 65, 3, { groups: 65 }));
  const factors = net.conv(net.pool(depthwise), 65);
  net.pool(net.conv(net.gate(depthwise, factors), 33, 1, { gain: 1 }));
  net.pool(net.silu(net.conv(net.conv(start, 65, 5, { groups: 65, stride: 2 }), 40, 1, { gain: 1 })));
  const wide = net.silu(net.conv(net.conv(start, 160, 1, { gain: 1 }), 160, 3, { groups: 160, gain: 1 }));
  net.pool(wide);
  const inner = net.silu(net.conv(net.conv(start, 160, 1, { gain: 1 }), 160, 3, { groups: 160, stride: 2, gain: 1 }));
  net.pool(net.add(net.conv(inner, 24, 1, { gain: 1 }), net.conv('x', 24, 1, { stride: 2 })));
  return net;
}

const SIZES = [
  [1, 1],
  [1, 9],
  [7, 7],
  [13, 5],
  [20, 37],
  [3, 150],
] as const;

/** Sums of few pixels are of float32: beside the average size of what they are of. */
function check(net: Net, outputs: ReadonlyMap<string, Tensor>): void {
  for (const [map, pool] of net.pooled) {
    const [x, means] = [outputs.get(map)!, outputs.get(pool)!.data as Float32Array];
    const pixels = x.shape[2]! * x.shape[3]!;
    for (const [i, mean] of means.entries()) {
      const own = (x.data as Float32Array).subarray(i * pixels, (i + 1) * pixels);
      const [sum, size] = own.reduce(([s, m], v) => [s + v, m + Math.abs(v)], [0, 0]) as [number, number];
      expect(Math.abs(mean - sum / pixels)).toBeLessThanOrEqual((2.4e-7 * size) / pixels);
    }
  }
}

describe.each(availableIsas())('%s', (isa) => {
  test.each(SIZES)('%i x %i', async (height, width) => {
    const net = everyStep(height, width);
    const ids = net.pooled.flat();
    const graph = { input: 'x', output: ids[0], outputs: ids, inputShape: [24, height, width], nodes: net.nodes };
    const model = { graph: graph as unknown as Graph, tensors: net.tensors };
    await withIsa(isa, async () => {
      let first: ReadonlyMap<string, Tensor> | undefined;
      for (const threads of [1, 2, 5]) {
        await using engine = await Engine.create(model, { threads });
        const outputs = await engine.runAll({ x: net.x });
        check(net, outputs);
        const steps = engine.explain(net.x.shape);
        const kernels = net.pooled.map(([, pool]) => steps.find(({ layer }) => layer === pool)!.kernel);
        // Maps of one pixel are vectors where nobody reads their border.
        expect(new Set(kernels)).toEqual(
          new Set(['global average pool of sums', ...(width === 1 ? ['global average pool'] : [])]),
        );
        first ??= outputs;
        if (threads > 1) for (const id of ids) expect(outputs.get(id)!.data).toEqual(first.get(id)!.data);
      }
      await using fast = await Engine.create(model, { precision: 'fast', threads: 2 });
      check(net, await fast.runAll({ x: net.x }));
    });
  });

  test('numbers whose sum is none, infinities and NaN', async () => {
    await withIsa(isa, async () => {
      const [channels, height, width] = [20, 6, 11];
      const pixels = height * width;
      const tensors = new Map([['w', Tensor.f32([channels, 1, 1, 1], new Float32Array(channels).fill(1))]]);
      const geometry = { stride: [1, 1], padding: [0, 0], dilation: [1, 1], groups: channels } as const;
      const nodes: GraphNode[] = [
        { id: 'y', op: 'conv2d', inputs: ['x'], weight: 'w', bias: null, ...geometry },
        { id: 'r', op: 'silu', inputs: ['y'] },
        { id: 'pool', op: 'global_avg_pool', inputs: ['r'] },
      ];
      const graph: Graph = { input: 'x', output: 'pool', outputs: ['pool', 'r'], nodes };
      const data = random.floats(channels * pixels).map(Math.abs);
      data.fill(3e38, 0, pixels);
      data[pixels + 5] = Number.NaN;
      data[3 * pixels + 7] = Number.POSITIVE_INFINITY;
      const x = Tensor.f32([1, channels, height, width], data);
      await using engine = await Engine.create({ graph, tensors });
      const means = (await engine.runAll({ x })).get('pool')!.data as Float32Array;
      expect(Math.abs(means[0]! / 3e38 - 1)).toBeLessThan(1e-6);
      expect(means[1]).toBeNaN();
      expect(means[3]).toBe(Number.POSITIVE_INFINITY);
      for (const channel of [2, 4, 19]) expect(Number.isFinite(means[channel])).toBe(true);
      expect(engine.explain(x.shape).map(({ kernel }) => kernel)).toContain('global average pool of sums');
    });
  });
});
