// docs/performance.md and its chart, from benchmarks/results/*.json. Run it after `npm run bench`.
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { wrapMarkdown } from './wrap-markdown.mjs';

const root = resolve(dirname(fileURLToPath(import.meta.url)), '..');

function results(name) {
  const file = join(root, 'benchmarks', 'results', `${name}.json`);
  return existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : undefined;
}

function table(head, rows) {
  const line = (cells) => `| ${cells.join(' | ')} |`;
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n');
}

const machineOf = ({ machine }) =>
  `${machine.cpu}, ${machine.cpus} CPUs, ${machine.isasAvailable.at(-1)}, Node ${machine.node}, commit ${machine.commit}`;

const labelOf = ({ net, form, batch, isa, precision = 'f32', threads }) =>
  `${net} ${form}, batch ${batch}, ${isa}${precision === 'f32' ? '' : ` ${precision}`}, ${threads} thread${threads > 1 ? 's' : ''}`;

function nets(result) {
  return [
    '## Whole networks beside onnxruntime-node',
    '',
    `224 x 224, the same weights in both, each runtime in a process of its own, timed in turn. Times are medians over rounds, the ratio is the median of the rounds' ratios: of \`run\`, and of \`runSync\`, which blocks the event loop as onnxruntime-node's \`run\` does. \`npm run bench:baselines && npm run bench -- nets\`. ${machineOf(result)}.`,
    '',
    '![times as fast as onnxruntime-node](performance.svg)',
    '',
    table(
      [
        'network',
        'repfuse ms',
        'onnxruntime-node ms',
        'times as fast',
        'runSync',
        'MB resident',
        "onnxruntime-node's MB",
        'outputs differ by',
      ],
      result.rows.map((row) => [
        labelOf(row),
        row.milliseconds.repfuse.toFixed(2),
        row.milliseconds['onnxruntime-node'].toFixed(2),
        row.ratio.toFixed(2),
        row.ratioOfRunSync.toFixed(2),
        row.megabytes.repfuse.toFixed(0),
        row.megabytes['onnxruntime-node'].toFixed(0),
        row.difference.toExponential(1),
      ]),
    ),
  ];
}

function real(result) {
  const networks = [...new Set(result.rows.map(({ network }) => network))];
  const cellsOf = (network, threads) => {
    const row = result.rows.find((each) => each.network === network && each.threads === threads);
    if (row?.ratio === undefined) return ['-', '-', row?.problem ?? '-', '-'];
    const { onnxruntime, repfuse, ratio, share } = row;
    return [onnxruntime.toFixed(2), repfuse.toFixed(2), ratio.toFixed(2), `${(100 * share).toFixed(0)} %`];
  };
  const { threads1, threads2 } = result.means;
  return [
    '## Real networks beside onnxruntime-node',
    '',
    `As people export them (torch's training form at 224, BatchNormalizations not folded; published detectors and readers), one image, both runtimes in one process by turns; onnxruntime's pool does not spin between runs. Ratios are medians of rounds; their geometric mean is ${threads1.toFixed(2)} on one thread, ${threads2.toFixed(2)} on two. Share: multiply-accumulates of the merged network over those that the CPU can do in registers; Winograd's can exceed 100 %. \`npm run bench:baselines && npm run bench -- real\`, at ${result.isa}. ${machineOf(result)}.`,
    '',
    table(
      [
        'network',
        'image',
        ...[1, 2].flatMap((n) => [`onnxruntime-node ms, t${n}`, `repfuse ms, t${n}`, 'times as fast', 'share']),
      ],
      networks.map((network) => {
        const { size } = result.rows.find((each) => each.network === network);
        return [network, size.join(' x '), ...cellsOf(network, 1), ...cellsOf(network, 2)];
      }),
    ),
  ];
}

function layers(result) {
  const cells = ({ layer, repfuse, oneDnn, ratio }) => [
    layer,
    repfuse.microseconds.toFixed(1),
    `${(100 * repfuse.share).toFixed(0)} %`,
    repfuse.GBps.toFixed(0),
    repfuse.kernel,
    oneDnn.microseconds.toFixed(1),
    ratio.toFixed(2),
  ];
  return [
    '## Layers of mobile networks beside oneDNN',
    '',
    `The pointwise and depthwise convolutions of MobileNetV2, MobileNetV3 and EfficientNet-B0 with ReLU, one image, one thread: the fastest run of each by itself, in rounds that take turns, both in the layouts that they like. The geometric mean of the ratios is ${result.mean.toFixed(2)}. \`npm run bench -- layers\`, with Debian's libdnnl-dev, at ${result.isa}. ${machineOf(result)}.`,
    '',
    table(['layer', 'repfuse us', 'of peak', 'GB/s', 'kernel', 'oneDNN us', 'times as fast'], result.rows.map(cells)),
  ];
}

