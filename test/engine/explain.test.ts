import { Engine } from '../../lib/engine';
import { netFromSeed } from '../../lib/nets';
import { Tensor } from '../../lib/tensor/tensor';
import { testAt, withIsa } from '../support/isa';
import { Random } from '../support/random';
import { image, invertedResiduals, smallNet } from './small-net';

describe('explain', () => {
  testAt('avx512', 'RepVGG-A0 on AVX-512: the kernel of every layer', async () => {
    const { graph, tensors } = netFromSeed('repvgg_a0', { form: 'deploy' });
    await withIsa('avx512', async () => {
      using engine = await Engine.create({ graph, tensors });
      const steps = engine.explain();
      const kernels = steps.map(({ kernel, output }) => `${output[2] ?? 1}: ${kernel.replace(/ \d+x\d+$/, '')}`);
      const runs: [string, number][] = [];
      for (const kernel of kernels) {
        if (runs.at(-1)?.[0] === kernel) runs.at(-1)![1]++;
        else runs.push([kernel, 1]);
      }
      expect(runs).toEqual([
        ['224: ingest planar', 1],
        ['112: direct-planar', 1],
        ['56: direct', 1],
        ['56: winograd F(2,3)', 1], // early layers lose most: a little time is given for it
        ['28: direct', 1],
        ['28: winograd F(2,3)', 1],
        ['28: winograd F(4x2,3)', 2],
        ['14: direct', 1],
        ['14: winograd F(2,3)', 13], // the larger forms' weights would not stay in the cache
        ['7: direct', 1],
        ['1: global average pool of sums', 1],
        ['1: direct', 1],
        ['1: deliver', 1],
      ]);
      expect(steps.every(({ seconds }) => seconds === null)).toBe(true);
      await engine.run(Tensor.f32([1, 3, 224, 224]));
      const { packedWeights, sourceWeights } = engine.memory;
      const plain = [...tensors.values()].reduce((sum, { bytes }) => sum + bytes, 0);
      expect((packedWeights + sourceWeights) / plain).toBeGreaterThan(1.5);
      expect(packedWeights + sourceWeights).toBeLessThan(2.2 * plain + 8 * 2 ** 20);
      // What is kept to have the plain weights back is a third of them, and less.
      expect(sourceWeights).toBeGreaterThan(0);
      expect(sourceWeights / plain).toBeLessThan(0.3);
      const errors = new Map(engine.explain().map(({ kernel, error }) => [kernel.replace(/ \d+x\d+$/, ''), error]));
      expect(errors.get('deliver')).toBeNull();
      expect(errors.get('direct')).toBe(1);
      // Of weights without any order: F(4,3) loses 2 to 4 times as much as a direct convolution.
      const [two, mixed] = ['2', '4x2'].map((form) => errors.get(`winograd F(${form},3)`)!);
      using large = await Engine.create({ graph, tensors }, { algorithm: 'winograd4' });
      const four = large.explain().find(({ kernel }) => kernel.startsWith('winograd F(4,3)'))!.error!;
      expect(two).toBeGreaterThanOrEqual(1);
      expect(mixed).toBeGreaterThan(two!);
      expect(four).toBeGreaterThan(1.4 * mixed!);
      expect(four).toBeLessThan(4);
      const [, stem] = engine.explain();
      expect(stem).toMatchObject({
        layer: 'stage0.rbr_reparam',
        macs: 48 * 27 * 112 * 112,
        weightBytes: (27 * 48 + 48) * 4,
      });
      expect(stem!.estimate).toBeGreaterThan(0);
      expect(stem!.seconds).toBeGreaterThan(0);
      expect(stem!.shareOfPeak).toBeGreaterThan(0);
    });
  });

  test('MobileOne-S0: a depthwise convolution and the pointwise one after it are one step', async () => {
    const { graph, tensors } = netFromSeed('mobileone_s0', { form: 'deploy' });
    using engine = await Engine.create({ graph, tensors }, { algorithm: 'direct' });
    const convolutions = engine.explain().filter(({ macs }) => macs > 0);
    const pairs = convolutions.filter(({ kernel }) => /^depthwise \S+ \+ direct \S+$/.test(kernel));
    expect(pairs.map(({ layer }) => layer.split(' + ').length)).toEqual(Array(20).fill(2));
    // The stem, the last pair (whose pointwise weights are too large to be read for a few rows at a time), the classifier.
    expect(convolutions.length - pairs.length).toBe(4);
  });

  test('inverted residuals are one step each, under all of their names, and give the same bits as apart', async () => {
    const x = Tensor.f32([1, 16, 97, 130], new Random(3).floats(16 * 97 * 130));
    const model = invertedResiduals();
    const stepsOf = (engine: Engine) =>
      engine
        .explain(x.shape)
        .filter(({ macs }) => macs > 0)
        .map(({ layer, kernel }) => `${layer}: ${kernel.replaceAll(/ \d+x\d+/g, '')}`);
    using engine = await Engine.create(model, { algorithm: 'direct', threads: 1 });
    using apart = await Engine.create(model, { algorithm: 'direct', threads: 1, merge: false });
    expect(stepsOf(engine)).toEqual([
      'expand1 + depth1 + project1: direct + depthwise + direct',
      'expand2 + depth2 + sum: direct + depthwise + direct',
      'expand3 + depth3: direct + depthwise',
    ]);
    expect(stepsOf(apart)).toHaveLength(8);
    expect(await engine.run(x)).toEqual(await apart.run(x));
  });

  test('weights are packed once: another batch of the same kernels takes no more', async () => {
    using engine = await Engine.create(smallNet(), { algorithm: 'direct' });
    engine.runSync(image(1, 16, 16));
    const { packedWeights } = engine.memory;
    engine.runSync(image(1, 32, 16));
    expect(engine.memory.packedWeights).toBe(packedWeights);
  });

  test('an algorithm that is asked for is taken where it can be', async () => {
    for (const [algorithm, kernel] of [
      ['direct', 'direct'],
      ['winograd2', 'winograd F(2,3)'],
      ['winograd4x2', 'winograd F(4x2,3)'],
      ['winograd4', 'winograd F(4,3)'],
    ] as const) {
      using engine = await Engine.create(smallNet(), { algorithm });
      const steps = engine.explain([1, 3, 32, 32]);
      expect(steps.map((step) => step.kernel.replace(/ \d+x\d+$/, ''))).toEqual([
        'ingest planar',
        'direct-planar',
        kernel,
        'direct',
        'deliver',
      ]);
    }
  });
});
