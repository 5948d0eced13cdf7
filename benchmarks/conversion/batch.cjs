// Many small files in one batch, by the command, its start included: checkpoints and ONNX models of one network's layout (a sweep), with one job and
// with two in turn. Beside files a second the processor time of a file, which tells what two jobs gain where others use the cores too.
// REPFUSE_BEFORE, another checkout that is built, converts in turn with this one. REPFUSE_BATCH_FILES: how many files, default 400.
const { spawnSync } = require('node:child_process');
const { mkdirSync, mkdtempSync, readdirSync, rmSync, statSync } = require('node:fs');
const { tmpdir } = require('node:os');
const { join, resolve } = require('node:path');
const { BEFORE } = require('../before.cjs');
const { interleave, median } = require('../interleave.cjs');
const { writeSwept, writeSweptOnnx } = require('./checkpoints.cjs');

const FILES = Number(process.env.REPFUSE_BATCH_FILES ?? 400);
const ROUNDS = 5;
const JOBS = [1, 2];
const CPU_TIME = join(__dirname, 'cpu-time.cjs');
const CHECKOUTS = { repfuse: resolve(__dirname, '..', '..'), ...(BEFORE === undefined ? {} : { before: BEFORE }) };

/** Converts all files of a folder. @returns milliseconds of processor time of all threads */
function convertAll(checkout, inputs, outputs, jobs) {
  rmSync(outputs, { recursive: true, force: true });
  const main = join(checkout, 'dist', 'cli', 'main.js');
  const args = [
    '--require',
    CPU_TIME,
    main,
    'convert',
    join(inputs, '*'),
    '--out-dir',
    outputs,
    '--jobs',
    String(jobs),
  ];
  const { status, stderr, output } = spawnSync(process.execPath, args, {
    encoding: 'utf8',
    stdio: ['ignore', 'ignore', 'pipe', 'pipe'],
  });
  if (status !== 0) throw new Error(`${main}: ${stderr}`);
  const made = readdirSync(outputs).length - 1; // beside the report
  if (made !== FILES) throw new Error(`Expected ${FILES} outputs of ${main} but found ${made}`);
  return Number(output[3]);
}

async function measure(name, write, folder, print) {
  const inputs = join(folder, name);
  mkdirSync(inputs);
  for (let i = 0; i < FILES; i++) await write(join(inputs, `${i}.${name === 'onnx' ? 'onnx' : 'pth'}`), i);
  const bytes = statSync(join(inputs, readdirSync(inputs)[0])).size;
  const cpu = {};
  const ways = {};
  for (const [checkout, path] of Object.entries(CHECKOUTS))
    for (const jobs of JOBS) {
      const way = `${checkout}, jobs ${jobs}`;
      cpu[way] = [];
      ways[way] = () => cpu[way].push(convertAll(path, inputs, join(folder, 'out'), jobs));
    }
  const { milliseconds, ratio } = interleave(ways, ROUNDS);
  const rows = Object.keys(CHECKOUTS).map((checkout) => {
    const [one, two] = JOBS.map((jobs) => `${checkout}, jobs ${jobs}`);
    const filesPerSecond = [one, two].map((way) => (FILES * 1000) / milliseconds[way]);
    const cpuMilliseconds = [one, two].map((way) => median(cpu[way]) / FILES);
    const row = {
      name,
      checkout,
      files: FILES,
      bytes,
      jobs: JOBS,
      filesPerSecond,
      cpuMilliseconds,
      twoOverOne: ratio(one, two),
    };
    print(
      `${FILES} ${name} files of ${(bytes / 1000).toFixed(0)} kB, ${checkout}: ${filesPerSecond.map((n, i) => `${n.toFixed(0)} files/s at jobs ${JOBS[i]} (${cpuMilliseconds[i].toFixed(2)} ms of processor time each)`).join(', ')}, ${row.twoOverOne.toFixed(2)} times`,
    );
    return row;
  });
  rmSync(inputs, { recursive: true });
  return rows;
}

async function run(print) {
  const folder = mkdtempSync(join(tmpdir(), 'repfuse-batch-'));
  try {
    return {
      description:
        'repfuse convert --out-dir on many small files of one layout, process start included, jobs 1 and 2 in turn',
      rounds: ROUNDS,
      rows: [
        ...(await measure('checkpoint', writeSwept, folder, print)),
        ...(await measure('onnx', writeSweptOnnx, folder, print)),
      ],
    };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

module.exports = { run };
