import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { readCheckpoint } from '../../lib/checkpoint/read-checkpoint';
import { convert } from '../../lib/convert';
import { Engine, measurePrecision, PRECISION_BOUNDS, PRECISIONS, readModel } from '../../lib/engine';
import type { Graph, Model } from '../../lib/graph';
import { info } from '../../lib/native/info';
import { toFloat32 } from '../../lib/tensor/half';
import { Tensor } from '../../lib/tensor/tensor';
import { FIXTURES, fixturePath } from '../support/fixtures';
import { availableIsas, withIsa } from '../support/isa';
import { Random } from '../support/random';
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
      for (const precision of PRECISIONS) {
        expect(measures[precision].error).toBeLessThanOrEqual(BOUNDS[precision]);
        expect(measures[precision].errorOfMagnitudes).toBeLessThanOrEqual(measures[precision].error);
      }
    for (const precision of PRECISIONS) {
      expect(report.network[precision].seconds).toBeGreaterThan(0);
      expect(report.network[precision].error).toBeLessThan(3 * BOUNDS[precision]);
    }
  });

  test('of several inputs, by their names', async () => {
    const file = (name: string) => join(FIXTURES, 'inputs', name);
    const { tensors: inputs } = await readCheckpoint(file('im_shape.inputs.npz'));
    const report = await measurePrecision(await readModel(file('im_shape.onnx')), inputs, {
      runs: 1,
      threads: 1,
    });
    expect(report.inputs).toEqual(Object.fromEntries([...inputs].map(([name, { shape }]) => [name, shape])));
    expect(report.network.f32.error).toBeLessThan(BOUNDS.f32);
    expect(report.layers).not.toHaveLength(0);
  });

  // No float32 sum keeps a bound of the peak where large terms cancel; of the terms it does.
  test.each([
    { shift: 10, sign: 1, huge: 1 },
    { shift: 1e3, sign: -1, huge: 1 },
    { shift: 1e5, sign: 1, huge: 1 },
    { shift: 0, sign: 1, huge: 1e5 },
  ])(
    'cancelling: kernels of sum 0 in a layer that is Winograd by itself, a common $shift (every other channel times $sign), a channel times $huge',
    async ({ shift, sign, huge }) => {
      const { model, input, want, magnitudes } = cancelling(shift, sign, huge);
      const { layers } = await measurePrecision(model, input, { runs: 1, threads: 1 });
      const { measures } = layers.find(({ layer }) => layer === 'wide')!;
      if (info().isa !== 'scalar') expect(measures.f32.kernel).toMatch(/^winograd F\(4/);
      for (const precision of PRECISIONS)
        expect(measures[precision].errorOfMagnitudes).toBeLessThanOrEqual(PRECISION_BOUNDS[precision]);
      if (huge === 1) expect(measures.f32.errorOfMagnitudes).toBeLessThanOrEqual(2.5e-7);
      // What the measure says is so, by sums that share nothing with it.
      for (const algorithm of ['auto', 'direct', 'winograd2', 'winograd4x2', 'winograd4'] as const) {
        using engine = await Engine.create({ ...model, graph: { ...model.graph, output: 'wide' } }, { algorithm });
        const got = floats(engine.runSync(input));
        const error = want.reduce((most, value, i) => Math.max(most, Math.abs(got[i * STRIDE]! - value)), 0);
        expect(error / magnitudes).toBeLessThanOrEqual(huge === 1 ? 2.5e-7 : PRECISION_BOUNDS.f32);
      }
    },
  );
});

const [CHANNELS, SIZE, STRIDE] = [256, 12, 97];

/** A wide layer in a network whose other weights leave its Winograd weights room, an input for it, and every STRIDE-th result in float64. */
function cancelling(shift: number, sign: number, huge: number) {
  const random = new Random(5);
  const kernels = random.floats(64 * CHANNELS * 9);
  for (let at = 0; at < kernels.length; at += 9) {
    const mean = kernels.subarray(at, at + 9).reduce((sum, w) => sum + w / 9, 0);
    for (let i = at; i < at + 9; i++) kernels[i]! -= mean;
  }
  const pixels = random.floats(CHANNELS * SIZE * SIZE).map((value, i) => {
    const channel = Math.floor(i / SIZE / SIZE);
    return (shift + value) * (channel % 2 === 0 ? 1 : sign) * (channel === 100 ? huge : 1);
  });
  const conv = (id: string, input: string, size: number) => ({
    ...{ id, op: 'conv2d' as const, inputs: [input], weight: id, bias: null, groups: 1 },
    ...{ stride: [1, 1] as const, padding: [size >> 1, size >> 1] as const, dilation: [1, 1] as const },
  });
  const nodes = [
    conv('wide', 'x', 3),
    { id: 'mean', op: 'global_avg_pool', inputs: ['wide'] },
    { id: 'flat', op: 'flatten', inputs: ['mean'] },
    { id: 'y', op: 'linear', inputs: ['flat'], weight: 'classes', bias: null },
  ];
  const tensors = new Map([
    ['wide', Tensor.f32([64, CHANNELS, 3, 3], kernels)],
    ['classes', Tensor.f32([4096, 64], random.floats(4096 * 64))],
  ]);
  const model: Model = { graph: { input: 'x', output: 'y', nodes } as Graph, tensors };
  const sum = (index: number, term: (product: number) => number) => {
    const [o, y, x] = [Math.floor(index / SIZE / SIZE), Math.floor(index / SIZE) % SIZE, index % SIZE];
    let total = 0;
    for (let c = 0; c < CHANNELS; c++) {
      for (let tap = 0; tap < 9; tap++) {
        const [row, column] = [y + Math.floor(tap / 3) - 1, x + (tap % 3) - 1];
        if (row < 0 || column < 0 || row >= SIZE || column >= SIZE) continue;
        total += term(kernels[(o * CHANNELS + c) * 9 + tap]! * pixels[(c * SIZE + row) * SIZE + column]!);
      }
    }
    return total;
  };
  const places = Array.from({ length: Math.ceil((64 * SIZE * SIZE) / STRIDE) }, (_, i) => i * STRIDE);
  return {
    ...{ model, input: Tensor.f32([1, CHANNELS, SIZE, SIZE], pixels) },
    want: places.map((index) => sum(index, (product) => product)),
    magnitudes: Math.max(...places.map((index) => sum(index, Math.abs))),
  };
}
