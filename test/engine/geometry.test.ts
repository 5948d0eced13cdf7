import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { averagePool, composeSequential, conv, identity, materialize } from '../../lib/algebra';
import { foldOnnx } from '../../lib/convert';
import { Engine, type EngineOptions, readModel } from '../../lib/engine';
import { evaluate, evaluateAsync, parseGraph } from '../../lib/graph';
import { allowedBytes, resolveMemoryLimit } from '../../lib/native/memory';
import { Tensor } from '../../lib/tensor/tensor';
import { peakError } from '../support/compare';
import { FIXTURES } from '../support/fixtures';
import { Random } from '../support/random';
import { referenceConv2d } from '../support/reference-conv';
import { refusal } from '../support/refusal';
import { temporaryFolder } from '../support/temporary';
import { fixtureStateDict } from '../support/tensors';

const ATTACKS = join(FIXTURES, 'reported', 'attacks');
const { path } = temporaryFolder();
const HUGE = 2 ** 31 - 1;
const ALGORITHMS = ['auto', 'direct', 'winograd2', 'winograd4x2', 'winograd4', 'products', 'float64'] as const;
const PRECISIONS = ['f32', 'fast', 'bf16'] as const;

interface ConvOptions {
  readonly stride?: readonly [number, number];
  readonly padding?: readonly number[];
  readonly dilation?: readonly [number, number];
  readonly groups?: number;
}

/** A graph of one convolution, after the nodes that are given, and its weight from a seed. */
function oneConv(weightShape: readonly number[], options: ConvOptions, before: readonly object[] = []) {
  const { stride = [1, 1], padding = [0, 0], dilation = [1, 1], groups = 1 } = options;
  const inputs = [before.length === 0 ? 'x' : (before.at(-1) as { id: string }).id];
  const node = { id: 'c', op: 'conv2d', inputs, weight: 'w', bias: null, stride, padding, dilation, groups };
  const size = weightShape.reduce((product, dim) => product * dim, 1);
  const tensors = new Map([['w', Tensor.f32(weightShape, new Random(5).floats(size))]]);
  return { graph: parseGraph({ input: 'x', output: 'c', nodes: [...before, node] }), tensors };
}

function oneNode(node: object, tensors: Record<string, Tensor> = {}) {
  const graph = parseGraph({
    input: 'x',
    output: 'n',
    inputShape: [1, 4, 4],
    nodes: [{ id: 'n', inputs: ['x'], ...node }],
  });
  return { graph, tensors: new Map(Object.entries(tensors)) };
}

function image(shape: readonly number[]): Tensor {
  return Tensor.f32(shape, new Random(3).floats(shape.reduce((product, dim) => product * dim, 1)));
}

async function runEngine(
  model: { graph: ReturnType<typeof parseGraph>; tensors: ReadonlyMap<string, Tensor> },
  input: Tensor,
  options: EngineOptions = {},
) {
  await using engine = await Engine.create(model, options);
  return engine.run(input);
}

describe('reported files', () => {
  test.each(['layout-overflow', 'padbomb'])('%s gives its value, in the engine and beside it', async (name) => {
    const file = join(ATTACKS, `${name}.onnx`);
    const expected = fixtureStateDict(join(ATTACKS, `${name}.expected.safetensors`));
    const { data, shape } = expected.get('input')!;
    const input = Tensor.f32(shape, Float32Array.from(data as Float64Array));
    const want = expected.get('y')!.data as Float64Array;
    const model = await readModel(file);
    for (const algorithm of ALGORITHMS) {
      const got = await runEngine(model, input, { algorithm });
      expect(peakError(got.data as Float32Array, want)).toBeLessThan(1e-5);
    }
    expect(peakError(evaluate(model.graph, model.tensors, input).data as Float32Array, want)).toBeLessThan(1e-5);
    await foldOnnx(file, path(`${name}-folded.onnx`), { verify: true });
  });

  test('ctr: a transposed convolution that spreads its kernel over 20 million pixels is refused by name', async () => {
    const file = join(ATTACKS, 'ctr.onnx');
    expect(await refusal(readModel(file))).toMatchObject({
      code: 'ERR_REPFUSE_GRAPH',
      message: expect.stringMatching(/ctr\.onnx: .*ConvTranspose "y"/),
      details: { file },
    });
    await foldOnnx(file, path('ctr-folded.onnx'));
  });

  test('stride-1x1-map: strides of images of one pixel', async () => {
    const graph = parseGraph(JSON.parse(readFileSync(join(ATTACKS, 'stride-1x1-map.graph.json'), 'utf8')));
    const tensors = fixtureStateDict(join(ATTACKS, 'stride-1x1-map.safetensors'));
    const expected = fixtureStateDict(join(ATTACKS, 'stride-1x1-map.expected.safetensors'));
    const { data, shape } = expected.get('input')!;
    const input = Tensor.f32(shape, Float32Array.from(data as Float64Array));
    const want = expected.get('y')!.data as Float64Array;
    for (const algorithm of ALGORITHMS) {
      const got = await runEngine({ graph, tensors }, input, { algorithm });
      expect(peakError(got.data as Float32Array, want)).toBeLessThan(1e-5);
    }
  });
});

