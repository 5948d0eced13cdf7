import { readFileSync, statSync } from 'node:fs';
import { convert } from '../../lib/convert';
import { Engine, measurePrecision, PRECISIONS, readModel } from '../../lib/engine';
import { info } from '../../lib/native/info';
import { toFloat32 } from '../../lib/tensor/half';
import { Tensor } from '../../lib/tensor/tensor';
import { fixturePath } from '../support/fixtures';
import { availableIsas, withIsa } from '../support/isa';
import { temporaryFolder } from '../support/temporary';
import { image, smallNet } from './small-net';

const floats = ({ data }: Tensor) => data as Float32Array;
const BOUNDS = { f32: 3e-6, fast: 2e-5, bf16: 1e-2 };
const PRODUCTS = { f32: 'bf16x6', fast: 'bf16x3', bf16: 'bf16 ' };

const { path } = temporaryFolder();

describe('precision', () => {
  test.each(availableIsas())(
    '%s: explain tells the kernels that answer, f32 where there are no products',
    async (isa) => {
      const model = smallNet();
      await withIsa(isa, async () => {
        for (const precision of PRECISIONS) {
          using engine = await Engine.create(model, { precision, algorithm: 'products' });
          const kernels = engine.explain([1, 3, 16, 16]).flatMap(({ kernel, macs }) => (macs > 0 ? [kernel] : []));
          const multiplies = isa === 'amx' || (isa === 'avx512bf16' && precision === 'bf16');
          for (const kernel of kernels)
            expect(kernel.includes(PRODUCTS[precision]) ? kernel : null).toBe(multiplies ? kernel : null);
        }
      });
    },
  );

  test('weights stored as BF16 stay so on the disk, and lie in memory once at that width where the CPU multiplies them', async () => {
    const graph = JSON.parse(readFileSync('examples/digits-acnet.graph.json', 'utf8'));
    const source = fixturePath('trained', 'digits-acnet.pth');
    for (const dtype of ['f32', 'bf16'] as const) await convert(source, path(`${dtype}.safetensors`), { graph, dtype });
    const weights = (file: string) => statSync(path(file)).size;
    expect(weights('bf16.safetensors')).toBeLessThan(0.6 * weights('f32.safetensors'));
    const model = await readModel(path('bf16.safetensors'));
    expect(new Set([...model.tensors.values()].map(({ dtype }) => dtype))).toEqual(new Set(['BF16']));
    const widened = new Map([...model.tensors].map(([key, t]) => [key, Tensor.f32(t.shape, toFloat32(t))]));
    const input = Tensor.f32([1, 1, 8, 8], floats(image(1, 8, 8)).slice(0, 64));
    for (const precision of PRECISIONS) {
      using engine = await Engine.create(model, { precision, algorithm: 'products' });
      using same = await Engine.create({ ...model, tensors: widened }, { precision, algorithm: 'products' });
      expect(floats(engine.runSync(input))).toEqual(floats(same.runSync(input)));
      if (precision !== 'bf16' || !info().kernels.products) continue;
      const dense = engine.explain().filter(({ macs }) => macs > 0);
      expect(engine.memory.sourceWeights).toBe(0);
      const biases = dense.reduce((sum, { output }) => sum + 4 * 16 * Math.ceil(output[1]! / 16), 0);
      const whole = dense.reduce((sum, { weightBytes }) => sum + weightBytes, 0);
      expect(engine.memory.packedWeights).toBe(whole);
      const exact = [...model.tensors.values()].reduce(
        (sum, { shape, size }) => sum + (shape.length > 1 ? 2 * size : 0),
        0,
      );
      expect(whole - biases).toBeLessThan(1.7 * exact); // blocks of 32 by 16 channels hold some zeros
    }
  });
});

describe('measurePrecision', () => {
  test('each layer and the whole within what each precision promises, the worst layer first', async () => {
    const model = smallNet();
    const report = await measurePrecision(model, image(2, 20, 20), { runs: 2, threads: 2 });
    expect(report).toMatchObject({ input: [2, 3, 20, 20], threads: 2 });
    const worst = report.layers.map(({ measures }) => Math.max(...PRECISIONS.map((p) => measures[p].error)));
    expect(worst).toEqual([...worst].sort((a, b) => b - a));
    for (const { measures } of report.layers)
      for (const precision of PRECISIONS) expect(measures[precision].error).toBeLessThanOrEqual(BOUNDS[precision]);
    for (const precision of PRECISIONS) {
      expect(report.network[precision].seconds).toBeGreaterThan(0);
      expect(report.network[precision].error).toBeLessThan(3 * BOUNDS[precision]);
    }
  });
});
