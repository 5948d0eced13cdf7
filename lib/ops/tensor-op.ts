import { throwIfFailed } from '../native/call';
import { loadAddon } from '../native/load';
import { Tensor } from '../tensor/tensor';
import type { Padding4 } from './geometry';
import { type AsyncOpOptions, type OpOptions, type PreparedOp, prepare, run, runAsync } from './run';

export const BINARY_FUNCTIONS = [
  'add',
  'sub',
  'mul',
  'div',
  'prelu',
  'pow',
  'min',
  'max',
  'mod',
  'fmod',
  'equal',
  'less',
  'less_or_equal',
  'greater',
  'greater_or_equal',
  'and',
  'or',
  'xor',
] as const;
/** `prelu`: a < 0 ? a b : a. `mod` has the sign of the divisor, `fmod` that of what is divided. Of comparisons and truth values 1 or 0. */
export type BinaryFunction = (typeof BINARY_FUNCTIONS)[number];

export const REDUCTIONS = [
  'mean',
  'sum',
  'l1',
  'l2',
  'sum_square',
  'log_sum',
  'log_sum_exp',
  'prod',
  'max',
  'min',
  'argmax',
  'argmax_last',
  'argmin',
  'argmin_last',
] as const;
/** `l2`: the root of the sum of squares. `argmax`, `argmin`: the place of the first such value; `_last`: of the last. */
export type Reduction = (typeof REDUCTIONS)[number];

export const PAD_MODES = ['constant', 'reflect', 'edge', 'wrap'] as const;
export type PadMode = (typeof PAD_MODES)[number];

export const RESIZE_MODES = ['nearest', 'linear', 'cubic'] as const;
export const RESIZE_COORDINATES = [
  'half_pixel',
  'half_pixel_symmetric',
  'pytorch_half_pixel',
  'align_corners',
  'asymmetric',
  'tf_half_pixel_for_nn',
  'tf_crop_and_resize',
] as const;
export const RESIZE_NEAREST = ['round_prefer_floor', 'round_prefer_ceil', 'floor', 'ceil'] as const;
export const RESIZE_ASPECTS = ['stretch', 'not_larger', 'not_smaller'] as const;

/** Of height and width, in the words of ONNX's Resize. */
export interface ResizeOptions {
  readonly mode: (typeof RESIZE_MODES)[number];
  readonly coordinates: (typeof RESIZE_COORDINATES)[number];
  readonly nearest: (typeof RESIZE_NEAREST)[number];
  /** ONNX's keep_aspect_ratio_policy. */
  readonly aspect: (typeof RESIZE_ASPECTS)[number];
  readonly exclude_outside: boolean;
  readonly antialias: boolean;
  readonly cubic_a: number;
  readonly extrapolation: number;
  /** 0: the size tells. */
  readonly scales: readonly [number, number];
  /** 0: the scale tells. */
  readonly sizes: readonly [number, number];
  /** Top, left, bottom, right as shares of the input, for `tf_crop_and_resize`. */
  readonly crop: readonly [number, number, number, number];
}

/** A native operator over row-major tensors of any rank (at most 8). What it does not use is left out. */
export interface TensorOp {
  /** A name that the native side knows; it refuses any other, and so of `activation`. */
  readonly kind: string;
  readonly activation?: string;
  readonly alpha?: number;
  readonly beta?: number;
  /** The constant operand of a binary function, of shape `ints`. */
  readonly bias?: Tensor | null;
  readonly function?: BinaryFunction;
  readonly constantFirst?: boolean;
  readonly reduction?: Reduction;
  readonly ints?: readonly number[];
  readonly padMode?: PadMode;
  readonly padValue?: number;
  readonly resize?: ResizeOptions;
}

/** A step of the native engine, over images in its own layout or over tensors. */
export interface NativeStep extends TensorOp {
  /** F32. Convolution OIHW, linear [out, in]. */
  readonly weight?: Tensor;
  /** F32 [out channels]; of a frame the value outside the map; of a constant or a binary function the constant. */
  readonly bias?: Tensor | null;
  readonly groups?: number;
  readonly kernel?: readonly [number, number];
  readonly stride?: readonly [number, number];
  /** `[top, left, bottom, right]`, negative only in a frame, where it crops. */
  readonly padding?: Padding4;
  readonly dilation?: readonly [number, number];
  readonly ceilMode?: boolean;
  readonly countIncludePad?: boolean;
}

/** Runs an operator whose result has shape `shape`. */
export function tensorOp(
  op: TensorOp,
  inputs: readonly Tensor[],
  shape: readonly number[],
  options: OpOptions,
): Tensor {
  return run(prepareTensorOp(op, inputs, shape, options));
}

/** `tensorOp` on the pool. */
export async function tensorOpAsync(
  op: TensorOp,
  inputs: readonly Tensor[],
  shape: readonly number[],
  options: OpOptions & AsyncOpOptions,
): Promise<Tensor> {
  return runAsync(prepareTensorOp(op, inputs, shape, options), options);
}

function prepareTensorOp(
  op: TensorOp,
  inputs: readonly Tensor[],
  shape: readonly number[],
  options: OpOptions,
): PreparedOp {
  const operands = { operands: inputs.map(({ data }) => data), shapes: inputs.map((input) => input.shape) };
  return prepare('tensorOp', { ...nodeArguments(op), ...operands }, Tensor.f32(shape), options);
}

/** Shape of an operator's result, as the native side infers it. @throws ERR_REPFUSE_INVALID_ARGUMENT where the inputs do not fit */
export function tensorOpShape(op: TensorOp, inputs: readonly Tensor[]): readonly number[] {
  const answer = loadAddon().tensorOpShape({ ...nodeArguments(op), shapes: inputs.map(({ shape }) => shape) });
  if ('code' in answer) throwIfFailed('tensorOpShape', answer);
  return answer as readonly number[];
}

/** What native/src/addon/network_node.cc reads of an operator. */
export function nodeArguments({ bias, resize, ...rest }: TensorOp) {
  return {
    name: '',
    weight: null,
    bias: bias?.data ?? null,
    outChannels: 0,
    groups: 1,
    kernel: [1, 1],
    stride: [1, 1],
    padding: [0, 0, 0, 0],
    dilation: [1, 1],
    ceilMode: false,
    countIncludePad: true,
    constantFirst: false,
    ...rest,
    ...(resize === undefined ? {} : { resize: resizeArguments(resize) }),
  };
}

function resizeArguments({ exclude_outside, cubic_a, ...rest }: ResizeOptions) {
  return { ...rest, excludeOutside: exclude_outside, cubicA: cubic_a };
}
