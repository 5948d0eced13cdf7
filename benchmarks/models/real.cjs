// Real networks as people export them (../networks/real.json), one image, ours beside onnxruntime-node: both in one process, by turns, a process for
// each network and number of threads. Files lie in REPFUSE_NETWORKS and are made where they are not there: that needs a Python with torch, timm and
// onnx in REPFUSE_REFERENCE_PYTHON; published files of repositories are put there by hand. REPFUSE_REAL names some networks; REPFUSE_BEFORE, another
// checkout that is built, is timed in turn with both.
const { execFile } = require('node:child_process');
const { mkdirSync } = require('node:fs');
const { join } = require('node:path');
const { promisify } = require('node:util');
const { info } = require('repfuse');
const { expectBaselines } = require('./model-files.cjs');
const { MINUTES, exportAll, fileOf, placePublished } = require('../networks/files.cjs');
const { FOLDER, REAL } = require('../networks/rows.cjs');

const execute = promisify(execFile);
const THREADS = [1, 2];

async function timeNetwork({ id, network, size }, threads) {
  const file = fileOf(id, 'onnx');
  const given = JSON.stringify({ file, shape: [1, 3, ...size], threads });
  try {
    const { stdout } = await execute(process.execPath, [join(__dirname, 'real-worker.cjs'), given], {
      encoding: 'utf8',
      timeout: MINUTES * 60_000,
    });
    return { network, size, threads, ...JSON.parse(stdout.trim().split('\n').at(-1)) };
  } catch ({ stderr, message }) {
    const problem = (stderr?.trim() || message).split('\n').find((line) => /Error/.test(line)) ?? message;
    return { network, size, threads, problem: problem.slice(0, 200) };
  }
}

const milliseconds = (value) => value.toFixed(2).padStart(8);

function line({ network, threads, problem, onnxruntime, repfuse, bf16, before, ratio, share, difference }) {
  const head = `${network.padEnd(24)} t${threads}`;
  if (problem !== undefined) return `${head}  ${problem}`;
  const times = `onnxruntime-node ${milliseconds(onnxruntime)} ms, repfuse ${milliseconds(repfuse)} ms: ${ratio.toFixed(2)} times as fast`;
  const others = [
    `${(100 * share).toFixed(0)} % of the peak`,
    ...(bf16 === undefined ? [] : [`bf16 ${bf16.toFixed(2)} ms`]),
    ...(before === undefined ? [] : [`${before.toFixed(3)} times as fast as before`]),
    `outputs differ by ${difference.toExponential(1)}`,
  ];
  return `${head} ${times} (${others.join('; ')})`;
}

function geometricMean(values) {
  return Math.exp(values.reduce((sum, value) => sum + Math.log(value), 0) / values.length);
}

async function run(print) {
  expectBaselines();
  mkdirSync(FOLDER, { recursive: true });
  const names = process.env.REPFUSE_REAL?.split(',');
  const rows = REAL.filter(({ network }) => names === undefined || names.some((name) => network.includes(name)));
  const problems = await exportAll(rows, print);
  for (const row of rows) {
    try {
      if (row.exporter === undefined) placePublished(row);
    } catch (error) {
      problems.set(row.id, error.message);
    }
  }
  const timed = [];
  for (const row of rows) {
    for (const threads of THREADS) {
      const problem = problems.get(row.id);
      const result = problem === undefined ? await timeNetwork(row, threads) : { ...row, threads, problem };
      timed.push(result);
      print(line(result));
    }
  }
  const means = {};
  for (const threads of THREADS) {
    const ratios = timed.filter((row) => row.threads === threads && row.ratio !== undefined).map(({ ratio }) => ratio);
    means[`threads${threads}`] = geometricMean(ratios);
    print(
      `t${threads}: geometric mean ${means[`threads${threads}`].toFixed(2)}, least ${Math.min(...ratios).toFixed(2)}`,
    );
  }
  return {
    description: 'Real networks in training form, one image, onnxruntime-node and repfuse in one process, by turns',
    isa: info().isa,
    means,
    rows: timed,
  };
}

module.exports = { run };
