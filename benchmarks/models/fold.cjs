// What folding an ONNX model gives onnxruntime-node: the training form as exporters write it, and the same folded by `foldOnnx`, timed in turn.
// Needs `npm run bench:baselines` once.
const { mkdtempSync, rmSync } = require('node:fs');
const { tmpdir } = require('node:os');
const { join } = require('node:path');
const { exportOnnx, foldOnnx, netFromSeed } = require('repfuse');
const { median } = require('../interleave.cjs');
const { BASELINES, expectBaselines } = require('./model-files.cjs');

const NETS = ['repvgg_a0', 'repvgg_b1', 'repvgg_d2se', 'mobileone_s0', 'mobileone_s1'];
const ROUNDS = 9;
const THREADS = [1, 2];

async function timeNet(ort, folder, net, threads, print) {
  const given = join(folder, `${net}.onnx`);
  const output = join(folder, `${net}.folded.onnx`);
  await exportOnnx(given, netFromSeed(net, { form: 'train' }), { force: true });
  const { nodes, milliseconds } = await foldOnnx(given, output, { force: true });
  const options = { intraOpNumThreads: threads, interOpNumThreads: 1, executionMode: 'sequential' };
  const sessions = await Promise.all([given, output].map((file) => ort.InferenceSession.create(file, options)));
  const [input] = sessions[0].inputMetadata;
  const [, channels, height, width] = input.shape;
  const data = new Float32Array(channels * height * width).fill(0.1);
  const feeds = { [input.name]: new ort.Tensor('float32', data, [1, channels, height, width]) };
  const times = [[], []];
  for (let round = -2; round < ROUNDS; round++) {
    for (const [i, session] of sessions.entries()) {
      await new Promise((resolve) => setTimeout(resolve, 30)); // the other's pool may still spin
      const before = performance.now();
      await session.run(feeds);
      if (round >= 0) times[i].push(performance.now() - before);
    }
  }
  for (const session of sessions) await session.release();
  const [train, folded] = times.map(median);
  const ratio = median(times[0].map((time, round) => time / times[1][round]));
  print(
    `${net.padEnd(14)} t${threads}  ${train.toFixed(2).padStart(8)} ms, folded ${folded.toFixed(2).padStart(8)} ms: ${ratio.toFixed(2)} times as fast; ${nodes.before} -> ${nodes.after} nodes in ${milliseconds.toFixed(0)} ms`,
  );
  return { net, threads, milliseconds: { train, folded }, ratio, nodes, foldMilliseconds: milliseconds };
}

async function run(print) {
  expectBaselines();
  const ort = require(join(BASELINES, 'node_modules', 'onnxruntime-node'));
  const folder = mkdtempSync(join(tmpdir(), 'repfuse-fold-'));
  const rows = [];
  try {
    for (const net of NETS) for (const threads of THREADS) rows.push(await timeNet(ort, folder, net, threads, print));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  return {
    description: 'ONNX training forms and the same folded, in onnxruntime-node, one image, in turn',
    rounds: ROUNDS,
    rows,
  };
}

module.exports = { run };
