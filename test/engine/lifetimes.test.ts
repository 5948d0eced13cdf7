import { spawn, spawnSync } from 'node:child_process';
import { resolve } from 'node:path';

const DIST = resolve(__dirname, '..', '..', 'dist');
/** `npm run trust` asks for all. */
const isAll = process.env.REPFUSE_LIFETIMES === 'all';
/** Processes that end in the middle, each a little later than the one before. */
const ENDS = Array.from({ length: isAll ? 40 : 6 }, (_, i) => ({ code: i, delay: 1 + (i * 40) / (isAll ? 40 : 6) }));
const ENGINES = isAll ? 180 : 40;

/** Every program gets `repfuse`, a small engine's model and an input that takes about a tenth of a second on one thread. */
const PRELUDE = `
  const { Engine, Tensor, netFromSeed } = require(${JSON.stringify(DIST)});
  const net = netFromSeed('repvgg_a0', { form: 'deploy', classes: 10 });
  const { inputShape, ...anySize } = net.graph;
  const model = { graph: anySize, tensors: net.tensors };
  const slow = Tensor.f32([8, 3, 160, 160]);
  const quick = Tensor.f32([1, 3, 32, 32]);
`;

function node(code: string, args: readonly string[] = []) {
  const { status, signal, stdout, stderr } = spawnSync(process.execPath, [...args, '-e', PRELUDE + code], {
    encoding: 'utf8',
    timeout: 120_000,
  });
  return { status, signal, output: stdout + stderr };
}

describe('a process that ends in the middle of runs', () => {
  const busyFor = (delay: number) => `
    Engine.create(model, { threads: 2 }).then((engine) => {
      for (let i = 0; i < 6; i++) engine.run(slow).catch(() => {});
      setTimeout(end, ${delay});
    });`;

  test('process.exit: the code that was asked for', () => {
    for (const { code, delay } of ENDS)
      expect(node(`${busyFor(delay)} function end() { process.exit(${code}); }`)).toEqual({
        status: code,
        signal: null,
        output: '',
      });
  });

  test('an uncaught exception: code 1, and its message', () => {
    for (const { delay } of ENDS) {
      const { status, signal, output } = node(`${busyFor(delay)} function end() { throw new Error('as asked'); }`);
      expect({ status, signal, told: output.includes('as asked') }).toEqual({ status: 1, signal: null, told: true });
    }
  });

  test('SIGTERM: ended by it', async () => {
    for (const { delay } of ENDS) {
      const child = spawn(process.execPath, [
        '-e',
        `${PRELUDE}${busyFor(delay)} function end() { console.log('running'); }`,
      ]);
      child.stdout.once('data', () => child.kill('SIGTERM'));
      const ended = await new Promise((done) => child.once('close', (code, signal) => done({ code, signal })));
      expect(ended).toEqual({ code: null, signal: 'SIGTERM' });
    }
  });
});

test('eight worker threads that load, run and are terminated in the middle, three rounds; the main thread goes on', () => {
  const source = `${PRELUDE}
    const { parentPort } = require('node:worker_threads');
    Engine.create(model, { threads: 1 }).then((engine) => {
      for (let i = 0; i < 4; i++) engine.run(slow).catch(() => {});
      parentPort.postMessage('running');
    });`;
  const code = `
    const { Worker } = require('node:worker_threads');
    (async () => {
      const engine = await Engine.create(model);
      const before = await engine.run(quick);
      for (let round = 0; round < 3; round++) {
        const workers = Array.from({ length: 8 }, () => new Worker(${JSON.stringify(source)}, { eval: true }));
        await Promise.all(workers.map((worker) => new Promise((running) => worker.once('message', running))));
        await Promise.all(workers.map((worker) => worker.terminate()));
      }
      const after = await engine.run(quick);
      console.log(after.data.every((value, i) => value === before.data[i]));
    })();`;
  expect(node(code)).toEqual({ status: 0, signal: null, output: 'true\n' });
});

