// A process from its start to the tenth result of one network: `node --expose-gc start-worker.cjs '{"runtime", "file", "shape", "threads"}'` prints one
// line of JSON. `runtime` is onnxruntime, repfuse, or the folder of another checkout.
const { readFileSync } = require('node:fs');
const { join } = require('node:path');
const { residentMemory } = require('./resident-memory.cjs');

// Not of a module that loads repfuse: that is measured.
const PEER = join(__dirname, '..', 'baselines', 'node_modules', 'onnxruntime-node');
const RUNS = 10;

/** What runs once, with memory of its own for each result. */
async function openRepfuse({ Engine, readModel, Tensor }, { file, shape, threads }, data) {
  const engine = await Engine.create(await readModel(file), { threads });
  const image = Tensor.f32(shape, data);
  return () => engine.run(image);
}

async function openOnnxruntime({ InferenceSession, Tensor }, { file, shape, threads }, data) {
  const session = await InferenceSession.create(file, { intraOpNumThreads: threads, interOpNumThreads: 1 });
  const feeds = { [session.inputNames[0]]: new Tensor('float32', data, shape) };
  return () => session.run(feeds);
}

/** Megabytes, of a line of /proc/self/status. */
function megabytesOf(name) {
  const text = readFileSync('/proc/self/status', 'utf8');
  return (Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(text)[1]) * 1024) / 1e6;
}

async function main({ runtime, ...given }) {
  const data = new Float32Array(given.shape.reduce((product, size) => product * size, 1)).fill(0.1);
  const isPeer = runtime === 'onnxruntime';
  const begun = performance.now();
  const library = require(isPeer ? PEER : runtime);
  const required = performance.now();
  const before = megabytesOf('VmRSS');
  const run = await (isPeer ? openOnnxruntime : openRepfuse)(library, given, data);
  const loaded = performance.now();
  await run();
  const first = performance.now();
  const megabytes = { before, first: megabytesOf('VmRSS') };
  for (let i = 1; i < RUNS; i++) await run();
  megabytes.tenth = megabytesOf('VmRSS');
  megabytes.peak = megabytesOf('VmHWM');
  megabytes.settled = (await residentMemory()) / 1e6;
  const milliseconds = { require: required - begun, load: loaded - required, run: first - loaded, start: first };
  console.log(JSON.stringify({ milliseconds, megabytes }));
  process.exit(0);
}

main(JSON.parse(process.argv[2])).catch((error) => {
  console.error(error);
  process.exit(1);
});
