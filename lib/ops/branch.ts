import { checkArgument, checkOptions } from '../arguments/check';
import { RepfuseError } from '../errors';
import { DTYPES } from '../tensor/dtype';
import { toFloat64 } from '../tensor/half';
import { type Float32Tensor, formatShape, Tensor } from '../tensor/tensor';
import { BATCH_NORM_OP, type BatchNorm, batchNormAffine } from './batch-norm';
import { BRANCH, CONV_STAGE, SCALE_STAGE } from './branch-schema';
import { CONV2D } from './conv2d';
import { PAD_BORDER } from './frame';
import { CHANNELS } from './geometry';
import { AVG_POOL } from './pool';
import {
  ASYNC_OP_OPTIONS,
  type AsyncOpOptions,
  expectF32,
  expectShape,
  OP_OPTIONS,
  type OpOptions,
  type PreparedOp,
  run,
  runAsync,
} from './run';
import type { Branch, ConvStage, ScaleStage, Stage } from './stages';

/**
 * Runs a branch as it stands, stage by stage, with running statistics: the training form's path, which shares nothing with
 * the algebra that fuses it.
 *
 * @param input [N, C, H, W]
 * @throws as the operators
 */
export function runBranch(branch: Branch, input: Tensor, options: OpOptions = {}): Float32Tensor {
  const { stages } = checkArgument('branch', BRANCH, branch);
  const checked = checkOptions('runBranch', OP_OPTIONS, options);
  const start = expectF32(input, 'input', 4);
  return stages.reduce((x, _, index) => run(callOf(stages, index, x, checked)), start);
}

/** `runBranch` on the pool. */
export async function runBranchAsync(
  branch: Branch,
  input: Tensor,
  options: OpOptions & AsyncOpOptions = {},
): Promise<Float32Tensor> {
  const { stages } = checkArgument('branch', BRANCH, branch);
  const checked = checkOptions('runBranchAsync', ASYNC_OP_OPTIONS, options);
  let x = expectF32(input, 'input', 4);
  for (const index of stages.keys()) x = await runAsync(callOf(stages, index, x, checked), checked);
  return x;
}

/** A stage as a call, whose input is what the stages before it made. */
function callOf(stages: readonly Stage[], index: number, x: Float32Tensor, options: OpOptions): PreparedOp {
  const stage = stages[index]!;
  const channels = x.shape[1]!;
  switch (stage.kind) {
    case 'conv2d':
      return CONV2D.prepare(x, stageWeight(stage), stageBias(stage), { ...options, ...geometryOf(stage) });
    case 'batch_norm':
      return BATCH_NORM_OP.prepare(x, stage, options);
    case 'pad_border':
      return PAD_BORDER.prepare(x, zeroResponse(stages.slice(0, index), channels), stage.padding, options);
    case 'avg_pool2d':
      return AVG_POOL.prepare(x, { ...options, ...windowOf(stage) });
    case 'scale':
      return BATCH_NORM_OP.prepare(x, scaleAsBatchNorm(stage, channels), options);
    case 'bias':
      return BATCH_NORM_OP.prepare(x, biasAsBatchNorm(stage.bias), options);
  }
}

/** The options of a convolution that a stage has. */
export function geometryOf({ stride, padding, dilation, groups }: ConvStage) {
  return { stride, padding, dilation, groups };
}

/** Input channels of a branch, by the first stage whose tensors tell them. */
export function inputChannels(branch: Branch): number | undefined {
  return channelsBefore(checkArgument('branch', BRANCH, branch).stages);
}

/** The same of stages that are checked. */
export function channelsBefore(stages: readonly Stage[]): number | undefined {
  for (const stage of stages) {
    if (stage.kind === 'conv2d') return (stage.weight.shape[1] ?? 0) * stage.groups;
    if (stage.kind === 'batch_norm') return stage.runningMean?.size;
    if (stage.kind === 'scale' && stage.scale !== null && stage.scale.size > 1) return stage.scale.size;
    if (stage.kind === 'bias') return stage.bias.size;
  }
  return undefined;
}

/** The options of an average pooling that a stage has. */
export function windowOf({ kernel, stride, padding, countIncludePad }: Extract<Stage, { kind: 'avg_pool2d' }>) {
  return { kernel, stride, padding, countIncludePad };
}

