import { createContext, runInContext } from 'node:vm';
import { Engine } from '../../lib/engine';
import { evaluate } from '../../lib/graph';
import { netFromSeed } from '../../lib/nets';
import { Tensor } from '../../lib/tensor/tensor';
import { peakError } from '../support/compare';
import { availableIsas, withIsa } from '../support/isa';
import { refusal } from '../support/refusal';
import { image, slowNet, smallNet } from './small-net';

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

describe('arrays', () => {
  const model = smallNet();
  const input = image(1, 9, 9);

  test('out takes the result; runSync may write over its own input', async () => {
    using engine = await Engine.create(model);
    const want = engine.runSync(input);
    const out = Tensor.f32(want.shape);
    expect(await engine.run(input, { out })).toBe(out);
    expect(out).toEqual(want);
    const memory = new Float32Array(600);
    memory.set(floats(input));
    const own = {
      x: Tensor.f32(input.shape, memory.subarray(0, 243)),
      y: Tensor.f32(want.shape, memory.subarray(0, want.size)),
    };
    expect(engine.runSync(own.x, { out: own.y }).data).toEqual(want.data);
  });

  test('an input that is changed or detached right after run() does not change the result', async () => {
    using engine = await Engine.create(model);
    const want = engine.runSync(input);
    const own = Tensor.f32(input.shape, floats(input).slice());
    const running = engine.run(own);
    floats(own).fill(7);
    structuredClone(own.data, { transfer: [own.data.buffer as ArrayBuffer] });
    expect(await running).toEqual(want);
    expect(await refusal(engine.run(own))).toMatchObject({
      code: 'ERR_REPFUSE_INVALID_ARGUMENT',
      message: expect.stringContaining('detached'),
    });
  });

  test('an out that is detached during the run is told, and does no harm', async () => {
    using engine = await Engine.create(model);
    const out = Tensor.f32(engine.outputShape(input.shape));
    const running = engine.run(input, { out });
    structuredClone(out.data, { transfer: [out.data.buffer as ArrayBuffer] });
    expect(await refusal(running)).toMatchObject({ code: 'ERR_REPFUSE_INVALID_ARGUMENT' });
  });

  test('shared, unaligned, resizable arrays, and those of another realm', async () => {
    using engine = await Engine.create(model);
    const want = engine.runSync(input);
    const shared = new Float32Array(new SharedArrayBuffer(243 * 4));
    const unaligned = new Float32Array(new ArrayBuffer(244 * 4), 4);
    // biome-ignore lint/suspicious/noExplicitAny: resizable buffers are newer than the library's language level
    const resizable = new Float32Array(new (ArrayBuffer as any)(243 * 4, { maxByteLength: 4096 }));
    const foreign = runInContext('new Float32Array(243)', createContext()) as Float32Array;
    for (const data of [shared, unaligned, resizable, foreign]) {
      data.set(floats(input));
      const tensor = new Tensor('F32', input.shape, data);
      expect(await engine.run(tensor)).toEqual(want);
      expect(engine.runSync(tensor)).toEqual(want);
    }
  });

  test('half types are widened; F16 as bit patterns or as a Float16Array, where Node has one (N07)', async () => {
    using engine = await Engine.create(model);
    const half = new Uint16Array(243).fill(0x3c00);
    const bytes = new Uint8Array(half.buffer);
    // biome-ignore lint/suspicious/noExplicitAny: newer than the library's language level
    const Float16 = (globalThis as any).Float16Array ?? Float16StandIn;
    const want = engine.runSync(Tensor.f32([1, 3, 9, 9], new Float32Array(243).fill(1)));
    for (const input of [
      new Tensor('F16', [1, 3, 9, 9], half),
      new Tensor('F16', [1, 3, 9, 9], new Float16(bytes.buffer)),
      new Tensor('BF16', [1, 3, 9, 9], new Uint16Array(243).fill(0x3f80)),
    ]) {
      expect(engine.runSync(input)).toEqual(want);
      expect(await engine.run(input)).toEqual(want);
    }
  });

  test.each([
    ['no tensor', undefined, 'ERR_REPFUSE_INVALID_ARGUMENT', 'float32'],
    ['float64', new Tensor('F64', [1, 3, 4, 4], new Float64Array(48)), 'ERR_REPFUSE_INVALID_ARGUMENT', 'F64'],
    ['no batch', Tensor.f32([0, 3, 4, 4]), 'ERR_REPFUSE_SHAPE', 'positive'],
    ['three axes', Tensor.f32([3, 4, 4]), 'ERR_REPFUSE_SHAPE', '[N, C, H, W]'],
    ['other channels', Tensor.f32([1, 4, 4, 4]), 'ERR_REPFUSE_GRAPH', 'Node a'],
  ])('%s is refused', async (_, wrong, code, message) => {
    using engine = await Engine.create(model);
    const expected = { code, message: expect.stringContaining(message) };
    expect(await refusal(engine.run(wrong as Tensor))).toMatchObject(expected);
    expect(() => engine.runSync(wrong as Tensor)).toThrow(expect.objectContaining(expected));
  });

  test('an out of another shape or type is refused', async () => {
    using engine = await Engine.create(model);
    for (const out of [Tensor.f32([1]), new Tensor('F64', [1, 20, 5, 5], new Float64Array(500))])
      expect(await refusal(engine.run(input, { out }))).toMatchObject({ code: 'ERR_REPFUSE_SHAPE' });
  });
});

