// What a service feels beside speed: time from the start of a process to its first result, how long the event loop waits, what a call costs.
const { spawnSync } = require('node:child_process');
const { mkdtempSync, rmSync } = require('node:fs');
const { tmpdir } = require('node:os');
const { join } = require('node:path');
const { Engine, exportOnnx, readModel, Tensor } = require('repfuse');
const { interleave, median } = require('../interleave.cjs');
const { BASELINES, expectBaselines, writeModels } = require('./model-files.cjs');

const ROUNDS = 9;

function start(script, file) {
  const { status, stderr } = spawnSync(process.execPath, [script, file, '2'], { encoding: 'utf8' });
  if (status !== 0) throw new Error(stderr);
}

/** The longest time between two turns of a 5 ms timer while `run` runs for at least half a second; the best of three. */
async function longestWait(run) {
  const gaps = [];
  for (let round = 0; round < 3; round++) {
    let last = performance.now();
    let gap = 0;
    const timer = setInterval(() => {
      const now = performance.now();
      gap = Math.max(gap, now - last);
      last = now;
    }, 5);
    const started = performance.now();
    while (performance.now() - started < 500) await run();
    gap = Math.max(gap, performance.now() - last);
    clearInterval(timer);
    gaps.push(gap);
  }
  return Math.min(...gaps);
}

/** Median microseconds of many calls, the ways in turn. */
async function callCosts(ways) {
  const times = ways.map(() => []);
  for (let round = 0; round < 2000; round++) {
    for (const [i, way] of ways.entries()) {
      const before = performance.now();
      await way();
      times[i].push((performance.now() - before) * 1e3);
    }
  }
  return times.map(median);
}

/** One 1x1 convolution of one pixel: nothing but the call. */
function tinyNet() {
  const node = {
    id: 'y',
    op: 'conv2d',
    inputs: ['x'],
    weight: 'w',
    bias: null,
    stride: [1, 1],
    padding: [0, 0],
    dilation: [1, 1],
    groups: 1,
  };
  const head = { id: 'z', op: 'linear', inputs: ['f'], weight: 'l', bias: 'b' };
  const flat = { id: 'f', op: 'flatten', inputs: ['y'] };
  const tensors = new Map([
    ['w', Tensor.f32([4, 3, 1, 1])],
    ['l', Tensor.f32([2, 4])],
    ['b', Tensor.f32([2])],
  ]);
  return { graph: { input: 'x', output: 'z', inputShape: [3, 1, 1], nodes: [node, flat, head] }, tensors };
}

async function run(print) {
  expectBaselines();
  const folder = mkdtempSync(join(tmpdir(), 'repfuse-bench-'));
  const rows = [];
  const add = (row) => {
    rows.push(row);
    print(
      `${row.name}: ${row.repfuse.toFixed(2)} ${row.unit}, onnxruntime-node ${row.peer?.toFixed(2) ?? '-'} ${row.unit}`,
    );
  };
  try {
    const { model, onnx } = await writeModels(folder, 'repvgg_a0', 'deploy');
    const { milliseconds, ratio } = interleave(
      {
        repfuse: () => start(join(__dirname, 'cold-start-repfuse.cjs'), model),
        peer: () => start(join(BASELINES, 'cold-start-onnxruntime.cjs'), onnx),
        node: () => spawnSync(process.execPath, ['-e', '0']),
      },
      ROUNDS,
    );
    add({
      name: 'RepVGG-A0, process start to first result, 2 threads',
      unit: 'ms',
      repfuse: milliseconds.repfuse,
      peer: milliseconds.peer,
      node: milliseconds.node,
      share: ratio('repfuse', 'peer'),
    });

    const ort = require(join(BASELINES, 'node_modules', 'onnxruntime-node'));
    const image = new Float32Array(3 * 224 * 224).fill(0.1);
    const engine = await Engine.create(await readModel(model), { threads: 1 });
    const session = await ort.InferenceSession.create(onnx, { intraOpNumThreads: 1 });
    const input = Tensor.f32([1, 3, 224, 224], image);
    const feeds = { x: new ort.Tensor('float32', image, [1, 3, 224, 224]) };
    add({
      name: 'longest wait of the event loop during runs of RepVGG-A0, 1 thread',
      unit: 'ms',
      repfuse: await longestWait(() => engine.run(input)),
      peer: await longestWait(() => session.run(feeds)),
    });

    const tiny = tinyNet();
    const tinyFile = join(folder, 'tiny.onnx');
    await exportOnnx(tinyFile, tiny);
    const tinyEngine = await Engine.create(tiny, { threads: 1 });
    const tinySession = await ort.InferenceSession.create(tinyFile, { intraOpNumThreads: 1 });
    const pixel = Tensor.f32([1, 3, 1, 1]);
    const tinyFeeds = { x: new ort.Tensor('float32', new Float32Array(3), [1, 3, 1, 1]) };
    const [sync, asynchronous, peer] = await callCosts([
      () => tinyEngine.runSync(pixel),
      () => tinyEngine.run(pixel),
      () => tinySession.run(tinyFeeds),
    ]);
    add({ name: 'a call of runSync, beside run of onnxruntime-node', unit: 'us', repfuse: sync, peer });
    add({ name: 'a call of run', unit: 'us', repfuse: asynchronous, peer });
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  return { description: 'cold start, waits of the event loop, cost of a call', rounds: ROUNDS, rows };
}

module.exports = { run };
