// What folding an ONNX model gives onnxruntime-node and our engine: the training form as exporters write it, and the same folded by `foldOnnx`, timed
// in turn. The engine merges branches as it compiles, whichever form it is given: what it gains is the loading.
// Needs `npm run bench:baselines` once.
const { mkdtempSync, rmSync } = require('node:fs');
const { tmpdir } = require('node:os');
const { join } = require('node:path');
const { Engine, exportOnnx, foldOnnx, netFromSeed, readModel, Tensor } = require('repfuse');
const { median } = require('../interleave.cjs');
const { BASELINES, expectBaselines } = require('./model-files.cjs');

const NETS = ['repvgg_a0', 'repvgg_b1', 'repvgg_d2se', 'mobileone_s0', 'mobileone_s1'];
const ROUNDS = 9;
const THREADS = [1, 2];

/** The four runs of a network: `{ runtime, form, run, close }`, and what making it took. */
async function openRuns(ort, files, threads) {
  const runs = [];
  const options = { intraOpNumThreads: threads, interOpNumThreads: 1, executionMode: 'sequential' };
  for (const [form, file] of Object.entries(files)) {
    const started = performance.now();
    const session = await ort.InferenceSession.create(file, options);
    const loaded = performance.now();
    const engine = await Engine.create(await readModel(file), { threads });
    const compiled = performance.now();
    const [input] = session.inputMetadata;
    const shape = [1, ...input.shape.slice(1)];
    const data = new Float32Array(shape.reduce((product, size) => product * size, 1)).fill(0.1);
    const feeds = { [input.name]: new ort.Tensor('float32', data, shape) };
    const tensor = Tensor.f32(shape, data);
    runs.push({
      runtime: 'onnxruntime',
      form,
      loadMilliseconds: loaded - started,
      run: () => session.run(feeds),
      close: () => session.release(),
    });
    runs.push({
      runtime: 'repfuse',
      form,
      loadMilliseconds: compiled - loaded,
      run: () => engine.run(tensor),
      close: () => engine.dispose(),
    });
  }
  return runs;
}

async function timeNet(ort, folder, net, threads, print) {
  const files = { train: join(folder, `${net}.onnx`), folded: join(folder, `${net}.folded.onnx`) };
  await exportOnnx(files.train, netFromSeed(net, { form: 'train' }), { force: true });
  const { nodes, milliseconds: foldMilliseconds } = await foldOnnx(files.train, files.folded, { force: true });
  const runs = await openRuns(ort, files, threads);
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
  const row = { net, threads, onnxruntime: of('onnxruntime'), repfuse: of('repfuse'), nodes, foldMilliseconds };
  const told = (name) => {
    const { train, folded, ratio } = row[name];
    return `${name} ${train.milliseconds.toFixed(2)} -> ${folded.milliseconds.toFixed(2)} ms (${ratio.toFixed(2)} times as fast; loaded in ${train.loadMilliseconds.toFixed(0)} -> ${folded.loadMilliseconds.toFixed(0)} ms)`;
  };
  print(`${net.padEnd(13)} t${threads}  ${told('onnxruntime')}; ${told('repfuse')}`);
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
  };
}

module.exports = { run };
