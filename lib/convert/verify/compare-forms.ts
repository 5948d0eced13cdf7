import type { DetectedBlock } from '../../families';
import { addAsync, type Branch, concatChannels, runBranchAsync, type Stage } from '../../ops';
import { batchNormAffine } from '../../ops/batch-norm';
import { inputChannels } from '../../ops/branch';
import { seededUniform } from '../../tensor/random';
import { Tensor } from '../../tensor/tensor';
import { type BlockForm, strided } from './block-forms';
import { type Difference, differenceOf, peakOf } from './difference';

/**
 * Input channels of a group that one image lights. A block is linear: with few at a time rounding errors stay the same however
 * wide the block is, and one wrong weight is not drowned by the others.
 */
const LIT_CHANNELS = 64;
/** A bias may outweigh the weights this much before it hides them. */
const MAX_AMPLITUDE = 2 ** 24;

interface RunOptions {
  readonly threads?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Terms that are summed into one value of an image: taps times the channels that it lights. */
export function termsOf({ inPerGroup, kernel }: DetectedBlock): number {
  return Math.min(inPerGroup, LIT_CHANNELS) * kernel[0] * kernel[1];
}

/**
 * Runs two forms of a block, with running statistics, on the same seeded images, borders included, with stride 1 and, where every
 * branch can take it, 2. The first image is zero and shows the bias alone; the others light some input channels each, strongly enough
 * for the weights to outweigh the bias. Errors are relative to the largest value that a branch or the sum of the first form takes.
 *
 * @returns the worse of the strides, and of the bias and the weights
 * @throws as the operators, where a tensor holds no usable values
 */
export async function compareForms(
  block: DetectedBlock,
  expected: BlockForm,
  got: BlockForm,
  seed: number,
  run: RunOptions,
): Promise<Difference> {
  const offset = Math.max(...[expected, got].map(offsetOfForm));
  const images = probeImages(block, amplitudeFor(offset, weightPeakOf(got)), seed);
  const plain = await compareOn(images, expected, got, offset, run);
  const [a, b] = [strided(expected), strided(got)];
  return a === undefined || b === undefined ? plain : worse(plain, await compareOn(images, a, b, offset, run));
}

function worse(a: Difference, b: Difference): Difference {
  return a.relative >= b.relative ? a : b;
}

async function compareOn(
  images: Tensor,
  expected: BlockForm,
  got: BlockForm,
  offset: number,
  run: RunOptions,
): Promise<Difference> {
  const peaks = { bias: offset, weight: 0 }; // what cancels leaves its rounding errors
  const a = await evaluate(expected, images, run, (y) => {
    peaks.bias = Math.max(peaks.bias, peakOf(y, 0, 1));
    peaks.weight = Math.max(peaks.weight, peakOf(y, 1));
  });
  const b = await evaluate(got, images, run, () => {});
  return worse(differenceOf(a, b, peaks.weight, 1), differenceOf(a, b, peaks.bias, 0, 1));
}

/** @param note is shown every output of a branch, every sum, and the result */
async function evaluate(
  { branches, combine, after }: BlockForm,
  images: Tensor,
  run: RunOptions,
  note: (y: Tensor) => void,
): Promise<Tensor> {
  const outputs: Tensor[] = [];
  let begin = 0;
  for (const branch of branches) {
    const end = begin + (inputChannels(branch) ?? 0);
    const y = await runBranchAsync(branch, combine === 'split' ? channelsOf(images, begin, end) : images, run);
    begin = end;
    note(y);
    const sum = outputs[0];
    if (sum === undefined || combine !== 'sum') outputs.push(y);
    else {
      outputs[0] = await addAsync(sum, y, run);
      note(outputs[0]);
    }
  }
  const joined = combine === 'sum' ? outputs[0]! : concatChannels(outputs);
  if (after.length === 0) return joined;
  const result = await runBranchAsync({ name: 'after the branches', stages: after }, joined, run);
  note(result);
  return result;
}

/** Channels [begin, end) of activations. */
function channelsOf({ shape, data }: Tensor, begin: number, end: number): Tensor {
  const [batch, channels, height, width] = shape as [number, number, number, number];
  const plane = height * width;
  const part = Tensor.f32([batch, end - begin, height, width]);
  for (let image = 0; image < batch; image++) {
    const from = (data as Float32Array).subarray((image * channels + begin) * plane, (image * channels + end) * plane);
    (part.data as Float32Array).set(from, image * (end - begin) * plane);
  }
  return part;
}

function offsetOfForm({ branches, after }: BlockForm): number {
  return Math.max(offsetOf({ name: '', stages: after }), ...branches.map(offsetOf));
}

/** Largest constant that a branch adds to or subtracts from what its convolution yields. */
function offsetOf({ stages }: Branch): number {
  const last: Stage | undefined = stages.at(-1);
  if (last?.kind === 'conv2d') return last.bias == null ? 0 : peakOf(last.bias);
  if (last?.kind !== 'batch_norm') return 0;
  const { scale, shift, mean } = batchNormAffine(last);
  return scale.reduce((peak, s, c) => Math.max(peak, Math.abs(s * mean[c]!) + Math.abs(shift[c]!)), 0);
}

/** Largest weight, where the form is one convolution; else an estimate of it: that of its convolutions, scaled by what follows them. */
function weightPeakOf({ branches }: BlockForm): number {
  const ofBranch = ({ stages }: Branch) =>
    stages.reduce((peak, stage) => {
      if (stage.kind === 'conv2d') return peak * peakOf(stage.weight);
      if (stage.kind !== 'batch_norm') return peak;
      return peak * batchNormAffine(stage).scale.reduce((most, s) => Math.max(most, Math.abs(s)), 0);
    }, 1);
  return Math.max(...branches.map(ofBranch));
}

/** A power of two, so that scaling rounds nothing. */
function amplitudeFor(offset: number, weightPeak: number): number {
  const wanted = 2 ** Math.ceil(Math.log2(offset / weightPeak));
  return wanted > 1 && weightPeak > 0 ? Math.min(wanted, MAX_AMPLITUDE) : 1;
}

/** A zero image, then one for every LIT_CHANNELS input channels of a group: a little larger than the kernel. */
function probeImages({ inPerGroup, kernel, groups }: DetectedBlock, amplitude: number, seed: number): Tensor {
  const [height, width] = [kernel[0] + 2, kernel[1] + 3];
  const channels = inPerGroup * (groups ?? 1);
  const count = 1 + Math.ceil(inPerGroup / LIT_CHANNELS);
  const images = Tensor.f32([count, channels, height, width]);
  const values = images.data as Float32Array;
  const uniform = seededUniform(seed);
  const plane = height * width;
  for (let channel = 0; channel < channels; channel++) {
    const image = 1 + Math.floor((channel % inPerGroup) / LIT_CHANNELS);
    const start = (image * channels + channel) * plane;
    for (let i = start; i < start + plane; i++) values[i] = amplitude * (2 * uniform() - 1);
  }
  return images;
}
