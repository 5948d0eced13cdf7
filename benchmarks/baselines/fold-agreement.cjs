// Whether onnxruntime-node computes with a folded model what it computes with the given one, and our engine what onnxruntime-node does with both: the
// ONNX files of the fixtures, and networks by name in training form. usage: node benchmarks/baselines/fold-agreement.cjs      (after npm run bench:baselines)
const { mkdtempSync, readdirSync, rmSync } = require('node:fs');
const { tmpdir } = require('node:os');
const { basename, join, relative, resolve } = require('node:path');
const ort = require('onnxruntime-node');
const { Engine, exportOnnx, foldOnnx, netFromSeed, readModel, Tensor } = require('../..');

const FIXTURES = resolve(__dirname, '..', '..', 'test', 'fixtures');
const NETS = ['repvgg_a0', 'repvgg_d2se', 'mobileone_s0', 'mobileone_s1'];
/** Of the peak; both sides are float32. */
const BOUND = 2e-5;
/** onnxruntime's Sigmoid is off by up to 1.2e-7 however small its value is: of a peak of 7e-6 that is 2 %. */
const SIGMOID = 2e-7;
const SMALL = 1e-2;

function fixtureFiles() {
  return ['checkpoints', 'onnx-dbb', 'onnx-head', 'public', 'trained'].flatMap((group) =>
    readdirSync(join(FIXTURES, group))
      .filter((name) => name.endsWith('.onnx') && !name.includes('wrongly')) // of one size, whatever it says
      .map((name) => join(FIXTURES, group, name)),
  );
}

/** Every output by both runtimes, for images that are the same for every model of a shape. Open sizes are 2 images of 64 x 64. */
async function run(file) {
  const session = await ort.InferenceSession.create(file, { intraOpNumThreads: 2, logSeverityLevel: 3 });
  const [input] = session.inputMetadata;
  const open = [2, 3, 64, 64];
  const shape = input.shape.map((size, axis) => (typeof size === 'number' && size > 0 ? size : open[axis]));
  let state = 1;
  const data = Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, () => {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0;
    return state / 2 ** 31 - 1;
  });
  const expected = await session.run({ [input.name]: new ort.Tensor('float32', data, shape) });
  const engine = await Engine.create(await readModel(file));
  const outputs = Object.fromEntries(await engine.runAll(Tensor.f32(shape, data)));
  engine.dispose();
  return { expected, outputs };
}

function largestError(given, folded) {
  let worst = 0;
  for (const [name, { data }] of Object.entries(given)) {
    const other = folded[name].data;
    const peak = data.reduce((most, value) => Math.max(most, Math.abs(value)), Number.MIN_VALUE);
    for (let i = 0; i < data.length; i++) {
      const difference = Math.abs(data[i] - other[i]);
      if (peak > SMALL || !(difference <= SIGMOID)) worst = Math.max(worst, difference / peak);
    }
  }
  return worst;
}

async function main() {
  const folder = mkdtempSync(join(tmpdir(), 'repfuse-fold-'));
  let differing = 0;
  try {
    const files = fixtureFiles();
    for (const net of NETS) {
      files.push(join(folder, `${net}.onnx`));
      await exportOnnx(files.at(-1), netFromSeed(net, { form: 'train' }));
    }
    for (const file of files) {
      const output = join(folder, 'folded.onnx');
      const { folded, nodes } = await foldOnnx(file, output, { force: true });
      const given = await run(file);
      const errors = [['engine', largestError(given.expected, given.outputs)]];
      if (folded.length > 0) {
        const after = await run(output);
        errors.push(['folded', largestError(given.expected, after.expected)]);
        errors.push(['folded in the engine', largestError(given.expected, after.outputs)]);
      }
      const told = errors.map(
        ([name, error]) => `${name} ${error.toExponential(1)}${error <= BOUND ? '' : ' TOO MUCH'}`,
      );
      if (errors.some(([, error]) => !(error <= BOUND))) differing++;
      console.log(
        `${relative(FIXTURES, file).startsWith('..') ? basename(file) : relative(FIXTURES, file)}: ${nodes.before} -> ${nodes.after} nodes; of the peak: ${told.join(', ')}`,
      );
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  if (differing > 0) process.exitCode = 1;
}

main();
