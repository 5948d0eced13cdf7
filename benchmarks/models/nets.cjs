// Whole networks, ours beside onnxruntime-node on the same weights: each runtime in a process of its own, timed in turn, round by round.
// Needs `npm run bench:baselines` once, which installs the peers into benchmarks/baselines. REPFUSE_REFERENCE_PYTHON, a Python with torch, puts
// torch in bfloat16 beside our bf16. REPFUSE_BEFORE, another checkout that is built, is timed in turn with both.
const { spawn } = require('node:child_process');
const { mkdtempSync, rmSync } = require('node:fs');
const { tmpdir } = require('node:os');
const { join } = require('node:path');
const { createInterface } = require('node:readline');
const { info } = require('repfuse');
const { BEFORE } = require('../before.cjs');
const { median } = require('../interleave.cjs');
const { BASELINES, expectBaselines, writeModels } = require('./model-files.cjs');

const ROUNDS = 7;
const ROUND_MILLISECONDS = 300;
const CASES = [
  { net: 'repvgg_a0', form: 'deploy', batch: 1 },
  { net: 'repvgg_a0', form: 'deploy', batch: 8 },
  { net: 'repvgg_b1', form: 'deploy', batch: 1 },
  { net: 'repvgg_b1', form: 'deploy', batch: 8 },
  { net: 'mobileone_s0', form: 'deploy', batch: 1 },
  { net: 'mobileone_s0', form: 'train', batch: 1 },
  // Ours held to AVX2; onnxruntime-node takes what the CPU has.
  { net: 'repvgg_a0', form: 'deploy', batch: 1, isa: 'avx2' },
  { net: 'repvgg_b1', form: 'deploy', batch: 1, isa: 'avx2' },
  { net: 'mobileone_s0', form: 'deploy', batch: 1, isa: 'avx2' },
];
const THREADS = [1, 2];
const BEST_ISA = info().isasAvailable.at(-1);
// What the CPU has products of bf16 for: the other precisions are computed in float32.
const PRECISIONS = { amx: ['fast', 'bf16'], avx512bf16: ['bf16'] }[BEST_ISA] ?? [];
for (const precision of PRECISIONS) {
  for (const [net, batch] of [
    ['repvgg_a0', 1],
    ['repvgg_a0', 8],
    ['repvgg_b1', 1],
    ['repvgg_b1', 8],
    ['mobileone_s0', 1],
  ])
    CASES.push({ net, form: 'deploy', batch, precision });
}

/** A runtime in a process of its own. */
class Runtime {
  constructor([command, ...args], env = {}) {
    this.process = spawn(command, args, {
      stdio: ['pipe', 'pipe', 'inherit'],
      env: { ...process.env, ...env },
    });
    this.waiting = [];
    createInterface({ input: this.process.stdout }).on('line', (line) => this.waiting.shift()(JSON.parse(line)));
  }

  async ask(request) {
    const answer = await new Promise((resolve) => {
      this.waiting.push(resolve);
      this.process.stdin.write(`${JSON.stringify(request)}\n`);
    });
    if (answer.error !== undefined) throw new Error(answer.error);
    return answer;
  }

  close() {
    this.process.stdin.end();
  }
}

const ours = (script) => [process.execPath, '--expose-gc', script];