function service(result) {
  return [
    '## In a service',
    '',
    `\`npm run bench -- service\`. ${machineOf(result)}.`,
    '',
    table(
      ['what', 'repfuse', 'onnxruntime-node'],
      result.rows.map(({ name, unit, repfuse, peer }) => [
        name,
        `${repfuse.toFixed(repfuse < 10 ? 2 : 0)} ${unit}`,
        peer === null ? '-' : `${peer.toFixed(peer < 10 ? 2 : 0)} ${unit}`,
      ]),
    ),
  ];
}

function start(result) {
  const mb = ({ megabytes }) =>
    ['first', 'tenth', 'settled', 'peak'].map((name) => megabytes[name].toFixed(0)).join(' / ');
  const ms = ({ milliseconds }) => `${milliseconds.start.toFixed(0)} (${milliseconds.load.toFixed(0)})`;
  return [
    '## Start and memory',
    '',
    `Of a fresh process each, by turns, ${result.threads} threads: milliseconds from its start to the first result (of that: reading and compiling), and resident MB, Node's own included, after the first run / the tenth / garbage collection / at most. Shares are medians of ${result.rounds} rounds' shares, of the time and of what stays after garbage collection. \`npm run bench:baselines && npm run bench -- start\`, at ${result.isa}. ${machineOf(result)}.`,
    '',
    table(
      ['network', 'repfuse ms', 'onnxruntime-node ms', 'share', 'repfuse MB', 'onnxruntime-node MB', 'share'],
      result.rows.map(({ name, problem, repfuse, onnxruntime, share }) =>
        problem === undefined
          ? [
              name,
              ms(repfuse),
              ms(onnxruntime),
              share.start.toFixed(2),
              mb(repfuse),
              mb(onnxruntime),
              share.settled.toFixed(2),
            ]
          : [name, problem, ...Array(5).fill('-')],
      ),
    ),
  ];
}

function convert(result) {
  const [...files] = result.rows.filter(({ megabytes }) => megabytes !== undefined);
  const small = result.rows.find(({ filesPerSecond }) => filesPerSecond !== undefined);
  return [
    '## Converting',
    '',
    `The whole command on a \`.pth\` file, process start included, beside \`cp\` and a Python program that does the same with timm. \`npm run bench -- convert\`. ${machineOf(result)}.`,
    '',
    table(
      ['network', 'MB', 'repfuse ms', 'cp ms', 'node start ms', 'Python ms', 'times as fast as Python'],
      files.map(({ name, megabytes, milliseconds, referenceOverRepfuse }) => [
        name,
        megabytes.toFixed(0),
        milliseconds.repfuse.toFixed(0),
        milliseconds.cp.toFixed(0),
        milliseconds.node.toFixed(0),
        milliseconds.reference?.toFixed(0) ?? '-',
        referenceOverRepfuse?.toFixed(1) ?? '-',
      ]),
    ),
    '',
    `${small.files} small files in one batch: ${Object.entries(small.filesPerSecond)
      .map(([jobs, rate]) => `${rate.toFixed(0)} files a second at ${jobs}`)
      .join(', ')}.`,
  ];
}

function batch(result) {
  return [
    '## Batches of small files',
    '',
    `Many files of one network's layout in one batch, the command's start included: \`convert --out-dir\`, with one job and with two. Processor time is that of all threads: where others use the cores too it tells what a second job gains. \`npm run bench -- batch\`. ${machineOf(result)}.`,
    '',
    table(
      [
        'files',
        'kB',
        ...['1 job', '2 jobs'].flatMap((jobs) => [`${jobs}, files a second`, `${jobs}, processor ms a file`]),
        'times',
      ],
      result.rows
        .filter(({ checkout }) => checkout === 'repfuse')
        .map(({ name, files, bytes, filesPerSecond, cpuMilliseconds, twoOverOne }) => [
          `${files} ${name}`,
          (bytes / 1000).toFixed(0),
          ...filesPerSecond.flatMap((rate, i) => [rate.toFixed(0), cpuMilliseconds[i].toFixed(2)]),
          twoOverOne.toFixed(2),
        ]),
    ),
  ];
}

/** Which nodes onnxruntime runs of the networks of docs/onnx.md, given and folded. */
function toldOf(networks) {
  if (networks?.[0]?.differs === undefined) return '';
  const same = networks.filter(({ differs }) => differs.length === 0).length;
  return `Of ${networks.length} networks of [docs/onnx.md](onnx.md#networks) that hold BatchNormalizations onnxruntime runs, after its own optimizations, the same nodes of both files in ${same}, and other, cheaper ones in the rest. `;
}

function folding(result) {
  const cells = ({ train, folded, ratio }) => [
    `${train.milliseconds.toFixed(2)} / ${folded.milliseconds.toFixed(2)}`,
    ratio.toFixed(2),
    `${train.loadMilliseconds.toFixed(0)} / ${folded.loadMilliseconds.toFixed(0)}`,
  ];
  return [
    '## What folding an ONNX model gives',
    '',
    `The training form as exporters write it / the same folded, one image, in turn, with a pause before every run: a pool of threads that has fallen asleep is woken by each. The engine merges branches as it compiles, whichever form it is given. ${toldOf(result.networks)}\`npm run bench:baselines && npm run bench -- fold\`. ${machineOf(result)}.`,
    '',
    table(
      [
        'network',
        'threads',
        'onnxruntime-node ms',
        'times as fast',
        'loaded in ms',
        'repfuse ms',
        'times as fast',
        'loaded in ms',
      ],
      result.rows.map(({ net, threads, onnxruntime, repfuse }) => [
        net,
        String(threads),
        ...cells(onnxruntime),
        ...cells(repfuse),
      ]),
    ),
  ];
}

