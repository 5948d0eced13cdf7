import { info } from '../../lib';
import { Engine, type EngineMemory } from '../../lib/engine';
import { netFromSeed } from '../../lib/nets';
import { Tensor } from '../../lib/tensor/tensor';
import { withIsa } from '../support/isa';
import { Random } from '../support/random';
import { refusal } from '../support/refusal';
import { image, smallNet } from './small-net';

describe('options', () => {
  test.each([
    [{ thread: 1 }, 'did you mean threads'],
    [{ precision: 'f16' }, 'precision'],
    [{ algorithm: 'fft' }, 'algorithm'],
    [{ plans: 0 }, 'plans'],
    [{ threads: 0 }, 'threads'],
    [{ batchInvariant: 1 }, 'batchInvariant'],
    [{ memory: 'most' }, 'memory'],
    [{ merge: 1 }, 'merge'],
  ])('%j is refused', async (options, message) => {
    const created = Engine.create(smallNet(), options as object);
    expect(await refusal(created)).toMatchObject({
      code: 'ERR_REPFUSE_INVALID_ARGUMENT',
      message: expect.stringContaining(message),
    });
  });

  test('the least memory: packed weights of the size of the weights as they came, and the same results', async () => {
    const { graph, tensors } = netFromSeed('repvgg_a0', { form: 'deploy' });
    const input = image(1, 224, 224);
    const plain = [...tensors.values()].reduce((sum, { bytes }) => sum + bytes, 0);
    const held = ({ packedWeights, sourceWeights }: EngineMemory) => packedWeights + sourceWeights;
    using most = await Engine.create({ graph, tensors });
    using least = await Engine.create({ graph, tensors }, { memory: 'least' });
    const [a, b] = [await most.run(input), await least.run(input)];
    const peak = a.data.reduce((largest, value) => Math.max(largest, Math.abs(value)), 0);
    expect(a.data.every((value, i) => Math.abs(value - b.data[i]!) <= 1e-4 * peak)).toBe(true);
    expect(peak).toBeGreaterThan(0);
    // Channels are filled up to blocks of 16, which is all that is added.
    expect(held(least.memory)).toBeLessThanOrEqual(1.05 * plain);
    expect(held(least.memory)).toBeLessThanOrEqual(held(most.memory));
    expect(least.explain().some(({ kernel }) => kernel.includes('winograd'))).toBe(false);
  });

  test('a graph that does not fit its weights is refused, naming the node', async () => {
    const { graph, tensors } = smallNet();
    const inputShape = [3, 8, 8] as const;
    expect(
      await refusal(Engine.create({ graph: { ...graph, inputShape }, tensors: new Map([...tensors].slice(1)) })),
    ).toMatchObject({
      code: 'ERR_REPFUSE_GRAPH',
      details: { node: 'a' },
    });
    expect(await refusal(Engine.create({ graph, tensors: new Map() }))).toMatchObject({ code: 'ERR_REPFUSE_GRAPH' });
  });

  test('weights that Winograd holds are had back for other kernels, the very same', async () => {
    const { graph, tensors } = smallNet();
    const odd = [0, -0, 1e-40, -3e-39, 1e-7, -1e-3, 1, -1e4, 3e9, 1e20];
    const values = new Random(5).floats(24 * 24 * 9).map((value, i) => (i % 3 === 0 ? value : odd[i % 10]! * value));
    const weight = Tensor.f32([24, 24, 3, 3], values);
    const model = { graph, tensors: new Map([...tensors, ['b.weight', weight]]) };
    for (const isa of info().isasAvailable) {
      await withIsa(isa, async () => {
        using both = await Engine.create(model, { threads: 1 });
        const kernelOf = (size: number) =>
          both.explain([1, 3, size, size]).find(({ layer }) => layer === 'rs' || layer === 'sum')!.kernel;
        const [large, small] = [image(1, 128, 128), image(1, 3, 3)];
        const first = both.runSync(large);
        using other = await Engine.create(model, { threads: 1 });
        expect(both.runSync(small)).toEqual(other.runSync(small));
        expect(both.runSync(large)).toEqual(first);
        if (isa !== 'avx512') return;
        expect([kernelOf(128), kernelOf(3)]).toEqual([
          expect.stringContaining('winograd'),
          expect.stringContaining('direct'),
        ]);
      });
    }
  });

  test('a plan made ahead of runs goes where other shapes come, and many shapes hold the memory of the largest', async () => {
    const { graph, tensors } = netFromSeed('repvgg_a0', { form: 'deploy' });
    using engine = await Engine.create({ graph, tensors }, { threads: 1 });
    const { packedWeights } = engine.memory;
    engine.runSync(image(3, 224, 224));
    expect(engine.memory.packedWeights).toBeLessThan(1.5 * packedWeights);
    engine.runSync(image(1, 224, 224));
    const { activations } = engine.memory;
    for (const batch of [2, 3, 2, 1]) engine.runSync(image(batch, 224, 224));
    expect(engine.memory.activations).toBeLessThan(activations + 2 * 2 ** 20 + 16 * 2 ** 20);
  });

  test('plans: the least used go', async () => {
    using engine = await Engine.create(smallNet(), { plans: 2, threads: 1 });
    for (const size of [8, 16, 24, 32, 8]) engine.runSync(image(1, size, size));
    const { activations } = engine.memory;
    using fresh = await Engine.create(smallNet(), { plans: 2, threads: 1 });
    for (const size of [32, 8]) fresh.runSync(image(1, size, size));
    expect(activations).toBe(fresh.memory.activations);
  });
});

test('a BatchNorm that cannot be evaluated is told by its node', async () => {
  const { graph, tensors } = netFromSeed('mobileone_s1', { classes: 4 });
  for (const [value, code] of [
    [Number.NaN, 'ERR_REPFUSE_NOT_FINITE'],
    [-1, 'ERR_REPFUSE_NOT_FUSABLE'],
  ] as const) {
    const wrong = new Map(tensors);
    wrong.set('stage1.0.rbr_scale.bn.running_var', Tensor.f32([64], new Float32Array(64).fill(value)));
    expect(await refusal(Engine.create({ graph, tensors: wrong }))).toMatchObject({
      code,
      details: { node: 'stage1.0.rbr_scale.bn' },
    });
  }
  const overflowing = new Map(tensors);
  const { shape } = tensors.get('stage1.1.rbr_conv.0.conv.weight')!;
  overflowing.set(
    'stage1.1.rbr_conv.0.conv.weight',
    Tensor.f32(shape, new Float32Array(shape[0]! * shape[1]!).fill(3e38)),
  );
  expect(await refusal(Engine.create({ graph, tensors: overflowing }))).toMatchObject({
    code: 'ERR_REPFUSE_NOT_FINITE',
    message: expect.stringMatching(/^Node stage1\.1/),
  });
});
