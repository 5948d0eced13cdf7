import { throwIfFailed } from '../native/call';
import { loadAddon } from '../native/load';
import { Tensor } from '../tensor/tensor';
import { type AsyncOpOptions, type OpOptions, type PreparedOp, prepare, run, runAsync } from './run';

export const BINARY_FUNCTIONS = ['add', 'sub', 'mul', 'div', 'prelu'] as const;
/** `prelu`: a < 0 ? a b : a. */
export type BinaryFunction = (typeof BINARY_FUNCTIONS)[number];

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

/** A native operator over row-major tensors of any rank (at most 8), in the words of native/src/addon/network_node.h. */
export interface TensorOp {
  readonly kind:
    | 'activation'
    | 'binary'
    | 'concat'
    | 'depthToSpace'
    | 'flatten'
    | 'matMul'
    | 'pad'
    | 'reduceMean'
    | 'reshape'
    | 'resize'
    | 'slice'
    | 'softmaxAxis'
    | 'squeeze'
    | 'transpose'
    | 'unsqueeze';
  readonly activation?: 'clip' | 'hardSigmoid' | 'leakyRelu' | 'tanh';
  readonly alpha?: number;
  readonly beta?: number;
  /** The constant operand of a binary function, of shape `ints`. */
  readonly bias?: Tensor;
  readonly function?: BinaryFunction;
  readonly constantFirst?: boolean;
  readonly ints?: readonly number[];
  readonly padMode?: PadMode;
  readonly padValue?: number;
  readonly resize?: ResizeOptions;
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

type NodeParameters = { readonly kind: string; readonly bias?: Tensor | null; readonly resize?: ResizeOptions };

/** What native/src/addon/network_node.cc reads of an operator. */
export function nodeArguments({ bias, resize, ...rest }: NodeParameters) {
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
