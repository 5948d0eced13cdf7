// The table of docs/onnx.md between its two markers, from benchmarks/results/networks.json. Run it after `npm run networks`.
import { readFileSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = resolve(dirname(fileURLToPath(import.meta.url)), '..');
const LINE = 118;
const [BEGIN, END] = ['<!-- networks: written by scripts/write-networks.mjs -->', '<!-- end of networks -->'];

const { machine, rows } = JSON.parse(readFileSync(join(root, 'benchmarks', 'results', 'networks.json'), 'utf8'));
const made = rows.filter(({ notMade }) => notMade === undefined);
const refused = made.filter(({ verdict }) => verdict !== null);

const error = (attempt) => attempt?.value?.toExponential(1) ?? '-';

function cells({ network, export: kind, verdict, given, folded, engine, onnxruntime }) {
  return [
    network,
    kind,
    verdict === null ? 'yes' : 'no',
    folded === null ? '-' : `${folded.behindAffine} + ${folded.batchNorms - folded.behindAffine}`,
    `${given.convolutions} → ${folded?.convolutions ?? '-'}`,
    error(engine),
    error(onnxruntime),
  ];
}

/** A text in lines, the later ones set in under a list's dash. */
function wrapped(text) {
  const lines = [''];
  for (const word of text.split(' ')) {
    if (lines.at(-1).length + 1 + word.length > LINE) lines.push(' ');
    lines.push(`${lines.pop()} ${word}`.replace(/^ (?=\S)/, ''));
  }
  return lines;
}

const table = [
  ['network', 'export', 'runs', 'BN left', 'Conv', 'error', "onnxruntime's"],
  ['---', '---', '---', '---', '---', '---', '---'],
  ...made.map(cells),
].map((row) => `| ${row.join(' | ')} |`);

const text = [
  `${made.length - refused.length} of ${made.length} run with right results (\`npm run networks\`, Node ${machine.node}, commit ${machine.commit}).`,
  ...(refused.length > 0 ? ['Those that do not:', ''] : []),
  ...refused.flatMap(({ id, verdict }) => wrapped(`* ${id}: ${verdict.replace(/[<>|]/g, ' ')}`)),
  '',
  ...table,
];

const file = join(root, 'docs', 'onnx.md');
const docs = readFileSync(file, 'utf8');
const [start, end] = [docs.indexOf(BEGIN), docs.indexOf(END)];
if (start < 0 || end < start) throw new Error(`Expected ${BEGIN} and ${END} in docs/onnx.md`);
writeFileSync(file, `${docs.slice(0, start + BEGIN.length)}\n\n${text.join('\n')}\n\n${docs.slice(end)}`);
