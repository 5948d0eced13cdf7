// The command `repfuse convert`, its start included, on checkpoints of the sizes of RepVGG-A0, B1 and B3: beside `cp` of the same file, and beside
// timm's own converter where REPFUSE_REFERENCE_PYTHON names a Python with torch and timm. Then a thousand small files in one batch.
// REPFUSE_BEFORE, another checkout that is built, converts in turn with this one.
// All in turn, round by round; outputs are removed between rounds, inputs are in the page cache.
const { spawnSync } = require('node:child_process');
const { mkdtempSync, mkdirSync, rmSync, statSync } = require('node:fs');
const { tmpdir } = require('node:os');
const { join, resolve } = require('node:path');
const { BEFORE } = require('../before.cjs');
const { interleave } = require('../interleave.cjs');
const { NETS, writeNetwork, writeSmall } = require('./checkpoints.cjs');

const ROUNDS = 5;
const SMALL_FILES = 1000;
const mainOf = (checkout) => join(checkout, 'dist', 'cli', 'main.js');
const MAIN = mainOf(resolve(__dirname, '..', '..'));
const REFERENCE = resolve(__dirname, '..', 'baselines', 'convert_reference.py');

function start(command, args) {
  const { status, stderr } = spawnSync(command, args, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`${command} ${args.join(' ')}: ${stderr}`);
}

/** The ways to convert one file, each with the output removed first. */
function waysFor(name, input, output, python) {
  const fresh =
    (command, ...args) =>
    () => {
      rmSync(output, { force: true });
      start(command, args);
    };
  return {
    repfuse: fresh(process.execPath, MAIN, 'convert', input, '-o', output),
    'repfuse --no-hash': fresh(process.execPath, MAIN, 'convert', input, '-o', output, '--no-hash'),
    ...(BEFORE === undefined
      ? {}
      : { before: fresh(process.execPath, mainOf(BEFORE), 'convert', input, '-o', output) }),
    cp: fresh('cp', '--reflink=never', input, output),
    node: () => start(process.execPath, ['-e', '0']),
    ...(python === undefined ? {} : { reference: fresh(python, REFERENCE, name, input, output) }),
  };
}

async function run(print) {
  const python = process.env.REPFUSE_REFERENCE_PYTHON;
  const folder = mkdtempSync(join(tmpdir(), 'repfuse-bench-'));
  const rows = [];
  try {
    for (const name of Object.keys(NETS)) {
      const input = join(folder, `${name}.pth`);
      await writeNetwork(name, input);
      const bytes = statSync(input).size;
      const { milliseconds, ratio } = interleave(waysFor(name, input, join(folder, 'out.pth'), python), ROUNDS);
      const row = {
        name,
        megabytes: bytes / 1e6,
        milliseconds,
        gigabytesPerSecond: bytes / 1e6 / milliseconds['repfuse --no-hash'],
        timesCp: ratio('repfuse --no-hash', 'cp'),
        referenceOverRepfuse: python === undefined ? null : ratio('reference', 'repfuse'),
      };
      rows.push(row);
      const times = Object.entries(milliseconds).map(([way, ms]) => `${way} ${ms.toFixed(0)} ms`);
      print(`${name} (${row.megabytes.toFixed(0)} MB): ${times.join(', ')}`);
      print(
        `  ${row.gigabytesPerSecond.toFixed(2)} GB/s, ${row.timesCp.toFixed(2)} times cp (without hash), reference / repfuse ${row.referenceOverRepfuse?.toFixed(1) ?? 'not measured: set REPFUSE_REFERENCE_PYTHON'}`,
      );
      rmSync(input);
    }
    rows.push(await manySmall(folder, print));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  return { description: 'repfuse convert, process start included, in turn with cp and timm', rounds: ROUNDS, rows };
}

async function manySmall(folder, print) {
  const inputs = join(folder, 'small');
  mkdirSync(inputs);
  for (let i = 0; i < SMALL_FILES; i++) await writeSmall(join(inputs, `${i}.pth`), i);
  const batch = (jobs, main) => () => {
    rmSync(join(folder, 'out'), { recursive: true, force: true });
    start(process.execPath, [
      main,
      'convert',
      join(inputs, '*.pth'),
      '--out-dir',
      join(folder, 'out'),
      '--jobs',
      String(jobs),
    ]);
  };
  const ways = { 'jobs 1': batch(1, MAIN), 'jobs 4': batch(4, MAIN) };
  if (BEFORE !== undefined) ways['before, jobs 1'] = batch(1, mainOf(BEFORE));
  const { milliseconds } = interleave(ways, 3);
  const filesPerSecond = Object.fromEntries(
    Object.entries(milliseconds).map(([jobs, ms]) => [jobs, (SMALL_FILES * 1000) / ms]),
  );
  const told = Object.entries(filesPerSecond).map(([jobs, rate]) => `${jobs}: ${rate.toFixed(0)} files/s`);
  print(`${SMALL_FILES} small files: ${told.join(', ')}`);
  return { name: 'small files', files: SMALL_FILES, milliseconds, filesPerSecond };
}

module.exports = { run };