/** The kernel that a stage convolves with: the stored one, plus the identity where only the difference is stored. */
export function stageWeight(stage: ConvStage): Tensor {
  const { groups, plusIdentity = false } = checkArgument('stage', CONV_STAGE, stage);
  const weight = storedKernel(stage);
  if (!plusIdentity) return weight;
  const perGroup = expectF32(weight, 'weight', 4).shape[1]!;
  expectShape(weight, 'weight', [perGroup * groups, perGroup, 1, 1]);
  const data = Float32Array.from(weight.data as Float32Array);
  for (let channel = 0; channel < perGroup * groups; channel++) {
    const index = channel * perGroup + (channel % perGroup);
    data[index] = data[index]! + 1;
  }
  return Tensor.f32(weight.shape, data);
}

/** The bias as [O], however it is stored. */
function stageBias({ bias }: ConvStage): Tensor | null {
  return bias == null ? null : new Tensor(bias.dtype, [bias.size], bias.data);
}

/** The stored kernel, OIHW: a linear layer's weight as that of a 1x1 convolution, taps as a depthwise kernel. */
export function storedKernel(stage: ConvStage): Tensor {
  const { weight, taps } = checkArgument('stage', CONV_STAGE, stage);
  const { dtype, shape, data } = weight;
  if (taps === undefined) return shape.length === 2 ? new Tensor(dtype, [...shape, 1, 1], data) : weight;
  if (shape.length < 2) {
    throw new RepfuseError(
      'ERR_REPFUSE_SHAPE',
      `Expected taps [..., height, width] for weight but received ${formatShape(shape)}`,
    );
  }
  const [height, width] = shape.slice(-2) as [number, number];
  const kernels = new DTYPES[dtype].array(taps * height * width);
  for (let i = 0; i < kernels.length; i++) kernels[i] = data[i % data.length]!;
  return new Tensor(dtype, [taps, 1, height, width], kernels);
}

/** What the last of the stages makes of zero, [C]: the value of the frame that `pad_border` adds. */
function zeroResponse(stages: readonly Stage[], channels: number): Float32Tensor {
  const last = stages.findLast(({ kind }) => kind !== 'pad_border');
  const values = new Float32Array(channels);
  if (last?.kind === 'batch_norm') {
    const { scale, shift, mean } = batchNormAffine(last);
    for (let c = 0; c < channels; c++) values[c] = -mean[c]! * scale[c]! + shift[c]!;
  } else if ((last?.kind === 'conv2d' || last?.kind === 'bias') && last.bias != null) {
    values.set(toFloat64(last.bias));
  }
  return Tensor.f32([channels], values);
}

/** The factor of each channel. @throws ERR_REPFUSE_SHAPE unless the tensor holds one value or one per channel */
export function scaleFactors(stage: ScaleStage, channels: number): Float64Array {
  const { scale, row, negative = false, zeroIsOne = false } = checkArgument('stage', SCALE_STAGE, stage);
  checkArgument('channels', CHANNELS, channels);
  const all = scale === null ? Float64Array.of(1) : toFloat64(scale);
  const stored = row === undefined ? all : all.subarray(row * channels, (row + 1) * channels);
  if (stored.length !== 1 && stored.length !== channels) {
    throw new RepfuseError(
      'ERR_REPFUSE_SHAPE',
      `Expected 1 or ${channels} values for the scale but received shape ${formatShape(scale!.shape)}`,
      { tensor: scale },
    );
  }
  const single = stored.length === 1;
  return Float64Array.from({ length: channels }, (_, channel) => {
    const value = single ? stored[0]! : stored[channel]!;
    const factor = zeroIsOne && single && value === 0 ? 1 : value;
    return negative ? -factor : factor;
  });
}

function scaleAsBatchNorm(stage: ScaleStage, channels: number): BatchNorm {
  const weight = new Tensor('F64', [channels], scaleFactors(stage, channels));
  return { ...neutralBatchNorm(channels), weight };
}

function biasAsBatchNorm(bias: Tensor): BatchNorm {
  return { ...neutralBatchNorm(bias.size), bias: new Tensor('F64', [bias.size], toFloat64(bias)) };
}

/** The BatchNorm that changes nothing. */
function neutralBatchNorm(channels: number): BatchNorm {
  const shape = [channels];
  return { runningMean: Tensor.f32(shape), runningVar: Tensor.f32(shape, new Float32Array(channels).fill(1)), eps: 0 };
}
