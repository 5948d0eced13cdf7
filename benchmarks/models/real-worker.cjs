// One network in both runtimes, by turns: `node real-worker.cjs '{"file", "shape", "threads"}'` prints one line of JSON. onnxruntime's pool does not
// spin between runs: it would take the core that ours runs on.
const { join } = require('node:path');
const repfuse = require('repfuse');
const { BEFORE } = require('../before.cjs');
const { median } = require('../interleave.cjs');
const { probe } = require('../native-addon.cjs');
const { BASELINES } = require('./model-files.cjs');

const ort = require(join(BASELINES, 'node_modules', 'onnxruntime-node'));
const ROUNDS = 9;
const ROUND_MILLISECONDS = 150;
const MOST_RUNS = 60;
/** Precisions that are timed beside float32, where the CPU has products of bf16. */
const HAS_BF16 = ['amx', 'avx512bf16'].includes(repfuse.info().isa);

async function timeOf(run, runs) {
  const times = [];
  for (let i = 0; i < runs; i++) {
    const started = performance.now();
    await run();
    times.push(performance.now() - started);
  }
  return median(times);
}

/** Multiply-accumulates a second of so many threads, measured now. */
function peakMacs(threads) {
  const flops = new Float64Array(1);
  const seconds = [1, 2, 3].map(() => {
    const started = performance.now();
    probe('fmaProbe', { rounds: 1_000_000, threads: 1, flops });
    return (performance.now() - started) / 1e3;
  });
  return (threads * flops[0]) / 2 / Math.min(...seconds);
}

function differenceOf(given, own, names) {
  let largest = 0;
  for (const name of names) {
    const [want, got] = [given[name].data, own.get(name).data];
    let [peak, difference] = [0, 0];
    for (let i = 0; i < want.length; i++) {
      peak = Math.max(peak, Math.abs(Number(want[i])));
      difference = Math.max(difference, Math.abs(Number(want[i]) - Number(got[i])));
    }
    if (peak > 0) largest = Math.max(largest, difference / peak);
  }
  return largest;
}

async function main({ file, shape, threads }) {
  const data = new Float32Array(shape.reduce((product, size) => product * size, 1));
  let state = 1;
  for (let i = 0; i < data.length; i++) {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0;
    data[i] = state / 2 ** 31 - 1;
  }
  const session = await ort.InferenceSession.create(file, {
    intraOpNumThreads: threads,
    interOpNumThreads: 1,
    executionMode: 'sequential',
    graphOptimizationLevel: 'all',
    logSeverityLevel: 3,
    extra: { session: { intra_op: { allow_spinning: '0' } } },
  });
  const feeds = { [session.inputNames[0]]: new ort.Tensor('float32', data, shape) };
  const engineOf = async ({ Engine, readModel, Tensor }, options = {}) => {
    const engine = await Engine.create(await readModel(file), { threads, ...options });
    const image = Tensor.f32(shape, data);
    return { engine, image, run: () => engine.run(image) };
  };
  const own = await engineOf(repfuse);
  const outputs = await own.engine.runAll(own.image);
  const runs = {
    onnxruntime: () => session.run(feeds),
    repfuse: own.run,
    ...(HAS_BF16 ? { bf16: (await engineOf(repfuse, { precision: 'bf16' })).run } : {}),
    ...(BEFORE === undefined ? {} : { before: (await engineOf(require(BEFORE))).run }),
  };
  const difference = differenceOf(await session.run(feeds), outputs, session.outputNames);
  const counts = {};
  for (const [name, run] of Object.entries(runs)) {
    await timeOf(run, 2);
    counts[name] = Math.max(2, Math.min(MOST_RUNS, Math.round(ROUND_MILLISECONDS / (await timeOf(run, 3)))));
  }
  const times = Object.fromEntries(Object.keys(runs).map((name) => [name, []]));
  for (let round = 0; round < ROUNDS; round++) {
    const order = Object.entries(runs);
    for (const [name, run] of round % 2 === 0 ? order : order.reverse())
      times[name].push(await timeOf(run, counts[name]));
  }
  const ratioOf = (name) => median(times[name].map((time, round) => time / times.repfuse[round]));
  const macs = own.engine.explain(shape).reduce((sum, step) => sum + step.macs, 0);
  console.log(
    JSON.stringify({
      onnxruntime: median(times.onnxruntime),
      repfuse: median(times.repfuse),
      ...(HAS_BF16 ? { bf16: median(times.bf16) } : {}),
      ...(BEFORE === undefined ? {} : { before: ratioOf('before') }),
      ratio: ratioOf('onnxruntime'),
      macs,
      share: macs / (median(times.repfuse) / 1e3) / peakMacs(threads),
      difference,
    }),
  );
  process.exit(0);
}

main(JSON.parse(process.argv[2])).catch((error) => {
  console.error(error);
  process.exit(1);
});