function kernels(result) {
  const rows = result.rows.filter(({ kind, threads }) => kind === 'engine' && threads === 1);
  const levels = [...new Set(rows.map(({ isa }) => isa))];
  const layers = new Map();
  for (const row of rows) {
    const key = `${row.what} | ${row.method}`;
    layers.set(key, { ...layers.get(key), [row.isa]: row });
  }
  const im2col = result.rows.filter(({ kind, threads }) => kind === 'im2col' && threads === 1);
  const fusing = result.rows.filter(({ kind }) => kind === 'fuse' || kind === 'memcpy');
  return [
    '## Kernels',
    '',
    `Each as a step of a network, one thread: GFLOP/s of the plain definition and their share of the CPU's multiply-add peak measured in the same process; GB/s where weights, inputs and outputs, each once, are what limits. \`npm run bench:kernels\` (native/bench). ${machineOf(result)}.`,
    '',
    table(
      ['layer', 'kernel', ...levels.map((isa) => `${isa} GFLOP/s (of peak)`), 'GB/s', 'im2col GFLOP/s'],
      [...layers].map(([key, byIsa]) => {
        const [what, method] = key.split(' | ');
        const explicit = im2col.find((row) => row.what === what && row.isa === levels.at(-1));
        return [
          what,
          method,
          ...levels.map((isa) =>
            byIsa[isa] ? `${byIsa[isa].gflops.toFixed(0)} (${(100 * byIsa[isa].shareOfPeak).toFixed(0)} %)` : '-',
          ),
          byIsa[levels.at(-1)]?.GBps.toFixed(1) ?? '-',
          explicit?.gflops.toFixed(0) ?? '-',
        ];
      }),
    ),
    '',
    "Fusing RepVGG-B3's blocks in place beside `memcpy` of their 3x3 kernels:",
    '',
    table(
      ['what', 'level', 'threads', 'GB/s of 3x3 kernels'],
      fusing.map(({ kind, what, isa, threads, GBps }) => [
        `${kind} ${what}`,
        isa ?? '-',
        String(threads),
        GBps.toFixed(1),
      ]),
    ),
  ];
}

/** Bars of the ratios, and a line at 1. */
function chart({ rows }) {
  const [barHeight, gap, left, width] = [18, 8, 350, 420];
  const most = Math.max(...rows.map(({ ratio }) => ratio));
  const x = (ratio) => left + (ratio / most) * width;
  const bars = rows.map((row, i) => {
    const { ratio } = row;
    const y = 10 + i * (barHeight + gap);
    return `<text x="${left - 8}" y="${y + 13}" text-anchor="end">${labelOf(row)}</text><rect x="${left}" y="${y}" width="${(x(ratio) - left).toFixed(1)}" height="${barHeight}" fill="${ratio >= 1 ? '#2a7' : '#c75'}"/><text x="${(x(ratio) + 6).toFixed(1)}" y="${y + 13}">${ratio.toFixed(2)}</text>`;
  });
  const height = 20 + rows.length * (barHeight + gap);
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${left + width + 60}" height="${height}" font-family="sans-serif" font-size="13">
<title>times as fast as onnxruntime-node</title>
${bars.join('\n')}
<line x1="${x(1).toFixed(1)}" x2="${x(1).toFixed(1)}" y1="4" y2="${height - 6}" stroke="#555" stroke-dasharray="4 3"/>
</svg>
`;
}

const found = {
  nets: results('nets'),
  real: results('real'),
  layers: results('layers'),
  service: results('service'),
  start: results('start'),
  convert: results('convert'),
  batch: results('batch'),
  fold: results('fold'),
  kernels: results('kernels'),
};
const sections = [
  '# Performance',
  '',
  'Written by `scripts/write-performance.mjs` from `benchmarks/results/`. Ratios hold for the machine they were measured on; each comes from one run in which both sides took turns.',
  ...(found.nets ? ['', ...nets(found.nets)] : []),
  ...(found.real ? ['', ...real(found.real)] : []),
  ...(found.layers ? ['', ...layers(found.layers)] : []),
  ...(found.service ? ['', ...service(found.service)] : []),
  ...(found.start ? ['', ...start(found.start)] : []),
  ...(found.convert ? ['', ...convert(found.convert)] : []),
  ...(found.batch ? ['', ...batch(found.batch)] : []),
  ...(found.fold ? ['', ...folding(found.fold)] : []),
  ...(found.kernels ? ['', ...kernels(found.kernels)] : []),
];
writeFileSync(join(root, 'docs', 'performance.md'), wrapMarkdown(`${sections.join('\n')}\n`));
if (found.nets) writeFileSync(join(root, 'docs', 'performance.svg'), chart(found.nets));
