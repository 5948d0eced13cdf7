import { Engine } from '../../lib/engine';
import type { Graph } from '../../lib/graph';
import { Tensor } from '../../lib/tensor/tensor';
import { peakError } from '../support/compare';
import { type Float64Image, imageOf, pixelOf } from '../support/float64-image';
import { Float64Net } from '../support/float64-net';
import { availableIsas, withIsa } from '../support/isa';
import { Random } from '../support/random';

// Sums of resized maps (feature pyramids), which are made in one step where nobody else reads the resized one.

const random = new Random(23);
const tensor = (...shape: number[]) => Tensor.f32(shape, random.floats(shape.reduce((a, b) => a * b, 1)));

class Net extends Float64Net {
  private step(node: object, of: (value: number) => number, input: string): string {
    const { shape, data } = this.value(input);
    return this.push({ ...node, inputs: [input] }, { shape, data: data.map(of) });
  }

  relu(input: string): string {
    return this.step({ op: 'relu' }, (v) => Math.max(v, 0), input);
  }

  /** The nearest pixel before, or all four around by their distance. */
  twice(input: string, mode: 'nearest' | 'linear'): string {
    const x = this.value(input);
    const [n, channels, height, width] = x.shape;
    const clamped = (at: number, size: number) => Math.min(Math.max(at, 0), size - 1);
    const made = imageOf([n, channels, 2 * height, 2 * width], (i, c, y, z) => {
      const pixel = (v: number, u: number) => pixelOf(x, i, c, clamped(v, height), clamped(u, width));
      if (mode === 'nearest') return pixel(y >> 1, z >> 1);
      const [down, across] = [(y + 0.5) / 2 - 0.5, (z + 0.5) / 2 - 0.5];
      const [top, left] = [Math.floor(down), Math.floor(across)];
      const [v, u] = [down - top, across - left];
      const row = (at: number) => (1 - u) * pixel(at, left) + u * pixel(at, left + 1);
      return (1 - v) * row(top) + v * row(top + 1);
    });
    const coordinates = mode === 'nearest' ? 'asymmetric' : 'half_pixel';
    const options = {
      mode,
      coordinates,
      nearest: 'floor',
      aspect: 'stretch',
      exclude_outside: false,
      antialias: false,
    };
    const numbers = { cubic_a: -0.75, extrapolation: 0, scales: [2, 2], sizes: [0, 0], crop: [0, 0, 1, 1] };
    return this.push({ op: 'resize', inputs: [input], ...options, ...numbers }, made);
  }

  /** Of sizes that nobody has compared, as models of open sizes have it. */
  addAny(first: string, second: string): string {
    const [a, b] = [this.value(first), this.value(second)];
    const sum: Float64Image = { shape: a.shape, data: a.data.map((v, i) => v + b.data[i]!) };
    return this.push({ op: 'binary', function: 'add', inputs: [first, second] }, sum);
  }
}

describe.each(availableIsas())('%s', (isa) => {
  test.each([
    [3, 5, 65],
    [1, 1, 16],
    [8, 20, 40],
  ])('maps of %i x %i, %i channels', async (height, width, channels) => {
    const net = new Net(tensor(2, 8, height, width), random);
    const x = (out = channels) => net.conv('x', out);
    const wide = net.relu(net.twice(x(), 'linear'));
    const kept = net.twice(x(), 'nearest');
    const outputs = [
      net.relu(net.add(net.twice(x(), 'nearest'), wide)),
      net.conv(net.addAny(wide, net.twice(x(), 'linear')), 12, 3, { gain: 1 }),
      net.add(kept, net.addAny(kept, wide)),
      net.addAny(wide, net.twice(net.relu(x()), 'nearest')),
      kept,
    ];
    const graph = { input: 'x', output: outputs[0], outputs, nodes: net.nodes } as unknown as Graph;
    await withIsa(isa, async () => {
      for (const threads of [1, 3]) {
        await using engine = await Engine.create({ graph, tensors: net.tensors }, { threads });
        const got = await engine.runAll({ x: net.x });
        for (const id of outputs)
          expect(peakError(got.get(id)!.data as Float32Array, net.value(id).data)).toBeLessThan(4e-6);
        const kernels = engine.explain(net.x.shape).map(({ kernel }) => kernel);
        expect(kernels.filter((kernel) => kernel === 'resize + add')).toHaveLength(3);
      }
    });
  });

  test('NaN and infinities stay where they are', async () => {
    await withIsa(isa, async () => {
      const net = new Net(tensor(1, 17, 3, 4), random);
      const sum = net.add(net.twice('x', 'nearest'), net.twice('x', 'nearest'));
      const graph = { input: 'x', output: sum, inputShape: [17, 3, 4], nodes: net.nodes } as unknown as Graph;
      const data = Float32Array.from(net.x.data as Float32Array);
      data[5] = Number.NaN;
      data[16 * 12 + 3] = Number.POSITIVE_INFINITY;
      await using engine = await Engine.create({ graph, tensors: net.tensors });
      const { data: got } = await engine.run(Tensor.f32([1, 17, 3, 4], data));
      const want = imageOf([1, 17, 6, 8], (_, c, y, z) => 2 * data[(c * 3 + (y >> 1)) * 4 + (z >> 1)]!);
      expect(Array.from(got as Float32Array)).toEqual(Array.from(want.data, Math.fround));
    });
  });
});
