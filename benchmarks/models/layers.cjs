// Every pointwise and depthwise convolution of the mobile networks (../networks/layers.json) with ReLU, ours beside oneDNN's, in rounds that take
// turns; one image, one thread. Of each the fastest run of its step alone: both read an input that has just been written in the layout they like,
// and what converts it is not counted. oneDNN comes from Debian (libdnnl-dev) and is kept to the level that ours runs at. REPFUSE_BENCH_ONLY is a part
// of layers' names; REPFUSE_BEFORE, another checkout that is built, takes its turn with both.
const { execFileSync, spawn } = require('node:child_process');
const { mkdtempSync, rmSync } = require('node:fs');
const { tmpdir } = require('node:os');
const { join } = require('node:path');
const { createInterface } = require('node:readline');
const repfuse = require('repfuse');
const { BEFORE } = require('../before.cjs');
const { BASELINES } = require('./model-files.cjs');
const LAYERS = require('../networks/layers.json');

const ROUNDS = Number(process.env.REPFUSE_BENCH_ROUNDS ?? 12);
const ROUND_MILLISECONDS = 12;
/** Values of ONEDNN_MAX_CPU_ISA. */
const LEVELS = {
  scalar: 'SSE41',
  avx2: 'AVX2',
  avx512: 'AVX512_CORE',
  avx512bf16: 'AVX512_CORE_BF16',
  amx: 'AVX512_CORE_AMX',
};

const sizeOf = ({ size, stride }) => Math.floor((size - 1) / stride) + 1;
const weightsOf = ({ in: inputs, out, kernel, groups }) => ((out * inputs) / groups) * kernel ** 2;

function nameOf(layer) {
  const { in: inputs, out, size, kernel, stride, groups } = layer;
  const kind = groups > 1 ? 'depthwise' : 'pointwise';
  return `${kind} ${kernel}x${kernel}${stride > 1 ? ` s${stride}` : ''} ${groups > 1 ? '' : `${inputs} -> `}${out}, ${size}x${size}`;
}

/** oneDNN in a process of its own: `ask(request)` gives its line of answer. */
function startOneDnn(folder) {
  const program = join(folder, 'onednn_worker');
  try {
    const source = join(BASELINES, 'onednn_worker.cc');
    execFileSync(process.env.CXX?.split(' ').at(-1) ?? 'g++', ['-std=c++20', '-O2', '-o', program, source, '-ldnnl'], {
      stdio: ['ignore', 'ignore', 'pipe'],
    });
  } catch ({ stderr, message }) {
    throw new Error(`oneDNN 2 and a compiler are needed: apt-get install libdnnl-dev g++\n${stderr ?? message}`);
  }
  const env = { ...process.env, OMP_NUM_THREADS: '1', ONEDNN_MAX_CPU_ISA: LEVELS[repfuse.info().isa] };
  const child = spawn(program, { stdio: ['pipe', 'pipe', 'inherit'], env });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const ask = async (request) => {
    child.stdin.write(`${request}\n`);
    const { value } = await lines.next();
    if (value === undefined) throw new Error(`oneDNN ended at: ${request}`);
    return value;
  };
  return { ask, stop: () => child.kill() };
}

