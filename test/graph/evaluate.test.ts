import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { evaluate, evaluateAsync, type Graph, normalizeInput, parseGraph } from '../../lib/graph';
import * as ops from '../../lib/ops';
import { Tensor } from '../../lib/tensor/tensor';
import { type Json, refusalOf, TINY_INPUT, tinyGraph, tinyTensors } from './tiny-graph';

const graph = parseGraph(tinyGraph());

function tinyInput(): Tensor {
  return Tensor.f32(
    TINY_INPUT,
    Float32Array.from({ length: 144 }, (_, i) => Math.sin(i)),
  );
}

test('every operator computes what the operators of ops compute', async () => {
  const tensors = tinyTensors();
  const t = (key: string) => tensors.get(key)!;
  const input = tinyInput();
  const bn = { runningMean: t('bn.running_mean'), runningVar: t('bn.running_var') };
  const conv = ops.conv2d(input, t('conv.weight'), t('conv.bias'), { padding: 1, groups: 2 });
  const x = ops.relu(ops.batchNorm(conv, { ...bn, weight: t('bn.weight'), bias: t('bn.bias'), eps: 1e-5 }));
  const identity = ops.conv2d(x, plusIdentity(t('identity.weight')), null, { groups: 2 });
  const pad = { runningMean: t('pad.running_mean'), runningVar: t('pad.running_var'), eps: 1e-3 };
  const border = ops.batchNorm(Tensor.f32([1, 4, 1, 1]), pad);
  const frame = ops.padBorder(ops.batchNorm(identity, pad), Tensor.f32([4], border.data as Float32Array), 1);
  const sum = ops.silu(ops.add(ops.crop(frame, [1, 2, 1, 0]), identity));
  const pooled = ops.maxPool2d(ops.avgPool2d(sum, { kernel: 2, stride: 1 }), { kernel: 2, stride: 1 });
  const part = (name: string) => ({ weight: t(`se.${name}.weight`), bias: t(`se.${name}.bias`) });
  const excited = ops.hardswish(ops.squeezeExcite(pooled, { reduce: part('reduce'), expand: part('expand') }));
  const features = Tensor.f32([1, 4], ops.sigmoid(ops.globalAvgPool(excited)).data as Float32Array);
  const expected = ops.softmax(ops.linear(features, t('linear.weight')));
  expect(evaluate(graph, tensors, input)).toEqual(expected);
  expect(await evaluateAsync(graph, tensors, input)).toEqual(expected);
});

function plusIdentity({ shape, data }: Tensor): Tensor {
  const values = Float32Array.from(data as Float32Array);
  for (let c = 0; c < 4; c++) values[2 * c + (c % 2)]! += 1;
  return Tensor.f32(shape, values);
}

test('the output may be an inner node, and nodes that lead nowhere are harmless', () => {
  const inner = parseGraph({ ...tinyGraph(), output: 'conv' });
  const tensors = tinyTensors();
  const options = { padding: 1, groups: 2 } as const;
  const expected = ops.conv2d(tinyInput(), tensors.get('conv.weight')!, tensors.get('conv.bias')!, options);
  expect(evaluate(inner, tensors, tinyInput())).toEqual(expected);
});

test('half-precision weights are widened, double ones rounded', () => {
  const tensors = tinyTensors();
  const plain = tinyTensors();
  tensors.set('linear.weight', new Tensor('F16', [3, 4], new Uint16Array(12).fill(0x3e00)));
  plain.set('linear.weight', Tensor.f32([3, 4], new Float32Array(12).fill(1.5)));
  tensors.set('conv.bias', new Tensor('F64', [4], new Float64Array(4).fill(0.1)));
  plain.set('conv.bias', Tensor.f32([4], new Float32Array(4).fill(0.1)));
  expect(evaluate(graph, tensors, tinyInput())).toEqual(evaluate(graph, plain, tinyInput()));
});

test('an input of another type is refused', async () => {
  const input = new Tensor('U8', TINY_INPUT, new Uint8Array(144));
  expect(refusalOf(() => evaluate(graph, tinyTensors(), input)).code).toBe('ERR_REPFUSE_INVALID_ARGUMENT');
  await expect(evaluateAsync(graph, tinyTensors(), input)).rejects.toMatchObject({
    code: 'ERR_REPFUSE_INVALID_ARGUMENT',
  });
});

