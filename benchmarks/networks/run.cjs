// usage: npm run networks [-- NAME ...]      Reads, folds and runs the networks of networks.json (those whose name holds a NAME), beside float64 and
// onnxruntime-node, and prints a table; without names it also writes ../results/networks.json, from which scripts/write-networks.mjs makes the table
// of docs/onnx.md. Needs `npm run bench:baselines` once, and a Python with torch, timm, onnx and onnxscript in REPFUSE_REFERENCE_PYTHON.
// Files are kept in REPFUSE_NETWORKS (else a folder of the temporary one) and made when they are not there; repositories' files are put there by hand.
const { execFile } = require('node:child_process');
const { existsSync, mkdirSync, rmSync, writeFileSync } = require('node:fs');
const { cpus } = require('node:os');
const { join } = require('node:path');
const { promisify } = require('node:util');
const { describeMachine } = require('../machine.cjs');
const { expectBaselines } = require('../models/model-files.cjs');
const execute = promisify(execFile);
const { MINUTES, PYTHON, exportAll, fileOf, isThere, placePublished, writeValues } = require('./files.cjs');
const { FOLDER, ROWS } = require('./rows.cjs');

/** An error below this share of the peak is right, and one that onnxruntime's float32 has too. */
const BOUND = 1e-5;
const TIMES_ONNXRUNTIME = 4;

/** The lines that a process prints, as JSON, or how it ended. */
async function answersOf(command, args) {
  try {
    const { stdout } = await execute(command, args, { encoding: 'utf8', timeout: MINUTES * 60_000 });
    return stdout
      .trim()
      .split('\n')
      .map((text) => JSON.parse(text.replaceAll(`${FOLDER}/`, '')));
  } catch ({ killed, signal, code, stderr = '' }) {
    if (killed) return [{ problem: `not within ${MINUTES} minutes` }];
    return [{ problem: `the process ended (${signal ?? code}) ${stderr.trim().split('\n').at(-1).slice(0, 200)}` }];
  }
}

async function measure({ id }) {
  const [onnx, npz, folded] = [fileOf(id, 'onnx'), fileOf(id, 'npz'), fileOf(id, 'folded.onnx')];
  rmSync(folded, { force: true });
  const [measured] = await answersOf(process.execPath, [join(__dirname, 'measure.cjs'), onnx, npz, folded]);
  const files = existsSync(folded) ? [onnx, folded] : [onnx];
  const [given, left = null] = await answersOf(PYTHON, [join(__dirname, 'onnx_facts.py'), 'count', ...files]);
  const result = measured.problem === undefined ? measured : { engine: measured };
  return { given, folded: left, ...result };
}

/** What is wrong with a network, if anything is. */
function verdictOf({ engine, folding, onnxruntime, foldedInOnnxruntime }) {
  const told = engine.problem ?? folding ?? foldedInOnnxruntime.problem;
  if (told) return told.replace(/^.*\.onnx: /, '');
  const bound = Math.max(BOUND, TIMES_ONNXRUNTIME * (onnxruntime.value ?? 0));
  if (!(engine.value <= bound)) return `its results are off by ${engine.value?.toExponential(1)} of the peak`;
  if (foldedInOnnxruntime.value > bound)
    return `folded it is off by ${foldedInOnnxruntime.value.toExponential(1)} of the peak`;
  return null;
}

const errorText = (attempt) => attempt?.value?.toExponential(1) ?? '-';

function line({ id, verdict, given, folded, engine, onnxruntime }) {
  const left =
    folded === null || folded === undefined
      ? '-'
      : `${folded.behindAffine} + ${folded.batchNorms - folded.behindAffine}`;
  const convolutions = `${given?.convolutions ?? '-'} -> ${folded?.convolutions ?? '-'}`;
  const errors = `${errorText(engine).padStart(8)} ${errorText(onnxruntime).padStart(8)}`;
  return `${id.padEnd(40)} ${left.padStart(8)} ${convolutions.padStart(11)} ${errors}  ${verdict ?? 'runs'}`;
}

/** What was measured, or why there was nothing to measure. */
async function measureOrTell(row, problem) {
  try {
    if (row.exporter === undefined && !isThere(row)) {
      placePublished(row);
      writeValues(row);
    }
    if (!isThere(row)) throw new Error(problem ?? 'its export is not there');
    return await measure(row);
  } catch (error) {
    const told = String(error.stderr ?? '').trim() || error.message;
    return { notMade: told.split('\n').at(-1).slice(0, 200) };
  }
}

async function main(names) {
  expectBaselines();
  mkdirSync(FOLDER, { recursive: true });
  const rows = ROWS.filter(({ id }) => names.length === 0 || names.some((name) => id.includes(name)));
  const problems = await exportAll(rows, console.log);
  console.log(`${'network'.padEnd(40)} BN left*  Conv before, after   error  onnxruntime's`);
  const results = [];
  const open = [...rows.entries()];
  // Nothing is timed: as many at once as there are CPUs.
  const workers = cpus().map(async () => {
    for (let next = open.shift(); next !== undefined; next = open.shift()) {
      const [i, row] = next;
      const measured = await measureOrTell(row, problems.get(row.id) ?? problems.get('python'));
      const verdict = measured.notMade === undefined ? verdictOf(measured) : `not made: ${measured.notMade}`;
      results[i] = { ...row, ...measured, verdict };
      console.log(line(results[i]));
    }
  });
  await Promise.all(workers);
  const made = results.filter(({ notMade }) => notMade === undefined);
  const right = made.filter(({ verdict }) => verdict === null).length;
  console.log(
    `* behind Conv, ConvTranspose, Gemm or MatMul + elsewhere\n${right} of ${made.length} networks run with right results`,
  );
  if (names.length > 0) return;
  const description =
    'Networks as exporters and publishers write them, folded and run beside float64 and onnxruntime-node';
  const file = join(__dirname, '..', 'results', 'networks.json');
  const text = JSON.stringify(
    { benchmark: 'networks', description, machine: describeMachine(), rows: results },
    null,
    2,
  );
  writeFileSync(file, `${text}\n`);
}

main(process.argv.slice(2)).catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