describe('memory', () => {
  const grown = `
    const resident = () => { gc(); gc(); return process.memoryUsage().rss / 1e6; };`;

  test(`${20 + ENGINES} engines made and disposed of: flat`, () => {
    const code = `${grown}
      (async () => {
        const cycle = async (times) => {
          for (let i = 0; i < times; i++) {
            await using engine = await Engine.create(model, { threads: 1 });
            await engine.run(quick);
          }
        };
        await cycle(20);
        const before = resident();
        await cycle(${ENGINES});
        console.log(Math.round(resident() - before));
      })();`
      .replace('await using engine', 'const engine')
      .replace('await engine.run(quick);', 'await engine.run(quick); engine.dispose();');
    const { status, output } = node(code, ['--expose-gc']);
    expect(status).toBe(0);
    expect(Number(output)).toBeLessThan(40); // an engine holds 60 MB
  });

  test('250 engines that nobody disposes of are collected: V8 knows of their bytes', () => {
    const code = `
      (async () => {
        const width = 384;
        const conv = { id: 'conv', op: 'conv2d', inputs: ['x'], weight: 'conv.weight', bias: null, stride: [1, 1], padding: [1, 1], dilation: [1, 1], groups: 1 };
        const wide = { graph: { input: 'x', inputShape: [width, 8, 8], output: 'conv', nodes: [conv] }, tensors: new Map([['conv.weight', Tensor.f32([width, width, 3, 3])]]) };
        let most = 0;
        for (let i = 0; i < 250; i++) {
          await Engine.create(wide, { threads: 1 });
          most = Math.max(most, process.memoryUsage().rss / 1e6);
        }
        console.log(Math.round(most));
      })();`;
    const { status, output } = node(code); // nobody calls gc()
    expect(status).toBe(0);
    expect(Number(output)).toBeLessThan(350); // 600 where V8 does not know
  });

  test('10 000 runs: flat', () => {
    const code = `${grown}
      (async () => {
        const conv = { id: 'conv', op: 'conv2d', inputs: ['x'], weight: 'conv.weight', bias: null, stride: [1, 1], padding: [1, 1], dilation: [1, 1], groups: 1 };
        const small = { graph: { input: 'x', output: 'conv', nodes: [conv] }, tensors: new Map([['conv.weight', Tensor.f32([16, 3, 3, 3])]]) };
        const engine = await Engine.create(small, { threads: 2 });
        const out = await engine.run(quick);
        const runs = async (times) => {
          for (let i = 0; i < times; i++) await engine.run(quick, i % 2 ? { out } : {});
        };
        await runs(1000);
        const before = resident();
        await runs(9000);
        console.log(Math.round(resident() - before));
      })();`;
    const { status, output } = node(code, ['--expose-gc']);
    expect(status).toBe(0);
    expect(Number(output)).toBeLessThan(40); // one result of each run would be far more
  });
});

test('a long run on one thread: the event loop turns, files are read, no thread of libuv is taken', () => {
  const code = `
    const { readFile } = require('node:fs/promises');
    const { pbkdf2 } = require('node:crypto');
    (async () => {
      const engine = await Engine.create(model, { threads: 1 });
      const long = Tensor.f32([40, 3, 160, 160], new Float32Array(40 * 3 * 160 * 160).fill(0.5));
      await engine.run(long);
      const order = [];
      const busy = new Promise((done) => pbkdf2('', '', 2e6, 64, 'sha512', done)); // the only thread of libuv
      await Promise.all([
        engine.run(quick).then(() => order.push('run')),
        busy.then(() => order.push('thread of libuv')),
      ]);
      let turns = 0;
      const timer = setInterval(() => turns++, 1);
      const reading = (async () => {
        for (let i = 0; i < 20; i++) await readFile(${JSON.stringify(__filename)});
        while (turns < 20) await new Promise(setImmediate);
        order.push('20 files and turns');
      })();
      await engine.run(long).then(() => order.push('long run'));
      await reading;
      clearInterval(timer);
      console.log(JSON.stringify(order));
    })();`;
  const child = spawnSync(process.execPath, ['-e', PRELUDE + code], {
    encoding: 'utf8',
    env: { ...process.env, UV_THREADPOOL_SIZE: '1' },
  });
  expect(child.stderr).toBe('');
  expect(JSON.parse(child.stdout)).toEqual(['run', 'thread of libuv', '20 files and turns', 'long run']);
});