/** One layer in the engine of a checkout: `round()` runs it for a while, `step()` tells of its step, the fastest so far. */
async function startEngine({ Engine, Tensor }, { in: inputs, out, size, kernel, stride, groups }) {
  const filled = (shape) => {
    const count = shape.reduce((product, each) => product * each, 1);
    return Tensor.f32(
      shape,
      Float32Array.from({ length: count }, (_, i) => ((i * 7919) % 101) / 101 - 0.5),
    );
  };
  const pad = kernel >> 1;
  const conv = { weight: 'w', bias: 'b', stride: [stride, stride], padding: [pad, pad], dilation: [1, 1], groups };
  const nodes = [
    { id: 'y', op: 'conv2d', inputs: ['x'], ...conv },
    { id: 'z', op: 'relu', inputs: ['y'] },
  ];
  const tensors = new Map([
    ['w', filled([out, inputs / groups, kernel, kernel])],
    ['b', filled([out])],
  ]);
  const shape = [1, inputs, size, size];
  const graph = { input: 'x', output: 'z', nodes, inputShape: shape.slice(1) };
  const engine = await Engine.create({ graph, tensors }, { threads: 1 });
  const image = filled(shape);
  const result = Tensor.f32([1, out, sizeOf({ size, stride }), sizeOf({ size, stride })]);
  return {
    round() {
      const started = performance.now();
      while (performance.now() - started < ROUND_MILLISECONDS) engine.runSync(image, { out: result });
    },
    step: () => engine.explain(shape).find(({ macs }) => macs > 0),
  };
}

async function timeLayer(layer, oneDnn) {
  const { in: inputs, out, size, kernel, stride, groups, networks } = layer;
  const own = await startEngine(repfuse, layer);
  const before = BEFORE === undefined ? undefined : await startEngine(require(BEFORE), layer);
  const implementation = await oneDnn.ask(`shape ${[inputs, out, size, kernel, stride, groups].join(' ')}`);
  let peer = Number.POSITIVE_INFINITY;
  for (let round = 0; round < ROUNDS; round++) {
    own.round();
    peer = Math.min(peer, Number(await oneDnn.ask(`round ${ROUND_MILLISECONDS}`)));
    before?.round();
  }
  const { seconds, kernel: name, macs, shareOfPeak } = own.step();
  const bytes = 4 * (weightsOf(layer) + inputs * size ** 2 + out * sizeOf(layer) ** 2);
  return {
    layer: nameOf(layer),
    networks,
    macs,
    repfuse: { kernel: name, microseconds: seconds * 1e6, share: shareOfPeak, GBps: bytes / seconds / 1e9 },
    oneDnn: { kernel: implementation, microseconds: peer * 1e6 },
    ratio: peer / seconds,
    ...(before === undefined ? {} : { before: before.step().seconds / seconds }),
  };
}

function line({ layer, repfuse: own, oneDnn, ratio, before }) {
  const figures = `${own.microseconds.toFixed(1).padStart(7)} us, ${(100 * own.share).toFixed(0).padStart(3)} % of the peak, ${own.GBps.toFixed(0).padStart(3)} GB/s`;
  const peer = `oneDNN ${oneDnn.microseconds.toFixed(1).padStart(7)} us`;
  const gain = before === undefined ? '' : `, ${before.toFixed(2)} times as fast as before`;
  return `${layer.padEnd(38)} ${figures}; ${peer}: ${ratio.toFixed(2)} times as fast${gain}  (${own.kernel}; ${oneDnn.kernel})`;
}

async function run(print) {
  const folder = mkdtempSync(join(tmpdir(), 'repfuse-layers-'));
  const oneDnn = startOneDnn(folder);
  const rows = [];
  try {
    for (const layer of LAYERS.filter((each) => nameOf(each).includes(process.env.REPFUSE_BENCH_ONLY ?? ''))) {
      rows.push(await timeLayer(layer, oneDnn));
      print(line(rows.at(-1)));
    }
  } finally {
    oneDnn.stop();
    rmSync(folder, { recursive: true });
  }
  const mean = Math.exp(rows.reduce((sum, { ratio }) => sum + Math.log(ratio), 0) / rows.length);
  const least = Math.min(...rows.map(({ ratio }) => ratio));
  print(`geometric mean ${mean.toFixed(2)}, least ${least.toFixed(2)}`);
  return {
    description: 'the fastest run of single convolutions with ReLU, one image, one thread, oneDNN and repfuse by turns',
    isa: repfuse.info().isa,
    mean,
    least,
    rows,
  };
}

module.exports = { run };