/** What Node without Float16Array can have of it. */
class Float16StandIn extends Uint16Array {
  override get [Symbol.toStringTag](): 'Uint16Array' {
    return 'Float16Array' as 'Uint16Array';
  }
}

describe('options', () => {
  test.each([
    [{ thread: 1 }, 'did you mean threads'],
    [{ precision: 'f16' }, 'precision'],
    [{ algorithm: 'fft' }, 'algorithm'],
    [{ plans: 0 }, 'plans'],
    [{ threads: 0 }, 'threads'],
    [{ batchInvariant: 1 }, 'batchInvariant'],
  ])('%j is refused', async (options, message) => {
    const created = Engine.create(smallNet(), options as object);
    expect(await refusal(created)).toMatchObject({
      code: 'ERR_REPFUSE_INVALID_ARGUMENT',
      message: expect.stringContaining(message),
    });
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

  test('plans: the least used go', async () => {
    using engine = await Engine.create(smallNet(), { plans: 2, threads: 1 });
    for (const size of [8, 16, 24, 32, 8]) engine.runSync(image(1, size, size));
    const { activations } = engine.memory;
    using fresh = await Engine.create(smallNet(), { plans: 2, threads: 1 });
    for (const size of [32, 8]) fresh.runSync(image(1, size, size));
    expect(activations).toBe(fresh.memory.activations);
  });
});

describe('explain', () => {
  test('RepVGG-A0 on AVX-512: the kernel of every layer', async () => {
    if (!availableIsas().includes('avx512')) return; // the summary of .ci/run names what the CPU lacks
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
        ['56: winograd F(4,3)', 1],
        ['28: direct', 1],
        ['28: winograd F(4,3)', 3],
        ['14: direct', 1],
        ['14: winograd F(2,3)', 6], // as many as keep all weights below 2.75 times the plain ones
        ['14: winograd F(4,3)', 7],
        ['7: direct', 1],
        ['1: global average pool', 1],
        ['1: direct', 1],
        ['1: deliver', 1],
      ]);
      expect(steps.every(({ seconds }) => seconds === null)).toBe(true);
      await engine.run(Tensor.f32([1, 3, 224, 224]));
      const { packedWeights, sourceWeights } = engine.memory;
      const plain = [...tensors.values()].reduce((sum, { bytes }) => sum + bytes, 0);
      expect((packedWeights + sourceWeights) / plain).toBeGreaterThan(2.5);
      expect((packedWeights + sourceWeights) / plain).toBeLessThan(2.75);
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
    using engine = await Engine.create({ graph, tensors });
    const convolutions = engine.explain().filter(({ macs }) => macs > 0);
    const pairs = convolutions.filter(({ kernel }) => /^depthwise \S+ \+ direct \S+$/.test(kernel));
    expect(pairs.map(({ layer }) => layer.split(' + ').length)).toEqual(Array(20).fill(2));
    // The stem, the last pair (whose pointwise weights are too large to be read for a few rows at a time), the classifier.
    expect(convolutions.length - pairs.length).toBe(4);
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

describe('abort and dispose', () => {
  test('an abort ends a run within a layer, those that wait as well, and the engine goes on', async () => {
    using engine = await Engine.create(slowNet(), { threads: 1 });
    const input = image(4, 160, 160);
    await engine.run(input);
    const started = performance.now();
    await engine.run(input);
    const whole = performance.now() - started;
    const controller = new AbortController();
    const runs = Array.from({ length: 6 }, () => engine.run(input, { signal: controller.signal }));
    await new Promise((resolve) => setTimeout(resolve, whole / 4));
    const aborted = performance.now();
    controller.abort('enough');
    for (const run of runs) await expect(run).rejects.toBe('enough');
    expect(performance.now() - aborted).toBeLessThan(3 * whole); // to their ends they would take six times as long
    expect(await engine.run(image(1, 32, 32))).toBeInstanceOf(Tensor);
    await expect(engine.run(input, { signal: controller.signal })).rejects.toBe('enough');
    await expect(Engine.create(smallNet(), { signal: controller.signal })).rejects.toBe('enough');
  });

  test('runs under way end as they would have; later ones are refused', async () => {
    const engine = await Engine.create(smallNet(), { threads: 1 });
    const input = image(1, 40, 40);
    const want = engine.runSync(input);
    const runs = Array.from({ length: 5 }, () => engine.run(input));
    engine.dispose();
    engine.dispose();
    for (const run of runs) expect(await run).toEqual(want);
    const disposed = { code: 'ERR_REPFUSE_DISPOSED' };
    expect(await refusal(engine.run(input))).toMatchObject(disposed);
    for (const use of [() => engine.runSync(input), () => engine.memory, () => engine.explain([1, 3, 8, 8])])
      expect(use).toThrow(expect.objectContaining(disposed));
  });
});

describe('stream', () => {
  test('results come in the order of the inputs, no more than asked for are fetched', async () => {
    using engine = await Engine.create(smallNet());
    let fetched = 0;
    let taken = 0;
    async function* inputs() {
      for (let i = 0; i < 12; i++) {
        fetched++;
        expect(fetched - taken).toBeLessThanOrEqual(3);
        yield image(1, 8 + (i % 3), 8, i);
      }
    }
    const results: Tensor[] = [];
    for await (const result of engine.stream(inputs(), { concurrency: 3 })) {
      results.push(result);
      taken++;
    }
    expect(results).toEqual(Array.from({ length: 12 }, (_, i) => engine.runSync(image(1, 8 + (i % 3), 8, i))));
  });

  test('leaving the loop ends the source; an array is a source too', async () => {
    using engine = await Engine.create(smallNet());
    let ended = false;
    function* inputs() {
      try {
        for (;;) yield image(1, 8, 8);
      } finally {
        ended = true;
      }
    }
    for await (const _ of engine.stream(inputs())) break;
    expect(ended).toBe(true);
    let count = 0;
    for await (const _ of engine.stream([image(1, 8, 8), image(2, 8, 8)])) count++;
    expect(count).toBe(2);
  });

  test('an error of the source, of a run, and an abort come out of the loop', async () => {
    using engine = await Engine.create(smallNet());
    const all = async (inputs: Iterable<Tensor>, signal?: AbortSignal) => {
      let results = 0;
      for await (const _ of engine.stream(inputs, { signal })) results++;
      return results;
    };
    function* failing() {
      yield image(1, 8, 8);
      throw new Error('no more');
    }
    await expect(all(failing())).rejects.toThrow('no more');
    expect(await refusal(all([image(1, 8, 8), Tensor.f32([1, 5, 8, 8])]))).toMatchObject({ code: 'ERR_REPFUSE_GRAPH' });
    await expect(all([image(1, 8, 8)], AbortSignal.abort(0))).rejects.toBe(0);
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
