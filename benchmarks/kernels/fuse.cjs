// Fusing RepVGG-B3's blocks in place, beside memcpy of their KxK bytes into warm memory. Twice: with values checked within the one
// pass (what `convert` does, on its working copies) and before it (one more pass over memory: nothing changes if a check fails).
// What it takes to describe the blocks (BatchNorms folded into scales, branches aligned) is timed by itself.
const { algebra, Tensor } = require('repfuse');
const { interleave } = require('../interleave.cjs');
const { addon, probe } = require('../native-addon.cjs');

const ROUNDS = 21;
/** [in, out, identity] of the 28 blocks: widths 64, 192, 384, 768, 2560; 1, 4, 6, 16, 1 blocks a stage. */
const BLOCKS = [
  [3, 64, 1],
  [64, 192, 4],
  [192, 384, 6],
  [384, 768, 16],
  [768, 2560, 1],
].flatMap(([first, width, count]) =>
  Array.from({ length: count }, (_, i) => ({
    inChannels: i === 0 ? first : width,
    outChannels: width,
    identity: i > 0,
  })),
);

function vector(size, value) {
  return Tensor.f32(
    [size],
    Float32Array.from({ length: size }, (_, i) => value(i)),
  );
}

function batchNorm(channels, scale) {
  return {
    kind: 'batch_norm',
    weight: vector(channels, (i) => scale * (1 + (i % 5) * 1e-3)),
    bias: vector(channels, () => 0.1),
    runningMean: vector(channels, (i) => (i % 3) * 0.01),
    runningVar: vector(channels, (i) => 1 + (i % 7) * 1e-3),
    eps: 1e-5,
  };
}

function kernel(outChannels, inChannels, size) {
  const data = Float32Array.from({ length: outChannels * inChannels * size * size }, (_, i) => ((i % 17) - 8) * 0.01);
  return Tensor.f32([outChannels, inChannels, size, size], data);
}

function makeBlock({ inChannels, outChannels, identity }) {
  const conv = (size) => ({
    kind: 'conv2d',
    weight: kernel(outChannels, inChannels, size),
    stride: [1, 1],
    padding: Array(4).fill(size >> 1),
    dilation: [1, 1],
    groups: 1,
  });
  // Scales below one: the same buffers are fused again and again, and must stay finite.
  const branches = [
    { name: '3x3', stages: [conv(3), batchNorm(outChannels, 0.9)] },
    { name: '1x1', stages: [conv(1), batchNorm(outChannels, 0.05)] },
  ];
  if (identity) branches.push({ name: 'identity', stages: [batchNorm(outChannels, 0.05)] });
  return branches;
}

function describe(branches) {
  return algebra.addBranches(branches.map((branch) => algebra.fromBranch(branch)));
}

function fuse(description, check, threads) {
  const { inPlace } = algebra.materialize(description, { into: 'largest-branch', check, threads });
  if (!inPlace) throw new Error('not fused in place');
}

function run(print) {
  const blocks = BLOCKS.map(makeBlock);
  const kernels = blocks.map(([{ stages }]) => stages[0].weight.data);
  const targets = kernels.map((data) => new Float32Array(data.length).fill(1));
  const bytes = kernels.reduce((sum, { byteLength }) => sum + byteLength, 0);
  const read = blocks
    .flat()
    .flatMap(({ stages }) => stages)
    .reduce((sum, { weight, kind }) => sum + (kind === 'conv2d' ? weight.bytes : 0), 0);
  print(
    `${blocks.length} blocks, ${(read / 1e6).toFixed(0)} MB read, ${(bytes / 1e6).toFixed(0)} MB of KxK kernels written in place`,
  );
  const before = addon.info().isa;
  const rows = [];
  for (const isa of addon.info().isasAvailable) {
    for (const threads of [1, 2]) {
      addon.setIsa(isa);
      let descriptions;
      const { milliseconds, ratio } = interleave(
        {
          describe: () => {
            descriptions = blocks.map(describe);
          },
          checkDuring: () => {
            for (const description of descriptions) fuse(description, 'during', threads);
          },
          checkBefore: () => {
            for (const description of descriptions) fuse(description, 'before', threads);
          },
          memcpy: () => {
            for (const [i, input] of kernels.entries())
              probe('copyProbe', { count: input.length, threads, input, output: targets[i] });
          },
        },
        ROUNDS,
      );
      const rate = (name) => bytes / milliseconds[name] / 1e6;
      const row = { isa, threads, milliseconds, memcpyGBps: rate('memcpy') };
      for (const check of ['checkDuring', 'checkBefore']) {
        row[check] = { GBps: rate(check), speedOverMemcpy: ratio('memcpy', check) };
      }
      rows.push(row);
      const shown = (check) => `${row[check].GBps.toFixed(1)} GB/s = ${row[check].speedOverMemcpy.toFixed(2)}x memcpy`;
      print(
        `${isa.padEnd(7)} ${threads} threads: memcpy ${row.memcpyGBps.toFixed(1)} GB/s of KxK bytes; fuse ${shown('checkDuring')}, with a check before the first write ${shown('checkBefore')}; describing takes ${milliseconds.describe.toFixed(1)} ms beside ${milliseconds.checkDuring.toFixed(1)}`,
      );
    }
  }
  addon.setIsa(before);
  return {
    description:
      'RepVGG-B3 blocks fused in place against memcpy of the same KxK bytes into warm memory, interleaved, medians',
    rows,
  };
}

module.exports = { run };
