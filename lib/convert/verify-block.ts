import type { StateDict } from '../checkpoint/state-dict';
import type { DetectedBlock } from '../families';
import { addAsync, type Branch, concatChannels, runBranchAsync, type Stage } from '../ops';
import { batchNormAffine } from '../ops/batch-norm';
import { DTYPES } from '../tensor/dtype';
import { toFloat32 } from '../tensor/half';
import { seededUniform } from '../tensor/random';
import { formatShape, Tensor } from '../tensor/tensor';
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

/** Why the second file's fused tensors cannot be those of the block, or undefined. */
export function misfitOf(
  { deployKeys, outChannels, inPerGroup, kernel }: DetectedBlock,
  deploy: StateDict,
): string | undefined {
  const expected = { weight: [outChannels, inPerGroup, ...kernel], bias: [outChannels] };
  for (const part of ['weight', 'bias'] as const) {
    const key = deployKeys[part];
    const tensor = deploy.get(key);
    if (tensor === undefined) return `the second file has no ${key}`;
    if (!DTYPES[tensor.dtype].floating) return `${key} is of type ${tensor.dtype}`;
    if (formatShape(tensor.shape) !== formatShape(expected[part]))
      return `${key} is ${formatShape(tensor.shape)} instead of ${formatShape(expected[part])}`;
  }
  return undefined;
}

/**
 * Runs a block's branches as they stand, with running statistics, and the fused convolution on the same seeded images, borders
 * included. The first image is zero and shows the bias alone; the others light some input channels each, strongly enough for the
 * weights to outweigh the bias. Errors are relative to the largest value that a branch or the sum takes.
 *
 * @throws as the operators, where a tensor holds no usable values
 */
export async function compareBlock(
  block: DetectedBlock,
  train: StateDict,
  deploy: StateDict,
  seed: number,
  run: RunOptions,
): Promise<Difference> {
  const { deployKeys, kernel } = block;
  const groups = block.groups ?? 1;
  const fusedForm = (tensors: StateDict): Branch => ({
    name: deployKeys.weight,
    stages: [
      {
        kind: 'conv2d',
        weight: tensors.get(deployKeys.weight)!,
        bias: tensors.get(deployKeys.bias)!,
        stride: [1, 1],
        padding: [kernel[0] >> 1, kernel[1] >> 1, kernel[0] >> 1, kernel[1] >> 1],
        dilation: [1, 1],
        groups,
      },
    ],
  });
  const branches = (block.form === 'deploy' ? [fusedForm(train)] : block.branches).map(float32Branch);
  const after: Branch = { name: 'after the branches', stages: block.form === 'deploy' ? [] : block.after };
  const offset = Math.max(...[...branches, after].map(offsetOf));
  const weight = asFloat32(deploy.get(deployKeys.weight)!);
  const images = probeImages(block, groups, amplitudeFor(offset, peakOf(weight)), seed);

  const outputs: Tensor[] = [];
  let biasPeak = offset; // what cancels leaves its rounding errors
  let weightPeak = 0;
  const note = (y: Tensor) => {
    biasPeak = Math.max(biasPeak, peakOf(y, 0, 1));
    weightPeak = Math.max(weightPeak, peakOf(y, 1));
  };
  for (const branch of branches) {
    const y = await runBranchAsync(branch, images, run);
    note(y);
    const sum = outputs[0];
    if (sum === undefined || block.combine === 'concat') outputs.push(y);
    else outputs[0] = await addAsync(sum, y, run);
    if (block.combine === 'sum') note(outputs[0]!);
  }
  const expected = await runBranchAsync(after, block.combine === 'sum' ? outputs[0]! : concatChannels(outputs), run);
  if (after.stages.length > 0) note(expected);
  const fused = await runBranchAsync(float32Branch(fusedForm(deploy)), images, run);
  const bias = differenceOf(expected, fused, biasPeak, 0, 1);
  const weights = differenceOf(expected, fused, weightPeak, 1);
  return weights.relative >= bias.relative ? weights : bias;
}

/** Largest constant that a branch adds to or subtracts from what its convolution yields. */
function offsetOf({ stages }: Branch): number {
  const last: Stage | undefined = stages.at(-1);
  if (last?.kind === 'conv2d') return last.bias == null ? 0 : peakOf(last.bias);
  if (last?.kind !== 'batch_norm') return 0;
  const { scale, shift, mean } = batchNormAffine(last);
  return scale.reduce((peak, s, c) => Math.max(peak, Math.abs(s * mean[c]!) + Math.abs(shift[c]!)), 0);
}

/** A power of two, so that scaling rounds nothing. */
function amplitudeFor(offset: number, weightPeak: number): number {
  const wanted = 2 ** Math.ceil(Math.log2(offset / weightPeak));
  return wanted > 1 && weightPeak > 0 ? Math.min(wanted, MAX_AMPLITUDE) : 1;
}

/** A zero image, then one for every LIT_CHANNELS input channels of a group: a little larger than the kernel. */
function probeImages({ inPerGroup, kernel }: DetectedBlock, groups: number, amplitude: number, seed: number): Tensor {
  const [height, width] = [kernel[0] + 2, kernel[1] + 3];
  const count = 1 + Math.ceil(inPerGroup / LIT_CHANNELS);
  const images = Tensor.f32([count, inPerGroup * groups, height, width]);
  const values = images.data as Float32Array;
  const uniform = seededUniform(seed);
  const plane = height * width;
  for (let channel = 0; channel < inPerGroup * groups; channel++) {
    const image = 1 + Math.floor((channel % inPerGroup) / LIT_CHANNELS);
    const start = (image * inPerGroup * groups + channel) * plane;
    for (let i = start; i < start + plane; i++) values[i] = amplitude * (2 * uniform() - 1);
  }
  return images;
}

/** Other types widened (F64 rounded): operators take float32. */
function float32Branch({ name, stages }: Branch): Branch {
  return {
    name,
    stages: stages.map((stage) =>
      stage.kind === 'conv2d'
        ? { ...stage, weight: asFloat32(stage.weight), bias: stage.bias == null ? null : asFloat32(stage.bias) }
        : stage,
    ),
  };
}

function asFloat32(tensor: Tensor): Tensor {
  return tensor.dtype === 'F32' ? tensor : Tensor.f32(tensor.shape, toFloat32(tensor));
}