async function timeCase(files, { net, form, batch, isa = BEST_ISA, precision = 'f32' }, threads, print) {
  const runtimes = {
    repfuse: [new Runtime(ours(join(__dirname, 'repfuse-worker.cjs')), { REPFUSE_ISA: isa }), files.model],
    'onnxruntime-node': [new Runtime(ours(join(BASELINES, 'onnxruntime-worker.cjs'))), files.onnx],
  };
  if (BEFORE !== undefined) {
    const worker = join(BEFORE, 'benchmarks', 'models', 'repfuse-worker.cjs');
    runtimes.before = [new Runtime(ours(worker), { REPFUSE_ISA: isa }), files.model];
  }
  const python = process.env.REPFUSE_REFERENCE_PYTHON;
  if (python !== undefined && precision === 'bf16' && net.startsWith('repvgg'))
    runtimes['torch bf16'] = [new Runtime([python, join(BASELINES, 'torch_worker.py')]), null];
  const measured = {};
  try {
    for (const [name, [runtime, file]] of Object.entries(runtimes)) {
      const { milliseconds, memory } = await runtime.ask({ op: 'load', file, net, batch, threads, precision });
      const { milliseconds: first } = await runtime.ask({ op: 'time', warm: 2, runs: 3 });
      const { values } = await runtime.ask({ op: 'output' });
      measured[name] = { load: milliseconds, memory, estimate: median(first), rounds: [], blocking: [], values };
    }
    for (let round = 0; round < ROUNDS; round++) {
      // Who comes after whom changes from round to round: caches and idle threads are as the one before has left them.
      const order = Object.entries(runtimes);
      for (const [name, [runtime]] of round % 2 === 0 ? order : order.reverse()) {
        const own = measured[name];
        const runs = Math.max(2, Math.min(100, Math.round(ROUND_MILLISECONDS / own.estimate)));
        const { milliseconds } = await runtime.ask({ op: 'time', warm: 1, runs });
        own.rounds.push(median(milliseconds));
        if (name === 'repfuse') {
          const blocking = await runtime.ask({ op: 'time', warm: 1, runs, blocking: true });
          own.blocking.push(median(blocking.milliseconds));
        }
        await new Promise((resolve) => setTimeout(resolve, 15)); // a pool may still spin
      }
    }
  } finally {
    for (const [runtime] of Object.values(runtimes)) runtime.close();
  }
  const [own, theirs, torch] = [measured.repfuse, measured['onnxruntime-node'], measured['torch bf16']];
  const { before } = measured;
  const row = {
    net,
    form,
    batch,
    isa,
    precision,
    threads,
    milliseconds: {
      repfuse: median(own.rounds),
      runSync: median(own.blocking),
      'onnxruntime-node': median(theirs.rounds),
      ...(torch === undefined ? {} : { 'torch bf16': median(torch.rounds) }),
      ...(before === undefined ? {} : { before: median(before.rounds) }),
    },
    ratio: median(theirs.rounds.map((time, round) => time / own.rounds[round])),
    // onnxruntime-node's run computes on the thread that calls it, as runSync does.
    ratioOfRunSync: median(theirs.rounds.map((time, round) => time / own.blocking[round])),
    ...(torch === undefined
      ? {}
      : { ratioToTorchBf16: median(torch.rounds.map((time, round) => time / own.rounds[round])) }),
    ...(before === undefined
      ? {}
      : { ratioToBefore: median(before.rounds.map((time, round) => time / own.rounds[round])) }),
    loadMilliseconds: { repfuse: own.load, 'onnxruntime-node': theirs.load },
    megabytes: { repfuse: own.memory / 1e6, 'onnxruntime-node': theirs.memory / 1e6 },
    difference: relativeDifference(own.values, theirs.values),
  };
  print(
    `${`${net} ${form} b${batch} ${isa} ${precision} t${threads}`.padEnd(46)} ${row.milliseconds.repfuse.toFixed(2).padStart(8)} ms, onnxruntime-node ${row.milliseconds['onnxruntime-node'].toFixed(2).padStart(8)} ms: ${row.ratio.toFixed(2)} times as fast (runSync ${row.ratioOfRunSync.toFixed(2)}${torch === undefined ? '' : `; torch bf16 ${row.ratioToTorchBf16.toFixed(2)}`}${before === undefined ? '' : `; before ${row.ratioToBefore.toFixed(3)}`}); ${row.megabytes.repfuse.toFixed(0)} and ${row.megabytes['onnxruntime-node'].toFixed(0)} MB; outputs differ by ${row.difference.toExponential(1)}`,
  );
  return row;
}

function relativeDifference(a, b) {
  const peak = Math.max(...b.map(Math.abs));
  return Math.max(...a.map((value, i) => Math.abs(value - b[i]))) / peak;
}

async function run(print) {
  expectBaselines();
  const only = process.env.REPFUSE_BENCH_ONLY?.split(',');
  const folder = mkdtempSync(join(tmpdir(), 'repfuse-bench-'));
  const rows = [];
  try {
    for (const item of CASES) {
      if (item.isa === BEST_ISA) continue; // no other to be held to
      if (only !== undefined && !only.includes(`${item.net}/${item.batch}/${item.form}`)) continue;
      const files = await writeModels(folder, item.net, item.form);
      for (const threads of THREADS) rows.push(await timeCase(files, item, threads, print));
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  return { description: 'whole networks at 224 x 224 in turn with onnxruntime-node', rounds: ROUNDS, rows };
}

module.exports = { run };
