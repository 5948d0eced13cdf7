import { createSecureContext } from 'node:tls';
import { types } from 'node:util';
import { callNative, callNativeAsync } from '../../lib/native/call';
import { loadAddon } from '../../lib/native/load';
import { nodeArguments } from '../../lib/ops/tensor-op';
import { availableIsas, withIsa } from '../support/isa';

describe.each(availableIsas())('operators at %s', (isa) => {
  test.each([0, 1, 7, 15, 16, 17, 100_003])('relu and add of %i elements', (count) => {
    const a = Float32Array.from({ length: count }, (_, i) => (i % 7) - 3);
    const b = Float32Array.from({ length: count }, (_, i) => i);
    const output = new Float32Array(count);
    withIsa(isa, () => callNative('relu', { count, threads: 2, input: a, output }));
    expect(output).toEqual(a.map((x) => Math.max(0, x)));
    withIsa(isa, () => callNative('add', { count, threads: 2, a, b, output }));
    expect(output).toEqual(a.map((x, i) => x + b[i]!));
  });
});

test('an asynchronous call reads a copy of its input', async () => {
  const input = Float32Array.of(-1, 2, -3, 4);
  const output = new Float32Array(4);
  const call = callNativeAsync('relu', { count: 4, threads: 1, input, output });
  input.fill(9);
  await call;
  expect([...output]).toEqual([0, 2, 0, 4]);
  expect(loadAddon().info().pendingJobs).toBe(0);
});

test('a wrong length or type is refused before anything is touched', () => {
  const output = new Float32Array(4).fill(7);
  const run = (args: object) => () =>
    callNative('relu', { count: 4, threads: 1, input: new Float32Array(4), output, ...args });
  const refusal = expect.objectContaining({ code: 'ERR_REPFUSE_INVALID_ARGUMENT' });
  expect(run({ input: new Float32Array(3) })).toThrow(refusal);
  expect(run({ input: new Float64Array(4) })).toThrow(refusal);
  expect(run({ input: undefined })).toThrow(refusal);
  expect(run({ count: 2 ** 60 })).toThrow(refusal);
  expect(run({ threads: 0 })).toThrow(refusal);
  expect(run({ threads: 1.5 })).toThrow(refusal);
  expect([...output]).toEqual([7, 7, 7, 7]);
});

test('an aborted call rejects with the reason itself', async () => {
  const controller = new AbortController();
  const reason = new Error('enough');
  controller.abort(reason);
  const args = { count: 1, threads: 1, input: new Float32Array(1), output: new Float32Array(1) };
  await expect(callNativeAsync('relu', args, { signal: controller.signal })).rejects.toBe(reason);
});

describe('the native side reads what it knows, or refuses it by name', () => {
  const step = {
    ...nodeArguments({ kind: 'binary' }),
    function: 'add',
    shapes: [
      [1, 2],
      [1, 2],
    ],
    operands: [Float32Array.of(1, 2), Float32Array.of(3, 4)],
    output: new Float32Array(2),
    threads: 1,
  };
  const resize = {
    mode: 'nearest',
    coordinates: 'half_pixel',
    nearest: 'floor',
    aspect: 'stretch',
    excludeOutside: false,
    antialias: false,
    cubicA: -0.75,
    extrapolation: 0,
    scales: [1, 1],
    sizes: [0, 0],
    crop: [0, 0, 1, 1],
  };

  test.each<[string, object]>([
    ['kind', { kind: 'fold' }],
    ['kind', { kind: undefined }],
    ['kind', { kind: 3 }],
    ['kind', { kind: 'constructor' }],
    ['activation', { activation: 'swish' }],
    ['activation', { activation: 7 }],
    ['function', { function: 'power' }],
    ['padMode', { padMode: 'zeros' }],
    ['name', { name: 5 }],
    ['alpha', { alpha: 1e39 }],
    ['alpha', { alpha: '1' }],
    ['padValue', { padValue: -1e300 }],
    ['ints', { ints: [1, 2.5] }],
    ['ints', { ints: [2 ** 40] }],
    ['ints', { ints: 'x' }],
    ['ints', { ints: new Array(2 ** 32 - 1) }],
    ['kernel', { kernel: [1, 1, 1] }],
    ['kernel', { kernel: new Array(66).fill(1) }],
    ['resize', { resize: 'nearest' }],
    ['mode', { resize: { ...resize, mode: 'area' } }],
    ['coordinates', { resize: { ...resize, coordinates: 'centre' } }],
    ['nearest', { resize: { ...resize, nearest: 'up' } }],
    ['aspect', { resize: { ...resize, aspect: '' } }],
    ['scales', { resize: { ...resize, scales: [1, '2'] } }],
    ['crop', { resize: { ...resize, crop: [0, 0, 1] } }],
    ['extrapolation', { resize: { ...resize, extrapolation: 4e38 } }],
    [
      'shapes',
      {
        shapes: [
          [1, 2],
          ['1', 2],
        ],
      },
    ],
    ['shapes', { shapes: [[1, 2], new Array(9).fill(1)] }],
    ['operands', { shapes: [[1, 2]] }],
  ])('%s of %o', (field, change) => {
    expect(() => callNative('tensorOp', { ...step, ...change })).toThrow(
      expect.objectContaining({ code: 'ERR_REPFUSE_INVALID_ARGUMENT', message: `tensorOp failed: ${field}` }),
    );
    expect([...step.output]).toEqual([0, 0]);
  });

  test.each<[string, object]>([
    ['algorithm', { algorithm: 'fft' }],
    ['precision', { precision: 'f16' }],
    ['inputs', { inputs: [-1] }],
    ['inputs', { inputs: [Number.NaN] }],
    ['inputs', { inputs: 1 }],
    ['plans', { plans: 0 }],
    ['outputs', { outputs: [2 ** 31] }],
  ])('%s of an engine: %o', (field, change) => {
    const addon = loadAddon();
    const options = {
      inputs: [1],
      outputs: [0],
      algorithm: 'auto',
      precision: 'f32',
      batchInvariant: false,
      leastMemory: false,
      merge: true,
      plans: 1,
    };
    expect(addon.engineBuild(addon.engineBuilder(), { ...options, ...change })).toMatchObject({
      code: 1,
      message: field,
    });
    expect(addon.engineBuild(addon.engineBuilder(), options)).toBeNull();
  });

  test('a handle that Node or another addon made is no engine', () => {
    const addon = loadAddon();
    const { context } = createSecureContext() as unknown as {
      context: { _external: ReturnType<typeof addon.engineBuilder> };
    };
    const foreign = context._external;
    expect(types.isExternal(foreign)).toBe(true);
    expect(addon.engineMemory(foreign)).toMatchObject({ code: 1, message: 'engine' });
    expect(addon.engineAccount(foreign)).toMatchObject({ code: 1, message: 'engine' });
    expect(addon.engineDispose(foreign)).toMatchObject({ code: 1, message: 'engine' });
    expect(addon.engineAdd(foreign, {})).toMatchObject({ code: 1, message: 'the builder' });
    expect(() => callNative('enginePrepare', { engine: foreign, shapes: [[1, 1, 1, 1]], threads: 1 })).toThrow(
      expect.objectContaining({ code: 'ERR_REPFUSE_INVALID_ARGUMENT', message: 'enginePrepare failed: engine' }),
    );
    expect(addon.engineDispose(addon.engineBuilder())).toBeNull();
  });
});
