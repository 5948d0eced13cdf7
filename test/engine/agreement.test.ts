import { readFileSync } from 'node:fs';
import { fromBranch } from '../../lib/algebra';
import { Engine } from '../../lib/engine';
import { evaluate, type Graph, parseGraph } from '../../lib/graph';
import { type Branch, runBranch } from '../../lib/ops';
import { Tensor } from '../../lib/tensor/tensor';
import { peakError } from '../support/compare';
import { refusal } from '../support/refusal';
import { readExpected, reportedPath } from '../support/reported';
import { fixtureStateDict } from '../support/tensors';

// Graphs on which the engine and `evaluate` once differed, with their values; random ones are in random-graphs.test.ts.

type Fields = Record<string, unknown>;

function network(nodes: Record<string, Fields>, inputShape?: readonly [number, number, number]): Graph {
  const ids = Object.keys(nodes);
  const listed = ids.map((id, i) => ({ id, inputs: [ids[i - 1] ?? 'x'], ...nodes[id] }));
  return parseGraph({ input: 'x', output: ids.at(-1), nodes: listed, ...(inputShape ? { inputShape } : {}) });
}

async function bothOf(graph: Graph, tensors: ReadonlyMap<string, Tensor>, input: Tensor): Promise<Tensor[]> {
  await using engine = await Engine.create({ graph, tensors });
  return [evaluate(graph, tensors, input), await engine.run(input)];
}

async function expectBoth(
  graph: Graph,
  tensors: Record<string, Tensor>,
  input: Tensor,
  shape: readonly number[],
  values: readonly number[],
): Promise<void> {
  for (const got of await bothOf(graph, new Map(Object.entries(tensors)), input)) {
    expect(got.shape).toEqual(shape);
    expect(peakError(got.data as Float32Array, values)).toBeLessThan(1e-6);
  }
}

const f32 = (...values: number[]) => Tensor.f32([values.length], values);
const image = (height: number, width: number, ...values: number[]) => Tensor.f32([1, 1, height, width], values);
/** (x - mean) / sqrt(variance) * weight + bias of one channel. */
const bn = (prefix: string, mean: number, variance: number, weight: number, bias: number) => ({
  [`${prefix}.running_mean`]: f32(mean),
  [`${prefix}.running_var`]: f32(variance),
  [`${prefix}.weight`]: f32(weight),
  [`${prefix}.bias`]: f32(bias),
});
const batchNorm = (prefix: string) => ({ op: 'batch_norm' as const, prefix, eps: 0, affine: true });
const bnPad = (prefix: string, pad = 1) => ({ op: 'bn_pad' as const, prefix, eps: 0, affine: true, pad });
const conv = (weight: string, bias: string | null, padding: readonly number[] = [0, 0]) =>
  ({ op: 'conv2d', weight, bias, stride: [1, 1], padding, dilation: [1, 1], groups: 1 }) as const;
const framed = (border: number, pixel: number) => [
  border,
  border,
  border,
  border,
  pixel,
  border,
  border,
  border,
  border,
];