describe('strides where there is one window', () => {
  const cases: readonly [string, readonly number[], readonly number[], ConvOptions][] = [
    ['a batch of pixels', [5, 48, 1, 1], [32, 48, 1, 1], { stride: [3, 3] }],
    ['a stride that no file means', [4, 16, 1, 1], [16, 16, 1, 1], { stride: [HUGE, HUGE] }],
    ['groups', [3, 32, 1, 1], [32, 16, 1, 1], { stride: [2, 5], groups: 2 }],
    ['groups that cross blocks', [3, 12, 1, 1], [9, 4, 1, 1], { stride: [2, 2], groups: 3 }],
    ['depthwise', [6, 20, 1, 1], [20, 1, 1, 1], { stride: [7, 7], groups: 20 }],
    ['a row of pixels', [3, 16, 1, 9], [16, 16, 1, 1], { stride: [4, 2] }],
    ['a column of pixels', [3, 16, 9, 1], [16, 16, 3, 1], { stride: [2, 4] }],
    ['a kernel over padding', [3, 16, 1, 1], [16, 16, 3, 3], { stride: [2, 2], padding: [1, 1] }],
    ['dilation of one tap', [3, 16, 1, 1], [16, 16, 1, 1], { stride: [2, 2], dilation: [HUGE, HUGE] }],
    ['padding on one side', [2, 3, 2, 2], [8, 3, 1, 1], { stride: [HUGE, HUGE], padding: [0, HUGE, HUGE, 0] }],
    ['padding beyond the map', [2, 17, 3, 3], [5, 17, 3, 3], { stride: [30000, 30000], padding: [20000, 30000] }],
    ['a wide dilation', [2, 6, 3, 3], [6, 1, 3, 3], { padding: [40000, 40000], dilation: [40000, 40000], groups: 6 }],
  ];
  test.each(cases)('%s', async (_, inputShape, weightShape, options) => {
    const model = oneConv(weightShape, options);
    const input = image(inputShape);
    const [top, left, bottom = top, right = left] = options.padding ?? [0, 0];
    const want = referenceConv2d({
      input: input.data as Float32Array,
      inputShape,
      weight: model.tensors.get('w')!.data as Float32Array,
      weightShape,
      stride: options.stride ?? [1, 1],
      padding: [top!, left!, bottom!, right!],
      dilation: options.dilation ?? [1, 1],
      groups: options.groups ?? 1,
    });
    for (const algorithm of ALGORITHMS) {
      const got = await runEngine(model, input, { algorithm, threads: 2 });
      expect(got.shape).toEqual(want.shape);
      expect(peakError(got.data as Float32Array, want.data)).toBeLessThan(1e-5);
    }
    for (const precision of PRECISIONS) {
      const got = await runEngine(model, input, { precision });
      expect(peakError(got.data as Float32Array, want.data)).toBeLessThan(precision === 'bf16' ? 3e-2 : 1e-4);
    }
    const eager = evaluate(model.graph, model.tensors, input);
    expect(peakError(eager.data as Float32Array, want.data)).toBeLessThan(1e-5);
  });

  test('behind a pooling, beside a sum whose other part has a border', async () => {
    const pool = { id: 'p', op: 'global_avg_pool', inputs: ['x'] };
    const { graph, tensors } = oneConv([16, 16, 1, 1], { stride: [2, 2] }, [pool]);
    const wide = {
      ...(graph.nodes[1] as object),
      id: 'b',
      inputs: ['p'],
      weight: 'v',
      stride: [1, 1],
      padding: [1, 1],
    };
    const sum = { id: 's', op: 'add', inputs: ['p', 'c'] };
    const last = { id: 'l', op: 'add', inputs: ['s', 'b'] };
    const whole = parseGraph({ input: 'x', output: 'l', nodes: [...graph.nodes, wide, sum, last] });
    tensors.set('v', Tensor.f32([16, 16, 3, 3], new Random(9).floats(16 * 16 * 9)));
    const input = image([5, 16, 4, 4]);
    const want = evaluate(whole, tensors, input).data as Float32Array;
    for (const algorithm of ALGORITHMS) {
      const got = await runEngine({ graph: whole, tensors }, input, { algorithm });
      expect(peakError(got.data as Float32Array, want)).toBeLessThan(1e-5);
    }
  });
});

