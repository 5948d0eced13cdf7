import { Engine } from '../../lib/engine';
import { netFromSeed } from '../../lib/nets';
import { Tensor } from '../../lib/tensor/tensor';
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
