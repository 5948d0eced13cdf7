// usage: npm run read-text      Has examples/read-text.cjs read a picture that is drawn here, one word of it on its head, and says whether the text is
// right; each network beside onnxruntime-node, on what it was given while it read. Needs `npm run bench:baselines` once.
const { join } = require('node:path');
const { expectBaselines, BASELINES } = require('../models/model-files.cjs');

expectBaselines();
const ort = require(join(BASELINES, 'node_modules', 'onnxruntime-node'));
const sharp = require('sharp');
const { createReader, MODELS, readText } = require('../../examples/read-text.cjs');

/** Letters as strokes, 6 wide and 10 high, so that no font of the machine is needed. */
const STROKES = {
  A: 'M0 10L3 0L6 10M1.2 6.5H4.8',
  D: 'M0 0V10H2.5Q6 10 6 5Q6 0 2.5 0Z',
  E: 'M6 0H0V10H6M0 5H5',
  F: 'M6 0H0V10M0 5H5',
  N: 'M0 10V0L6 10V0',
  O: 'M3 0Q6 0 6 5Q6 10 3 10Q0 10 0 5Q0 0 3 0Z',
  P: 'M0 10V0H3.5Q6 0 6 2.7Q6 5.4 3.5 5.4H0',
  R: 'M0 10V0H3.5Q6 0 6 2.6Q6 5.2 3.5 5.2H0M3 5.2L6 10',
  S: 'M5.7 1.8Q5.2 0 3 0Q0.3 0 0.3 2.5Q0.3 4.4 3 4.9Q6 5.5 6 7.6Q6 10 3 10Q0.4 10 0 8',
  T: 'M0 0H6M3 0V10',
  U: 'M0 0V6.5Q0 10 3 10Q6 10 6 6.5V0',
  X: 'M0 0L6 10M6 0L0 10',
  1: 'M1.2 2L3.4 0V10',
  2: 'M0.3 2.6Q0.5 0 3 0Q5.8 0 5.8 2.6Q5.8 4.5 3.4 6.6L0.2 10H6',
  4: 'M4.6 10V0L0 7H6',
  7: 'M0 0H6L2.2 10',
};

/** What the picture says. */
const LINES = [
  { text: 'REPFUSE READS TEXT', left: 40, top: 40, size: 3.6 },
  { text: 'TURNED', left: 60, top: 130, size: 3.2, turned: true },
  { text: 'STEP 1247', left: 200, top: 215, size: 4.5 },
];
const SIZE = { width: 640, height: 300 };
const ADVANCE = 8.4;

/** The largest difference to onnxruntime. Of the finder's steep map both are up to 3e-5 from float64, so that they may differ by more from each other. */
const BOUNDS = { finder: 1e-4, turner: 1e-5, reader: 1e-5 };

function draw() {
  const lines = LINES.map(({ text, left, top, size, turned }) => {
    const letters = [...text].map((letter, i) =>
      letter === ' ' ? '' : `<path d="${STROKES[letter]}" transform="translate(${i * ADVANCE} 0)"/>`,
    );
    const turn = turned ? ` rotate(180 ${(text.length * ADVANCE) / 2} 5)` : '';
    return `<g transform="translate(${left} ${top}) scale(${size})${turn}">${letters.join('')}</g>`;
  });
  const style = 'fill="none" stroke="#223" stroke-width="1.1" stroke-linecap="round" stroke-linejoin="round"';
  const paper = '<rect width="100%" height="100%" fill="#f4f1e8"/>';
  return Buffer.from(
    `<svg xmlns="http://www.w3.org/2000/svg" width="${SIZE.width}" height="${SIZE.height}">${paper}<g ${style}>${lines.join('')}</g></svg>`,
  );
}

/** An engine that notes what it is given and what it makes of it. */
function noting(engine, calls) {
  return {
    async run(input) {
      const output = await engine.run(input);
      calls.push({ input, output });
      return output;
    },
  };
}

/** The largest difference to onnxruntime of any call, as a share of the peak of its result. */
async function errorBesideOnnxruntime(file, calls) {
  const session = await ort.InferenceSession.create(file, { logSeverityLevel: 3 });
  const errors = [];
  for (const { input, output } of calls) {
    const given = new ort.Tensor('float32', input.data, input.shape);
    const { dims, data } = (await session.run({ [session.inputNames[0]]: given }))[session.outputNames[0]];
    if (dims.join() !== output.shape.join()) throw new Error(`[${output.shape}], but onnxruntime makes [${dims}]`);
    const difference = data.reduce((most, value, i) => Math.max(most, Math.abs(value - output.data[i])), 0);
    errors.push(difference / data.reduce((most, value) => Math.max(most, Math.abs(value)), 0));
  }
  return Math.max(...errors);
}

async function main() {
  const reader = await createReader();
  const calls = Object.fromEntries(Object.keys(MODELS).map((name) => [name, []]));
  const noted = Object.fromEntries(Object.keys(MODELS).map((name) => [name, noting(reader[name], calls[name])]));
  const picture = await sharp(draw()).png().toBuffer();
  const pieces = await readText({ ...reader, ...noted }, picture);

  const words = LINES.flatMap(({ text }) => text.split(' '));
  let right = pieces.length === words.length;
  for (const [i, { text, score }] of pieces.entries()) {
    const expected = words[i];
    right &&= text === expected;
    console.log(`${text === expected ? 'right' : `WRONG, not "${expected}"`}  ${score.toFixed(3)}  ${text}`);
  }
  for (const [name, file] of Object.entries(MODELS)) {
    const error = await errorBesideOnnxruntime(file, calls[name]);
    right &&= error <= BOUNDS[name]; // not where it is NaN
    console.log(
      `${name}: ${calls[name].length} runs, ${error.toExponential(1)} of the peak beside onnxruntime (bound ${BOUNDS[name]})`,
    );
  }
  console.log(right ? 'PASS' : 'FAIL');
  if (!right) process.exitCode = 1;
}

main();