describe('memory is counted before it is taken', () => {
  const statistics = (channels: number) => ({
    'bn.running_mean': Tensor.f32([channels], new Float32Array(channels)),
    'bn.running_var': Tensor.f32([channels], new Float32Array(channels).fill(1)),
  });
  const transposed = {
    op: 'conv_transpose2d',
    weight: 'w',
    bias: null,
    padding: [0, 0],
    output_padding: [0, 0],
    groups: 1,
  };
  const resize = {
    op: 'resize',
    mode: 'linear',
    coordinates: 'half_pixel',
    nearest: 'floor',
    aspect: 'stretch',
    exclude_outside: false,
    antialias: false,
    cubic_a: -0.75,
    extrapolation: 0,
    scales: [0, 0],
    sizes: [0, 0],
    crop: [0, 0, 1, 1],
  };
  const one = Tensor.f32([1, 1, 2, 2], [1, 2, 3, 4]);
  const padding = { op: 'pad', mode: 'edge', value: 0 };
  const nodes: readonly [string, object, Record<string, Tensor>][] = [
    ['padding of stride 1', oneConvNode({ padding: [14000, 14000] }), { w: one }],
    ['a frame of a BatchNorm', { op: 'bn_pad', prefix: 'bn', eps: 1e-5, affine: false, pad: 15000 }, statistics(1)],
    ['a padding', { ...padding, before: [0, 0, 20000, 0], after: [0, 0, 0, 20000] }, {}],
    ['a padding of the batch', { ...padding, before: [HUGE, 0, 0, 0], after: [0, 0, 0, 0] }, {}],
    ['a size', { ...resize, sizes: [20000, 20000] }, {}],
    ['a scale', { ...resize, mode: 'nearest', scales: [8000, 8000] }, {}],
    ['a scale beyond numbers', { ...resize, scales: [1e300, 1] }, {}],
    ['a wide row of pixels', { ...resize, sizes: [1, 30_000_000] }, {}],
    ['dilation of a transposed kernel', { ...transposed, stride: [1, 1], dilation: [30000, 30000] }, { w: one }],
    ['stride of a transposed kernel', { ...transposed, stride: [30000, 30000], dilation: [1, 1] }, { w: one }],
    [
      'what a transposed kernel crops',
      { ...transposed, stride: [16, 16], dilation: [1, 1], padding: [0, 0, 0, 0], output_padding: [20000, 20000] },
      { w: one },
    ],
  ];
  function oneConvNode(options: ConvOptions): object {
    return { op: 'conv2d', weight: 'w', bias: null, stride: [1, 1], dilation: [1, 1], groups: 1, ...options };
  }

  test.each(nodes)('%s', async (_, node, tensors) => {
    const model = oneNode(node, tensors);
    const input = image([1, 1, 4, 4]);
    for (const work of [() => runEngine(model, input), () => evaluateAsync(model.graph, model.tensors, input)]) {
      const error = await refusal(work());
      expect(['ERR_REPFUSE_MEMORY', 'ERR_REPFUSE_GRAPH']).toContain(error.code);
      expect(error.message).toMatch(/node n\b/i);
    }
  });

  test('many results that are there at a time', async () => {
    const grown = { ...resize, mode: 'nearest', sizes: [2500, 2500] };
    const ids = Array.from({ length: 12 }, (_, i) => `r${i}`);
    const nodes = [
      ...ids.map((id) => ({ id, inputs: ['x'], ...grown })),
      { id: 'all', op: 'concat', inputs: ids, axis: 1 },
      { id: 'mean', op: 'global_avg_pool', inputs: ['all'] },
    ];
    const model = {
      graph: parseGraph({ input: 'x', output: 'mean', inputShape: [1, 4, 4], nodes }),
      tensors: new Map<string, Tensor>(),
    };
    const input = image([1, 1, 4, 4]);
    expect(await refusal(runEngine(model, input))).toMatchObject({ code: 'ERR_REPFUSE_MEMORY' });
    expect(await refusal(evaluateAsync(model.graph, model.tensors, input))).toMatchObject({
      code: 'ERR_REPFUSE_MEMORY',
      details: { node: expect.stringMatching(/^r\d+$/) },
    });
  });

  test('the limit can be set, and is checked', async () => {
    const model = oneConv([16, 16, 3, 3], { padding: [1, 1] });
    const input = image([1, 16, 64, 64]);
    expect(await refusal(runEngine(model, input, { memoryLimit: 100_000 }))).toMatchObject({
      code: 'ERR_REPFUSE_MEMORY',
      details: { node: 'c' },
    });
    expect(await refusal(runEngine(model, input, { memoryLimit: 400_000 }))).toMatchObject({
      code: 'ERR_REPFUSE_MEMORY',
      message: expect.stringContaining('Node c'),
    });
    await runEngine(model, input, { memoryLimit: 10_000_000 });
    expect(await refusal(Engine.create(model, { memoryLimit: 0.5 }))).toMatchObject({
      code: 'ERR_REPFUSE_INVALID_ARGUMENT',
    });
    expect(allowedBytes(resolveMemoryLimit(undefined), { input: 64, weights: 64 })).toBe(128 * 2 ** 20);
    expect(allowedBytes(resolveMemoryLimit(1000), { input: 1e9, weights: 0 })).toBe(1000);
  });

  test('kernels that the algebra makes of taps far apart', () => {
    const dilated = (dilation: number) => conv(one, null, { dilation, padding: dilation });
    const far = () => materialize(composeSequential(conv(one, null), dilated(9000), { allowInexactBorder: true }));
    expect(far).toThrow(expect.objectContaining({ code: 'ERR_REPFUSE_MEMORY' }));
    const pool = () => materialize(averagePool({ channels: 1, kernel: 30000 }));
    expect(pool).toThrow(expect.objectContaining({ code: 'ERR_REPFUSE_MEMORY' }));
    expect(() => materialize(identity(512, 512))).not.toThrow();
  });

  test('an average over a window far larger than its map stays a pooling beside its BatchNorm', async () => {
    const side = 9000;
    const average = { id: 'a', op: 'avg_pool2d', inputs: ['x'], kernel: [side, side], stride: [side, side] };
    const nodes = [
      { ...average, padding: [side - 4, side - 4, 3, 3], count_include_pad: true },
      { id: 'n', op: 'batch_norm', inputs: ['a'], prefix: 'bn', eps: 1e-5, affine: false },
    ];
    const model = {
      graph: parseGraph({ input: 'x', output: 'n', nodes }),
      tensors: new Map(Object.entries(statistics(3))),
    };
    const input = image([2, 3, 4, 4]);
    const got = await runEngine(model, input);
    expect(
      peakError(got.data as Float32Array, evaluate(model.graph, model.tensors, input).data as Float32Array),
    ).toBeLessThan(1e-5);
  });
});

describe('usual networks are as they were', () => {
  test.each([
    ['dilation 36 on 17 x 17 pixels', [16, 64, 3, 3], { padding: [36, 36], dilation: [36, 36] }, [1, 64, 17, 17]],
    [
      'dilation 24 on 65 x 65 pixels, a batch',
      [16, 2048, 3, 3],
      { padding: [24, 24], dilation: [24, 24] },
      [16, 2048, 65, 65],
    ],
    ['a large image', [64, 3, 3, 3], { padding: [1, 1], stride: [2, 2] }, [1, 3, 4096, 4096]],
    ['a large batch', [64, 3, 7, 7], { padding: [3, 3], stride: [2, 2] }, [256, 3, 224, 224]],
    ['a large kernel on a small map', [16, 1, 31, 31], { padding: [15, 15], groups: 16 }, [1, 16, 7, 7]],
  ] as const)('%s has a border and a fast kernel', async (_, weightShape, options, shape) => {
    await using engine = await Engine.create(oneConv(weightShape, options), { memoryLimit: 2 ** 36 });
    const { kernel } = engine.explain(shape).find(({ layer }) => layer === 'c')!; // compiled, not run
    expect(kernel).not.toBe('float64');
  });
});