describe('a frame of bn_pad holds BN(0) of its own BatchNorm, whatever comes before', () => {
  const own = bn('b', -1, 4, 3, 4); // b(x) = (x + 1) * 1.5 + 4, b(0) = 5.5
  const one = Tensor.f32([1, 1, 1, 1], [1]);

  test('the reported graph', async () => {
    const graph = parseGraph(JSON.parse(readFileSync(reportedPath('attacks/bn_pad-behind-bn.graph.json'), 'utf8')));
    const { input, outputs } = readExpected('attacks/bn_pad-behind-bn');
    const tensors = fixtureStateDict(reportedPath('attacks/bn_pad-behind-bn.safetensors'));
    const want = [...outputs.values()][0]!;
    for (const got of await bothOf(graph, tensors, input)) {
      expect(got.shape).toEqual(want.shape);
      expect(peakError(got.data as Float32Array, want.data as Float32Array)).toBeLessThan(1e-5);
    }
  });

  test.each<[string, Record<string, Fields>, number]>([
    ['a BatchNorm', { p: batchNorm('a') }, 14.5], // a(1) = 6
    ['a biased convolution', { p: conv('w', 'c') }, 10], // 2 * 1 + 1 = 3
    ['an unbiased convolution', { p: conv('w', null) }, 8.5], // 2: merged
    ['a convolution and a BatchNorm', { p: conv('w', null), q: batchNorm('a') }, 16], // a(2) = 7
    ['a frame and a crop of it', { p: bnPad('a'), q: { op: 'crop', rows: [1, 1], cols: [1, 1] } }, 14.5],
    ['a sum with a shift', { p: batchNorm('a'), q: { op: 'add', inputs: ['p', 'x'] } }, 16],
  ])('behind %s', async (_, before, pixel) => {
    const tensors = { ...bn('a', 0, 1, 1, 5), ...own, w: Tensor.f32([1, 1, 1, 1], [2]), c: f32(1) };
    await expectBoth(network({ ...before, y: bnPad('b') }), tensors, one, [1, 1, 3, 3], framed(5.5, pixel));
  });

  test('a convolution of the frame sees BN(0) there', async () => {
    const graph = network({ p: conv('w', 'c'), q: bnPad('b'), y: conv('k', null) });
    const tensors = { ...own, w: Tensor.f32([1, 1, 1, 1], [2]), c: f32(1), k: image(3, 3, ...Array(9).fill(1)) };
    await expectBoth(graph, tensors, one, [1, 1, 1, 1], [8 * 5.5 + 10]);
  });

  test('of a branch too: it runs, and is fused only where that is exact', () => {
    const unit = { stride: [1, 1], padding: [0, 0, 0, 0], dilation: [1, 1], groups: 1 } as const;
    const batchNorm = { runningMean: f32(-1), runningVar: f32(4), weight: f32(3), bias: f32(4), eps: 0 };
    const branch = (shift: Tensor | null): Branch => ({
      name: 'branch',
      stages: [
        { kind: 'conv2d', weight: image(1, 1, 2), bias: shift, ...unit },
        { kind: 'batch_norm', ...batchNorm },
        { kind: 'pad_border', padding: [1, 1, 1, 1] },
      ],
    });
    expect([...runBranch(branch(f32(1)), one).data]).toEqual(framed(5.5, 10));
    expect([...runBranch(branch(null), one).data]).toEqual(framed(5.5, 8.5));
    expect(fromBranch(branch(null)).padding).toEqual([1, 1, 1, 1]);
    expect(fromBranch(branch(f32(0))).padding).toEqual([1, 1, 1, 1]);
    expect(() => fromBranch(branch(f32(1)))).toThrow(expect.objectContaining({ code: 'ERR_REPFUSE_INEXACT' }));
    expect(fromBranch(branch(f32(1)), { allowInexactBorder: true }).padding).toEqual([1, 1, 1, 1]);
  });
});

test('a frame of one value for each channel may be cropped on its other sides', async () => {
  const graph = network(
    { y: { op: 'pad', before: [0, 0, 1, -1], after: [0, 0, 0, 1], mode: 'constant', value: 0, fill: 'f' } },
    [1, 2, 2],
  );
  const input = image(2, 2, 1, 2, 3, 4);
  await expectBoth(graph, { f: f32(7) }, input, [1, 1, 3, 2], [7, 7, 2, 7, 4, 7]);
  const all = network(
    { y: { op: 'pad', before: [0, 0, -1, 0], after: [0, 0, 2, 0], mode: 'constant', value: 0, fill: 'f' } },
    [1, 1, 1],
  );
  await expectBoth(all, { f: f32(7) }, image(1, 1, 5), [1, 1, 2, 1], [7, 7]); // nothing of the map is left
});

test('a crop beyond the rows of a small map meets the zeros of the convolution before it', async () => {
  const graph = network({ p: conv('w', null, [0, 0, 0, 3]), y: { op: 'crop', rows: [0, 0], cols: [1, 1] } }, [1, 2, 1]);
  await expectBoth(graph, { w: image(1, 1, 3) }, image(2, 1, 1, 2), [1, 1, 2, 2], [0, 0, 0, 0]);
});

