import { callNative, callNativeAsync } from '../../lib/native/call';
import { loadAddon } from '../../lib/native/load';
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

test('an aborted call rejects with the reason as cause', async () => {
  const controller = new AbortController();
  const reason = new Error('enough');
  controller.abort(reason);
  const args = { count: 1, threads: 1, input: new Float32Array(1), output: new Float32Array(1) };
  await expect(callNativeAsync('relu', args, { signal: controller.signal })).rejects.toMatchObject({
    code: 'ERR_REPFUSE_ABORTED',
    cause: reason,
  });
});
