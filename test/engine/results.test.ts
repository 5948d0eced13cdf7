import { Engine } from '../../lib/engine';
import { evaluate } from '../../lib/graph';
import { Tensor } from '../../lib/tensor/tensor';
import { peakError } from '../support/compare';
import { availableIsas, withIsa } from '../support/isa';
import { image, smallNet } from './small-net';

const floats = ({ data }: Tensor) => data as Float32Array;

describe('results', () => {
  test.each(availableIsas())('%s: any batch and size, as the eager operators give them', async (isa) => {
    const model = smallNet();
    await withIsa(isa, async () => {
      using engine = await Engine.create(model);
      for (const [n, h, w] of [
        [1, 1, 1],
        [2, 5, 9],
        [1, 33, 20],
        [3, 16, 16],
        [1, 64, 7],
      ] as const) {
        const input = image(n, h, w);
        const want = evaluate(model.graph, model.tensors, input);
        const got = await engine.run(input);
        expect(got.shape).toEqual(want.shape);
        expect(peakError(floats(got), floats(want))).toBeLessThan(3e-6);
      }
    });
  });

  test('runs at once give what one at a time gives, whatever their shapes', async () => {
    using engine = await Engine.create(smallNet(), { threads: 2 });
    const inputs = Array.from({ length: 24 }, (_, i) => image(1 + (i % 2), 10 + (i % 5), 12, i));
    const alone = inputs.map((input) => engine.runSync(input));
    const together = await Promise.all(inputs.map((input) => engine.run(input)));
    expect(together).toEqual(alone);
  });

  test('batchInvariant: an image gives the same bits in any batch', async () => {
    using engine = await Engine.create(smallNet(), { batchInvariant: true });
    const batch = image(5, 14, 14);
    const results = floats(await engine.run(batch));
    for (let i = 0; i < 5; i++) {
      const one = Tensor.f32([1, 3, 14, 14], floats(batch).slice(i * 588, (i + 1) * 588));
      const got = floats(await engine.run(one));
      expect(got).toEqual(results.subarray(i * got.length, (i + 1) * got.length));
    }
  });

  test('NaN and infinity go through', async () => {
    using engine = await Engine.create(smallNet(), { algorithm: 'direct' });
    for (const value of [Number.NaN, Number.POSITIVE_INFINITY]) {
      const input = image(1, 12, 12);
      floats(input)[5 * 12 + 5] = value;
      const got = floats(await engine.run(input));
      expect(got.some((v) => Number.isNaN(v) || Math.abs(v) === Number.POSITIVE_INFINITY)).toBe(true);
      expect(Number.isFinite(got[35])).toBe(true); // the other corner
    }
  });

  test("denormals count as zero in the engine, and the caller's arithmetic stays as it was", async () => {
    const { graph, tensors } = smallNet();
    const tiny = new Map(
      [...tensors].map(([key, { shape }]) => [
        key,
        Tensor.f32(shape, new Float32Array(Tensor.f32(shape).size).fill(1e-20)),
      ]),
    );
    using engine = await Engine.create({ graph, tensors: tiny }, { algorithm: 'direct' });
    const smallest = 2 ** -149;
    const out = engine.runSync(Tensor.f32([1, 3, 8, 8], new Float32Array(192).fill(1e-25)));
    expect(new Set(floats(out))).toEqual(new Set([Math.fround(1e-20)]));
    expect(new Float32Array([smallest * 1])[0]).toBe(smallest);
    expect(Number.MIN_VALUE * 1).toBe(Number.MIN_VALUE);
  });
});
