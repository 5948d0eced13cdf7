// docs/precision.md and its chart, from benchmarks/results/precision.json and nets.json. Run it after `npm run bench -- precision nets`.
import { readFileSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { wrapMarkdown } from './wrap-markdown.mjs';

const root = resolve(dirname(fileURLToPath(import.meta.url)), '..');
const results = (name) => JSON.parse(readFileSync(join(root, 'benchmarks', 'results', `${name}.json`), 'utf8'));
const { rows, adversaries } = results('precision');
const nets = results('nets');

const METHODS = [
  { method: 'direct', name: 'direct, float32', colour: '#777' },
  { method: 'winograd2', name: 'Winograd F(2,3)', colour: '#36b' },
  { method: 'winograd4', name: 'Winograd F(4,3)', colour: '#39c' },
  { method: 'six products', name: 'six products of bf16', colour: '#2a7' },
  { method: 'three products', name: 'three products', colour: '#d90' },
  { method: 'one product', name: 'one product', colour: '#c33' },
];
const BOUNDS = [
  ['f32', '3e-6'],
  ['fast', '2e-5'],
  ['bf16', '1e-2'],
];

function table(head, lines) {
  const line = (cells) => `| ${cells.join(' | ')} |`;
  return [line(head), line(head.map(() => '---')), ...lines.map(line)].join('\n');
}

const layers = [...new Set(rows.map(({ layer }) => layer))];
const rowOf = (layer, method) => rows.find((row) => row.layer === layer && row.method === method);

/** Every layer's error by every method, on a logarithmic axis, with what typical data lose as lines. */
function chart() {
  const [left, width, top, pitch] = [230, 560, 56, 20];
  const [low, high] = [-7.2, -1.8];
  const x = (error) => (left + ((Math.log10(error) - low) / (high - low)) * width).toFixed(1);
  const height = top + layers.length * pitch + 40;
  const marks = layers.flatMap((layer, i) => {
    const y = top + i * pitch;
    const dots = METHODS.map(({ method, colour }) => {
      const row = rowOf(layer, method);
      return row === undefined ? '' : `<circle cx="${x(row.error)}" cy="${y}" r="4.5" fill="${colour}"/>`;
    });
    return [`<text x="${left - 10}" y="${y + 4}" text-anchor="end">${layer}</text>`, ...dots];
  });
  const decades = [-7, -6, -5, -4, -3, -2].map(
    (power) =>
      `<line x1="${x(10 ** power)}" x2="${x(10 ** power)}" y1="${top - 14}" y2="${height - 34}" stroke="#e4e4e4"/><text x="${x(10 ** power)}" y="${height - 16}" text-anchor="middle">1e${power}</text>`,
  );
  const bounds = BOUNDS.map(
    ([name, error]) =>
      `<line x1="${x(Number(error))}" x2="${x(Number(error))}" y1="${top - 14}" y2="${height - 34}" stroke="#333" stroke-dasharray="4 3"/><text x="${x(Number(error))}" y="${top - 20}" text-anchor="middle">${name}: ${error}</text>`,
  );
  const legend = METHODS.map(
    ({ name, colour }, i) =>
      `<circle cx="${20 + i * 140}" cy="14" r="4.5" fill="${colour}"/><text x="${30 + i * 140}" y="18">${name}</text>`,
  );
  return `<svg xmlns="http://www.w3.org/2000/svg" width="870" height="${height}" font-family="sans-serif" font-size="12">
<title>largest error of a layer over the peak of its result</title>
<rect width="870" height="${height}" fill="#fff"/>
${[...decades, ...bounds, ...legend, ...marks].filter(Boolean).join('\n')}
</svg>
`;
}

const worst = (method) => Math.max(...rows.filter((row) => row.method === method).map(({ error }) => error));
const typical = (method) => {
  const errors = rows
    .filter((row) => row.method === method)
    .map(({ rms }) => rms)
    .sort((a, b) => a - b);
  return errors[errors.length >> 1];
};
const reduced = nets.rows.filter(({ precision }) => precision !== undefined && precision !== 'f32');
const plain = ({ net, form, batch, isa, threads }) =>
  nets.rows.find(
    (row) =>
      row.net === net &&
      row.form === form &&
      row.batch === batch &&
      row.isa === isa &&
      row.threads === threads &&
      row.precision === 'f32',
  );

const text = `# Precision

Written by \`scripts/write-precision.mjs\` from \`benchmarks/results/\`.

What a convolution may lose, against float64:

| \`precision\` | whatever the data: at most, of the largest sum of magnitudes | typical data: of the peak of the result | where the CPU multiplies bf16 |
| --- | --- | --- | --- |
| \`'f32'\` (default) | 5e-5; 5e-7 where 256 channels or more carry the sums evenly | 3e-6 | no products of bf16; \`algorithm: 'products'\`: three terms of every operand, six products |
| \`'fast'\` | 1e-4 | 2e-5 | two terms, three products |
| \`'bf16'\` | 1e-2 | 1e-2 | one term, one product |

The *sum of magnitudes* of an output is |bias| + sum |weight| |input| over its terms (with the value that is added behind it, if one is). The largest one is meant, of all outputs
of the layer for an image, at every place of the kernel that meets the image, those included that the padding leaves out. The data are finite, and no sum overflows.

No bound of the peak holds for all data: where large terms cancel, the result is as small as one likes beside what rounding the terms has cost. The column of the peak is what weights and images of trained networks
give (below); the first column is what is promised.

It is a bound, not an order: float32 is always allowed to answer, and does where it is faster or where the CPU has no products of bf16. \`engine.explain()\` and \`repfuse bench\` tell which
kernel each layer got (\`bf16x6\`, \`bf16x3\`, \`bf16\`: products; all others: float32). Nothing but your choice changes the precision.

## How it works

A float32 is the sum of three bf16 terms (8 bits each): the value rounded to bf16, what that leaves rounded again, and once more. The product of two such sums is nine products of terms. The six that are not
below 2^-24 of the largest give float32's precision; the three that are not below 2^-16 give about 17 bits; the first alone is what others call bf16. Products are exact in float32 and summed in float32.

* **AMX** (\`REPFUSE_ISA=amx\`: Xeons since Sapphire Rapids, Linux 5.16 and later, whose permission is asked for once): matrix tiles of 16 pixels by 16 output channels, 15 times the multiply-adds of AVX-512. \`'fast'\` and \`'bf16'\` use them. \`'f32'\` does only where \`algorithm: 'products'\` asks for it: six products took 1.05 to 2.3 times the time of float32 on the machine measured, whose cores may share the unit of tiles. They lose less than Winograd's forms do. If the system refuses, the level below answers.
* **AVX512_BF16** (\`avx512bf16\`: AMD since Zen 4, and others): \`vdpbf16ps\`, twice the multiply-adds of AVX-512. One product pays there, three do not: \`'bf16'\` uses it where Winograd's F(4,3) in float32 is not faster still.
* **Everywhere else** all three are float32.

Inputs lie as bf16 terms from layer to layer, in blocks of 32 channels; a layer reads them where they are (implicit im2col) and leaves its result as terms. Values that other operators read too stay float32 and are split on the side.
Weights are held at the width of their terms: 6, 4 or 2 bytes (3x3 weights that Winograd's float32 may want stay beside them where there are no matrix tiles). A model file whose weights are BF16 or F16 is as small on the disk as it is: \`repfuse convert --dtype bf16\`.

Terms are of float32's range, but the second and third of a value below 2^-110 are lost, and a value that rounds beyond bf16's largest becomes infinite.

## Why the promises hold

u = 2^-24 is what one rounding in float32 costs at most, of the rounded value. S is the sum of magnitudes of the output in question, or the largest one.

* **Direct and depthwise kernels.** Each addition costs at most u of the partial sum, which never exceeds S: a chain of
  d additions loses at most d u S. A depthwise kernel is one chain: d is the number of its taps (49 for 7x7, 2.9e-6 S).
  Direct kernels cut long sums into parts of at most 128 additions, products of matrices into parts of 96, whose results
  are added up: d is 128 and the number of parts, not the number of terms. Where a result is one pixel, as a
  classifier's, there are as many parts as each has additions. A 3x3 layer of 512 channels has 4608 terms, 64 parts of
  80 and of 64, and loses at most (80 + 64 + 2) u S = 8.7e-6 S, each output of its own S. Roundings of mixed signs
  cancel: the error of data without a trap is about the square root of that.
* **Products of terms.** One term errs by 2^-8 at most: a product by 2^-7 + 2^-16 = 7.9e-3. Two terms err by 2^-17 and leave out the product of the second terms, 2^-16: together 2^-15 = 3.1e-5. Three leave out
  2^-24. The rest is the chain of additions, one for each step and product: 864 for 4608 terms in matrix tiles.
* **Winograd.** A tile of inputs is transformed, multiplied, and transformed back; the factors of the three transforms exceed 1, so rounding errors of values that cancel in exact arithmetic
  stay. Independent errors of one u in the products of F(4,3) reach an output with a weight of at most 42 (root of the sum of squares, over the largest S; a filter of one corner tap and a tile of the worst
  signs), F(2,3)'s with 5. A transform costs 1 to 2 u, a chain of products up to 256 additions (half the channels) about 0.4 sqrt(256) u = 7 u where one channel outweighs all others and comes first. That makes 42 x 7 u = 1.8e-5 S for the root mean
  square; the table tells what was found. This is a bound of probability, and by search: if every rounding went the same way it would be larger. An output shares a tile of 6 x 6 pixels, so that S is the largest of the layer, not its own.
* **Evenly carried sums.** If n channels carry a sum evenly and terms have both signs, partial sums and errors grow with sqrt(n) while S grows with n: the more channels, the smaller the share that is lost. A component
  common to all channels, however large, is in S too: such data lose less than 2.5e-7.

\`npm run bench -- precision\` tries filters and inputs that are made to lose most (native/test/adversaries.h), and the tests hold every kernel of every CPU level to the promises with the same ones:

${table(
  ['layer', 'way', 'most, of the largest sum of magnitudes', 'filter / input', 'carried evenly'],
  adversaries.map(({ layer, method, most, even, worst }) => [
    layer,
    METHODS.find((known) => known.method === method).name,
    most.toExponential(1),
    worst,
    even.toExponential(1),
  ]),
)}

## What is not finite

An output is what IEEE arithmetic makes of its terms, NaN and infinities included. Which outputs a pixel can reach depends on the kernel:

* **Direct and depthwise**: those whose taps it is under, in its own group. \`algorithm: 'direct'\` asks for these kernels.
* **Winograd**: all outputs of each tile that reads it (6 x 6 pixels make 4 x 4 outputs, 4 x 4 make 2 x 2). A huge pixel costs the outputs of its tiles precision, as S says; one that is not finite makes them NaN.
  Groups that share a block of 16 channels share this too.
* **Products of terms**: as direct, but an infinity becomes NaN where there are two terms or more (its second term would be infinity less infinity), groups that share a block of 32 channels share it, and the first layer in matrix tiles reads 4 or 8 neighbouring pixels at a time.

No other image of a batch is touched, and nothing stays for a later run.

## Activations

At every float32, of their definition in float64: sigmoid, silu, tanh, erf, ELU, CELU and SELU within 4 units in the last place, softplus within 5, hardswish and softsign within 2, leaky ReLU and PReLU within 1, ReLU, clip, hard sigmoid, shrink and thresholded ReLU correctly rounded or nearly (0.51 units).
Results and inputs below 2^-126 count as zero in the engine. Infinities and NaN give what the definition gives: silu and hardswish of minus infinity are NaN (it times 0), as in torch.

## What is lost

Each dense convolution of RepVGG-A0, RepVGG-B1 and MobileOne-S0 alone, with weights like those of a fused RepVGG block and inputs that a ReLU has made: the largest error over the peak of the result, against float64.

![largest error of a layer over the peak of its result](precision.svg)

${table(
  ['way', 'largest error over the peak', 'typical (median rms over rms)'],
  METHODS.map(({ method, name }) => [name, worst(method).toExponential(1), typical(method).toExponential(1)]),
)}

\`npm run bench -- precision\`. Matrix tiles are emulated in it, instruction by instruction as their manual defines them: the errors are those of a CPU that has them.

## What is gained

${
  reduced.length === 0
    ? 'Not measured on this machine, which has no products of bf16.'
    : `${nets.machine.cpu}, ${nets.machine.isasAvailable.at(-1)}, Node ${nets.machine.node}: \`npm run bench -- nets\`, one run, in turn.${nets.machine.isasAvailable.includes('amx') ? '' : ' **The CPU has no matrix tiles: AMX is not measured.**'}

${table(
  [
    'network',
    'precision',
    'ms',
    'ms in f32',
    'times onnxruntime-node',
    'times torch bf16 channels_last',
    'outputs differ by',
  ],
  reduced.map((row) => [
    `${row.net} batch ${row.batch}, ${row.threads} thread${row.threads > 1 ? 's' : ''}`,
    row.precision,
    row.milliseconds.repfuse.toFixed(2),
    plain(row)?.milliseconds.repfuse.toFixed(2) ?? '-',
    row.ratio.toFixed(2),
    row.ratioToTorchBf16?.toFixed(2) ?? '-',
    row.difference.toExponential(1),
  ]),
)}`
}

## Choosing

On your own network and images, worst layer first:

\`\`\`console
$ repfuse bench model.safetensors --precision all --input images.npy
\`\`\`

It prints kernel, time and error of every layer in each precision, of the peak and of the largest sum of magnitudes, each layer judged alone on the input that it has in the float64 network; then time and error of the whole, and how many images keep their
largest class. \`measurePrecision(model, images)\` is the same as a function. Where \`bf16\` loses a class, \`fast\` rarely does: its errors are some hundred times smaller.
`;
writeFileSync(join(root, 'docs', 'precision.md'), wrapMarkdown(text));
writeFileSync(join(root, 'docs', 'precision.svg'), chart());