test('a pooling that rounds up takes a window larger than the map', async () => {
  const window = { kernel: [4, 4], stride: [2, 2], padding: [0, 0], ceil_mode: true } as const;
  const input = image(3, 3, 1, 2, 3, 4, 5, 6, 7, 8, 9);
  await expectBoth(network({ y: { op: 'max_pool2d', ...window } }, [1, 3, 3]), {}, input, [1, 1, 1, 1], [9]);
  const average = network({ y: { op: 'avg_pool2d', ...window, count_include_pad: true } }, [1, 3, 3]);
  await expectBoth(average, {}, input, [1, 1, 1, 1], [5]);
  const larger = network({ y: { op: 'max_pool2d', ...window, kernel: [6, 6] } }, [1, 3, 3]);
  expect(() => evaluate(larger, new Map(), input)).toThrow(expect.objectContaining({ code: 'ERR_REPFUSE_GRAPH' }));
  expect(await refusal(Engine.create({ graph: larger, tensors: new Map() }))).toMatchObject({
    code: 'ERR_REPFUSE_GRAPH',
  });
});

test('what reads a value with its axes turned does not tell the channels of the input', async () => {
  const graph = network({ t: { op: 'transpose', perm: [0, 2, 1, 3] }, y: conv('w', null) });
  const input = Tensor.f32([1, 2, 3, 1], [1, 2, 3, 4, 5, 6]);
  const weight = Tensor.f32([1, 3, 1, 1], [1, 10, 100]);
  const shaped = { ...graph, inputShape: [2, 3, 1] as const };
  await expectBoth(shaped, { w: weight }, input, [1, 1, 2, 1], [321, 654]);
  expect(await refusal(Engine.create({ graph, tensors: new Map([['w', weight]]) }))).toMatchObject({
    code: 'ERR_REPFUSE_INVALID_ARGUMENT',
    message: expect.stringContaining('inputShape'),
  });
  const sum = network({
    c: { op: 'constant', inputs: [], tensor: 'c' },
    s: { op: 'add', inputs: ['c', 'x'] },
    y: conv('v', null),
  });
  const tensors = { c: Tensor.f32([1, 2, 3, 1], [0, 0, 0, 1, 1, 1]), v: Tensor.f32([1, 2, 1, 1], [1, 10]) };
  await expectBoth(sum, tensors, input, [1, 1, 3, 1], [51, 62, 73]);
});

test('nodes that lead to no result are not run, alone or one after the other', async () => {
  const bad = { ...bn('a', 0, -1, 1, 0) }; // a variance that has no root
  const nodes = {
    y: { op: 'relu' as const },
    dead: { ...batchNorm('a'), inputs: ['x'] },
    deader: { ...conv('w', null), inputs: ['dead'] },
  };
  const graph = { ...network(nodes, [1, 1, 2]), output: 'y' };
  await expectBoth(graph, { ...bad, w: image(1, 1, 1) }, image(1, 2, -1, 3), [1, 1, 1, 2], [0, 3]);
});

test('a number has no axis 1: flattening it is refused both ways', async () => {
  const graph = network({ c: { op: 'constant', inputs: [], tensor: 'c' }, y: { op: 'flatten' } }, [1, 1, 1]);
  const tensors = new Map([['c', Tensor.f32([], [1])]]);
  const told = { code: 'ERR_REPFUSE_GRAPH', message: expect.stringMatching(/^Node y \(flatten\): .*axis 1/) };
  expect(() => evaluate(graph, tensors, image(1, 1, 0))).toThrow(expect.objectContaining(told));
  expect(await refusal(Engine.create({ graph, tensors }))).toMatchObject(told);
  await expectBoth(
    network({ c: { op: 'constant', inputs: [], tensor: 'c' }, y: { op: 'flatten', axis: 0 } }, [1, 1, 1]),
    { c: Tensor.f32([], [5]) },
    image(1, 1, 0),
    [1, 1],
    [5],
  );
});
