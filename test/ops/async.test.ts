import { spawnSync } from 'node:child_process';
import { resolve } from 'node:path';
import { conv2d, conv2dAsync, relu, reluAsync } from '../../lib/ops';
import { Tensor } from '../../lib/tensor/tensor';
import { Random } from '../support/random';

const DIST = resolve(__dirname, '..', '..', 'dist');
const random = new Random(3);

/** A convolution that takes long enough to be interrupted (about 10 GFLOP). */
const big = {
  input: Tensor.f32([4, 128, 64, 64], random.floats(4 * 128 * 64 * 64)),
  weight: Tensor.f32([256, 128, 3, 3], random.floats(256 * 128 * 9)),
};

test('the event loop turns while a convolution runs', async () => {
  let turns = 0;
  const timer = setInterval(() => turns++, 1);
  await conv2dAsync(big.input, big.weight, null, { padding: 1 });
  clearInterval(timer);
  expect(turns).toBeGreaterThan(3);
});

test('many calls at once give what one call at a time gives', async () => {
  const inputs = Array.from({ length: 24 }, (_, i) => Tensor.f32([1, 8, 9, 11], new Random(i).floats(8 * 9 * 11)));
  const weight = Tensor.f32([12, 8, 3, 3], random.floats(12 * 8 * 9));
  const together = await Promise.all(inputs.map((input) => conv2dAsync(input, weight, null, { padding: 1 })));
  inputs.forEach((input, i) => {
    expect(together[i]!.data).toEqual(conv2d(input, weight, null, { padding: 1 }).data);
  });
});

test('an abort stops a running call and rejects with the reason', async () => {
  const controller = new AbortController();
  const call = conv2dAsync(big.input, big.weight, null, { padding: 1, signal: controller.signal });
  setTimeout(() => controller.abort('enough'), 2);
  await expect(call).rejects.toBe('enough');
});

test('views: subarrays at any offset, SharedArrayBuffers; outputs are transferable', async () => {
  const sub = new Float32Array([9, 9, -1, 2, -3, 4]).subarray(2);
  expect([...(relu(Tensor.f32([4], sub)).data as Float32Array)]).toEqual([0, 2, 0, 4]);
  const shared = new Float32Array(new SharedArrayBuffer(16));
  shared.set([-1, 2, -3, 4]);
  const output = await reluAsync(Tensor.f32([4], shared));
  expect([...(output.data as Float32Array)]).toEqual([0, 2, 0, 4]);
  const moved = structuredClone(output.data, { transfer: [output.data.buffer as ArrayBuffer] });
  expect([...(moved as Float32Array)]).toEqual([0, 2, 0, 4]);
});

test('a detached input is refused, one that is detached during the call does no harm', async () => {
  const input = Tensor.f32([1, 1, 2, 2], [1, 2, 3, 4]);
  const weight = Tensor.f32([1, 1, 1, 1], [2]);
  const call = conv2dAsync(input, weight);
  structuredClone(input.data, { transfer: [input.data.buffer as ArrayBuffer] });
  expect([...((await call).data as Float32Array)]).toEqual([2, 4, 6, 8]);
  expect(() => conv2d(input, weight)).toThrow(expect.objectContaining({ code: 'ERR_REPFUSE_INVALID_ARGUMENT' }));
});

test('what is no float32 image is refused with the shape or type at fault', () => {
  const weight = Tensor.f32([4, 3, 3, 3]);
  const refuse = (input: Tensor, options: object, message: RegExp) =>
    expect(() => conv2d(input, weight, null, options)).toThrow(
      expect.objectContaining({ message: expect.stringMatching(message) }),
    );
  const image = Tensor.f32([1, 3, 5, 5]);
  refuse(new Tensor('F64', [1, 3, 5, 5], new Float64Array(75)), {}, /float32 tensor for input but received F64/);
  refuse(Tensor.f32([3, 5, 5]), {}, /4 non-empty axes for input but received \[3, 5, 5\]/);
  refuse(Tensor.f32([1, 4, 5, 5]), {}, /3 input channels .* but received 4/);
  refuse(Tensor.f32([1, 3, 2, 2]), {}, /3x3 kernel fits into but received 2x2/);
  refuse(image, { groups: 3 }, /divisor of the 4 output channels for groups but received 3/);
  refuse(image, { stride: 0 }, /at least 1, or two, for stride but received 0/);
  refuse(image, { padding: 0.5 }, /for padding but received 0.5/);
  refuse(image, { activation: 'gelu' }, /none or relu for activation but received "gelu"/);
  refuse(image, { threads: 65 }, /from 1 to 64 for threads but received 65/);
});

function node(code: string, env: NodeJS.ProcessEnv = {}) {
  const header = `
    const { ops, Tensor, info } = require(${JSON.stringify(DIST)});
    const big = () => ops.conv2dAsync(Tensor.f32([2, 128, 64, 64]), Tensor.f32([256, 128, 3, 3]), null, { padding: 1 });`;
  const child = spawnSync(process.execPath, ['-e', header + code], {
    encoding: 'utf8',
    env: { ...process.env, ...env },
    timeout: 60_000,
  });
  return { status: child.status, signal: child.signal, output: child.stdout + child.stderr };
}

test('process.exit during pending calls is clean', () => {
  const code = 'for (let i = 0; i < 8; i++) big(); setTimeout(() => process.exit(0), 5);';
  for (let round = 0; round < 10; round++) expect(node(code)).toEqual({ status: 0, signal: null, output: '' });
});

test('a worker thread ended during calls is clean, and others go on', () => {
  const code = `
    const { Worker } = require('node:worker_threads');
    const source = ${'`'}
      const { ops, Tensor } = require(${JSON.stringify(DIST)});
      for (let i = 0; i < 8; i++) ops.conv2dAsync(Tensor.f32([2, 64, 64, 64]), Tensor.f32([64, 64, 3, 3]), null, { padding: 1 });
      require('node:worker_threads').parentPort.postMessage('started');${'`'};
    (async () => {
      for (let i = 0; i < 12; i++) {
        const worker = new Worker(source, { eval: true });
        await new Promise((started) => worker.once('message', started));
        await worker.terminate();
      }
      const [n] = (await big()).shape;
      console.log('main goes on', n);
    })();`;
  expect(node(code)).toEqual({ status: 0, signal: null, output: 'main goes on 2\n' });
});

test('pending calls keep the process alive, an idle addon does not', () => {
  expect(node(`big().then((y) => console.log(y.shape.join()));`)).toEqual({
    status: 0,
    signal: null,
    output: '2,256,64,64\n',
  });
  expect(node(`ops.relu(Tensor.f32([3])); console.log('end');`)).toEqual({ status: 0, signal: null, output: 'end\n' });
});

test("libuv's threads are not used: calls end while its only thread is busy", () => {
  const code = `
    const order = [];
    require('node:crypto').pbkdf2('', '', 2e6, 64, 'sha512', () => console.log([...order, 'hash'].join()));
    ops.conv2dAsync(Tensor.f32([1, 8, 9, 9]), Tensor.f32([8, 8, 3, 3])).then(() => order.push('call'));`;
  expect(node(code, { UV_THREADPOOL_SIZE: '1' })).toEqual({ status: 0, signal: null, output: 'call,hash\n' });
});
