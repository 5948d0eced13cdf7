// What it takes to have a network run: time from the start of a process to its first result, and resident memory after the first run and the tenth, ours
// beside onnxruntime-node, a fresh process each, by turns. The real networks (see real.cjs, whose variables count here too), and RepVGG by name.
const { execFileSync } = require('node:child_process');
const { mkdirSync, mkdtempSync, rmSync } = require('node:fs');
const { tmpdir } = require('node:os');
const { join } = require('node:path');
const { info } = require('repfuse');
const { BEFORE } = require('../before.cjs');
const { median } = require('../interleave.cjs');
const { fileOf, exportAll, placePublished } = require('../networks/files.cjs');
const { FOLDER, REAL } = require('../networks/rows.cjs');
const { expectBaselines, writeModels } = require('./model-files.cjs');

const ROUNDS = 5;
const THREADS = 2;
const NAMED = [
  { net: 'repvgg_a0', batch: 1 },
  { net: 'repvgg_a0', batch: 8 },
  { net: 'repvgg_b1', batch: 1 },
];

function measure(runtime, given) {
  const text = JSON.stringify({ runtime, threads: THREADS, ...given });
  const worker = join(__dirname, 'start-worker.cjs');
  return JSON.parse(execFileSync(process.execPath, ['--expose-gc', worker, text], { encoding: 'utf8' }));
}

/** The median of a figure over the rounds. */
const medianOf = (rounds, group, name) => median(rounds.map((round) => round[group][name]));

function summaryOf(rounds) {
  const of = (group) =>
    Object.fromEntries(Object.keys(rounds[0][group]).map((name) => [name, medianOf(rounds, group, name)]));
  return { milliseconds: of('milliseconds'), megabytes: of('megabytes') };
}

function measureCase({ name, files, shape }, print) {
  const runtimes = {
    repfuse: 'repfuse',
    onnxruntime: 'onnxruntime',
    ...(BEFORE === undefined ? {} : { before: BEFORE }),
  };
  const rounds = Object.fromEntries(Object.keys(runtimes).map((key) => [key, []]));
  try {
    for (let round = 0; round < ROUNDS; round++) {
      for (const [key, runtime] of Object.entries(runtimes))
        rounds[key].push(measure(runtime, { file: key === 'onnxruntime' ? files.onnx : files.model, shape }));
    }
  } catch ({ stderr, message }) {
    const problem = (stderr?.trim() || message).split('\n').find((line) => /Error/.test(line)) ?? message;
    print(`${name.padEnd(34)} ${problem.slice(0, 200)}`);
    return { name, shape, problem: problem.slice(0, 200) };
  }
  // Of the rounds' shares the median: a machine whose speed drifts slows both alike.
  const shareOf = (of) => median(rounds.repfuse.map((own, round) => of(own) / of(rounds.onnxruntime[round])));
  const row = {
    name,
    shape,
    share: {
      start: shareOf(({ milliseconds }) => milliseconds.start),
      settled: shareOf(({ megabytes }) => megabytes.settled),
    },
    ...Object.fromEntries(Object.entries(rounds).map(([key, each]) => [key, summaryOf(each)])),
  };
  print(line(row));
  return row;
}

function line({ name, share, repfuse, onnxruntime, before }) {
  const times = ({ milliseconds: { start, require: required, load, run } }) =>
    `${start.toFixed(0)} ms (require ${required.toFixed(0)}, load ${load.toFixed(0)}, run ${run.toFixed(0)})`;
  const memory = ({ megabytes: { first, tenth, settled, peak } }) =>
    [first, tenth, settled, peak].map((each) => each.toFixed(0)).join(' / ');
  const others = before === undefined ? '' : `; before ${times(before)}, ${memory(before)} MB`;
  return `${name.padEnd(34)} ${times(repfuse)}, onnxruntime-node ${times(onnxruntime)}: ${share.start.toFixed(2)}; MB ${memory(repfuse)} and ${memory(onnxruntime)}: ${share.settled.toFixed(2)}${others}`;
}

async function run(print) {
  expectBaselines();
  mkdirSync(FOLDER, { recursive: true });
  const names = process.env.REPFUSE_REAL?.split(',');
  const isAsked = (name) => names === undefined || names.some((each) => name.includes(each));
  const real = REAL.filter(({ network }) => isAsked(network));
  const problems = await exportAll(real, print);
  const folder = mkdtempSync(join(tmpdir(), 'repfuse-bench-'));
  const rows = [];
  print(
    'from the start of a process to its first result; resident memory after the first run / the tenth / garbage collection / at most',
  );
  try {
    for (const row of real) {
      const { id, network, size } = row;
      try {
        if (problems.has(id)) throw new Error(problems.get(id));
        if (row.exporter === undefined) placePublished(row);
        const file = fileOf(id, 'onnx');
        rows.push(measureCase({ name: network, files: { onnx: file, model: file }, shape: [1, 3, ...size] }, print));
      } catch ({ message }) {
        rows.push({ name: network, problem: message });
        print(`${network.padEnd(34)} ${message}`);
      }
    }
    for (const { net, batch } of NAMED.filter(({ net }) => isAsked(net))) {
      const files = await writeModels(folder, net, 'deploy');
      const name = `${net}, deploy, safetensors, batch ${batch}`;
      rows.push(measureCase({ name, files, shape: [batch, 3, 224, 224] }, print));
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  return {
    description: 'start of a process to the first result, and resident memory',
    isa: info().isa,
    threads: THREADS,
    rounds: ROUNDS,
    rows,
  };
}

module.exports = { run };