test.each<[string, (tensors: Map<string, Tensor>) => void, string, string, string]>([
  ['NaN', (t) => t.get('bn.bias')!.data.fill(Number.NaN as never), 'ERR_REPFUSE_NOT_FINITE', 'bn', 'bias'],
  [
    'variance 0',
    (t) => t.get('pad.running_var')!.data.fill(-1 as never),
    'ERR_REPFUSE_NOT_FUSABLE',
    'pad',
    'running_var',
  ],
])('a BatchNorm that cannot be evaluated is named: %s', async (_, spoil, code, node, tensor) => {
  const tensors = tinyTensors();
  spoil(tensors);
  const expected = { code, message: expect.stringContaining(`Node ${node} (`), details: { node, tensor } };
  expect(refusalOf(() => evaluate(graph, tensors, tinyInput()))).toMatchObject(expected);
  await expect(evaluateAsync(graph, tensors, tinyInput())).rejects.toMatchObject(expected);
});

test('the input may be changed while evaluateAsync runs', async () => {
  const expected = evaluate(twice, new Map(), tinyInput());
  const input = tinyInput();
  const running = evaluateAsync(twice, new Map(), input);
  input.data.fill(7 as never);
  expect(await running).toEqual(expected);
});

/** Reads its input at its end again. */
const twice: Graph = {
  input: 'x',
  output: 'sum',
  nodes: [
    { id: 'relu', op: 'relu', inputs: ['x'] },
    { id: 'silu', op: 'silu', inputs: ['relu'] },
    { id: 'sum', op: 'add', inputs: ['silu', 'x'] },
  ],
};

/** A BatchNorm after `count` activations, twice. */
function longGraph(count: number): Graph {
  const ops = [...Array(count).fill('relu'), 'batch_norm', ...Array(count).fill('relu'), 'batch_norm'];
  const nodes = ops.map((op, i) => ({
    id: `n${i}`,
    op,
    inputs: [i === 0 ? 'x' : `n${i - 1}`],
    ...(op === 'relu' ? {} : { prefix: `bn${i}`, eps: 0, affine: false }),
  }));
  return parseGraph({ input: 'x', output: nodes.at(-1)!.id, nodes });
}

/** Statistics of the two BatchNorms; calls back when one of them is about to run. */
class Watched extends Map<string, Tensor> {
  constructor(
    count: number,
    private readonly onRead: (key: string) => void,
  ) {
    super();
    for (const prefix of [`bn${count}`, `bn${2 * count + 1}`]) {
      this.set(`${prefix}.running_mean`, Tensor.f32([1]));
      this.set(`${prefix}.running_var`, Tensor.f32([1], [1]));
    }
  }

  override get(key: string): Tensor | undefined {
    this.onRead(key);
    return super.get(key);
  }
}

test('results are freed after their last use', () => {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  const held = () => {
    collect();
    return process.memoryUsage().arrayBuffers;
  };
  let atLastNode = 0;
  const tensors = new Watched(15, () => {
    atLastNode = held();
  });
  const image = 1 << 22;
  const input = Tensor.f32([1, 1, 1024, 1024]);
  const before = held();
  evaluate(longGraph(15), tensors, input);
  expect(atLastNode - before).toBeLessThan(4 * image);
});

test('evaluateAsync stops at its signal: before, and between two nodes', async () => {
  const input = Tensor.f32([1, 1, 4, 4]);
  const stopped = evaluateAsync(longGraph(3), new Watched(3, () => {}), input, { signal: AbortSignal.abort(null) });
  await expect(stopped).rejects.toBeNull();

  const controller = new AbortController();
  const enough = new Error('enough');
  const read: string[] = [];
  const tensors = new Watched(3, (key) => {
    read.push(key);
    // Shapes are inferred first, which reads each tensor twice.
    if (read.filter((other) => other === 'bn3.running_var').length > 2) controller.abort(enough);
  });
  await expect(evaluateAsync(longGraph(3), tensors, input, { signal: controller.signal })).rejects.toBe(enough);
  const afterStart = read.slice(read.lastIndexOf('bn3.running_mean'));
  expect(afterStart).toEqual(['bn3.running_mean', 'bn3.running_var']);
});

test('normalizeInput scales, shifts and checks the size of the images', () => {
  const model = { ...tinyGraph(), inputShape: [2, 1, 2], normalization: { scale: 0.5, mean: [1, 2], std: [1, 4] } };
  const got = normalizeInput(parseGraph(model), Tensor.f32([1, 2, 1, 2], [2, 4, 6, 8]));
  expect([...got.data]).toEqual([0, 1, 0.25, 0.5]);
  expect(refusalOf(() => normalizeInput(parseGraph(model), Tensor.f32([1, 2, 2, 1]))).code).toBe('ERR_REPFUSE_SHAPE');
  const { normalization, ...plain } = model as Json;
  const images = Tensor.f32([1, 2, 1, 2]);
  expect(normalizeInput(parseGraph(plain), images)).toBe(images);
  const mismatch = parseGraph({ ...model, normalization: { ...normalization, mean: [1] } });
  expect(refusalOf(() => normalizeInput(mismatch, images)).message).toContain('mean');
});
