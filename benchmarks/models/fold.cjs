// What folding an ONNX model gives onnxruntime-node and our engine: the training form as exporters write it, and the same folded by `foldOnnx`, timed
// in turn. The engine merges branches as it compiles, whichever form it is given: what it gains is the loading.
// Needs `npm run bench:baselines` once. REPFUSE_BEFORE, another checkout that is built, folds and runs the same files in turn.
const { mkdtempSync, rmSync } = require('node:fs');
const { tmpdir } = require('node:os');
const { join } = require('node:path');
const repfuse = require('repfuse');
const { BEFORE } = require('../before.cjs');
const { median } = require('../interleave.cjs');
const { timeNetworks } = require('./fold-networks.cjs');
const { BASELINES, expectBaselines } = require('./model-files.cjs');

const { exportOnnx, netFromSeed } = repfuse;
/** Checkouts of this project that are measured, by name. */
const OURS = { repfuse, ...(BEFORE === undefined ? {} : { before: require(BEFORE) }) };
const NETS = ['repvgg_a0', 'repvgg_b1', 'repvgg_d2se', 'mobileone_s0', 'mobileone_s1'];
const ROUNDS = 9;
const THREADS = [1, 2];

/** The runs of a network: `{ runtime, form, run, close }`, and what making it took. */
async function openRuns(ort, files, image, threads) {
  const runs = [];
  const shape = [1, ...image];
  const data = new Float32Array(shape.reduce((product, size) => product * size, 1)).fill(0.1);
  const options = { intraOpNumThreads: threads, interOpNumThreads: 1, executionMode: 'sequential' };
  for (const [form, file] of Object.entries(files)) {
    const started = performance.now();
    const session = await ort.InferenceSession.create(file, options);
    const loaded = performance.now();
    const feeds = { [session.inputNames[0]]: new ort.Tensor('float32', data, shape) };
    runs.push({
      runtime: 'onnxruntime',
      form,
      loadMilliseconds: loaded - started,
      run: () => session.run(feeds),
      close: () => session.release(),
    });
    for (const [runtime, { Engine, readModel, Tensor }] of Object.entries(OURS)) {
      const began = performance.now();
      const engine = await Engine.create(await readModel(file), { threads });
      const tensor = Tensor.f32(shape, data);
      runs.push({
        runtime,
        form,
        loadMilliseconds: performance.now() - began,
        run: () => engine.run(tensor),
        close: () => engine.dispose(),
      });
    }
  }
  return runs;
}

/** Folds with each of our checkouts in turn: the fastest of three, and the nodes of the file that is left, which is ours. */
async function foldInTurn({ train, folded }) {
  const foldMilliseconds = {};
  let nodes;
  for (let round = 0; round < 3; round++) {
    for (const [name, { foldOnnx }] of Object.entries(OURS).reverse()) {
      const told = await foldOnnx(train, folded, { force: true });
      foldMilliseconds[name] = Math.min(foldMilliseconds[name] ?? Number.POSITIVE_INFINITY, told.milliseconds);
      nodes = told.nodes;
    }
  }
  return { nodes, foldMilliseconds };
}

async function timeNet(ort, folder, net, threads, print) {
  const files = { train: join(folder, `${net}.onnx`), folded: join(folder, `${net}.folded.onnx`) };
  const made = netFromSeed(net, { form: 'train' });
  await exportOnnx(files.train, made, { force: true });
  const { nodes, foldMilliseconds } = await foldInTurn(files);
  const runs = await openRuns(ort, files, made.graph.inputShape, threads);
  const times = runs.map(() => []);
  for (let round = -2; round < ROUNDS; round++) {
    for (const [i, { run }] of runs.entries()) {
      await new Promise((resolve) => setTimeout(resolve, 30)); // another's pool may still spin
      const before = performance.now();
      await run();
      if (round >= 0) times[i].push(performance.now() - before);
    }
  }
  for (const { close } of runs) await close();
  const of = (runtime) => {
    const index = (form) => runs.findIndex((each) => each.runtime === runtime && each.form === form);
    const [train, folded] = [index('train'), index('folded')];
    const numbers = (each) => ({ milliseconds: median(times[each]), loadMilliseconds: runs[each].loadMilliseconds });
    const ratio = median(times[train].map((time, round) => time / times[folded][round]));
    return { train: numbers(train), folded: numbers(folded), ratio };
  };
  const runtimes = ['onnxruntime', ...Object.keys(OURS)];
  const measured = Object.fromEntries(runtimes.map((runtime) => [runtime, of(runtime)]));
  const row = { net, threads, ...measured, nodes, foldMilliseconds };
  const told = (name) => {
    const { train, folded, ratio } = row[name];
    return `${name} ${train.milliseconds.toFixed(2)} -> ${folded.milliseconds.toFixed(2)} ms (${ratio.toFixed(2)} times as fast; loaded in ${train.loadMilliseconds.toFixed(0)} -> ${folded.loadMilliseconds.toFixed(0)} ms)`;
  };
  const folding = Object.entries(foldMilliseconds).map(([name, time]) => `${name} ${time.toFixed(0)} ms`);
  print(`${net.padEnd(13)} t${threads}  ${runtimes.map(told).join('; ')}; folding: ${folding.join(', ')}`);
  return row;
}

async function run(print) {
  expectBaselines();
  const ort = require(join(BASELINES, 'node_modules', 'onnxruntime-node'));
  const folder = mkdtempSync(join(tmpdir(), 'repfuse-fold-'));
  const rows = [];
  try {
    for (const net of NETS) for (const threads of THREADS) rows.push(await timeNet(ort, folder, net, threads, print));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  return {
    description: 'ONNX training forms and the same folded, in onnxruntime-node and in repfuse, one image, in turn',
    rounds: ROUNDS,
    rows,
    networks: await timeNetworks(ort, print),
  };
}

module.exports = { run };
