import type { RepfuseError } from '../../errors';
import type { Stage } from '../../ops';
import { toPadding4 } from '../../ops/geometry';
import { pooledSize } from '../../ops/pool';
import type { NativeStep } from '../../ops/tensor-op';
import type { Sizes } from '../../sizes/size';
import { BOOLEAN, integer, integers, optional, SIDES } from './fields';
import { expectImage, type NodeOf, type Operator, ShapeMismatch, type Sides, type Two, Unwritable } from './operator';

export interface PoolingWindow {
  readonly kernel: Two;
  readonly stride: Two;
  readonly padding: Sides;
  readonly dilation?: Two;
  readonly ceil_mode?: boolean;
}

export interface AvgPoolNode extends NodeOf<'avg_pool2d'>, PoolingWindow {
  readonly count_include_pad: boolean;
}

export interface MaxPoolNode extends NodeOf<'max_pool2d'>, PoolingWindow {}

/** Of each window the root of the sum of powers: the Euclidean norm where `power` is 2. */
export interface LpPoolNode extends NodeOf<'lp_pool2d'>, PoolingWindow {
  readonly power: number;
}

export interface GlobalAvgPoolNode extends NodeOf<'global_avg_pool'> {}

const FIELDS = {
  kernel: integers<Two>(2, 1),
  stride: integers<Two>(2, 1),
  padding: SIDES,
  dilation: optional(integers<Two>(2, 1)),
  ceil_mode: optional(BOOLEAN),
};

export const avgPool2d: Operator<AvgPoolNode> = {
  inputs: 1,
  fields: { ...FIELDS, count_include_pad: BOOLEAN },
  shape: (node, [input]) => pooledShape(node, input),
  keepsChannels: () => true,
  affine(node) {
    const { kernel, stride, padding, dilation, ceilMode } = windowOf(node);
    if (ceilMode || dilation.some((step) => step > 1)) return undefined;
    const stage: Stage = { kind: 'avg_pool2d', kernel, stride, padding, countIncludePad: node.count_include_pad };
    return { kind: 'stages', input: node.inputs[0]!, stages: [stage] };
  },
  magnitude: (node) => node,
  steps: (node, engine) =>
    engine.images({ kind: 'averagePool', ...windowOf(node), countIncludePad: node.count_include_pad }),
  run: (node, [x], { ops, options }) =>
    ops.avgPool2d(x, { ...options, ...windowOf(node), countIncludePad: node.count_include_pad }),
  onnx: (node) => ({
    opType: 'AveragePool',
    inputs: node.inputs,
    attributes: { ...windowAttributes(node), count_include_pad: node.count_include_pad },
  }),
};

export const maxPool2d: Operator<MaxPoolNode> = {
  inputs: 1,
  fields: FIELDS,
  shape: (node, [input]) => pooledShape(node, input),
  keepsChannels: () => true,
  steps: (node, engine) => engine.images({ kind: 'maxPool', ...windowOf(node), countIncludePad: false }),
  run: (node, [x], { ops, options }) => ops.maxPool2d(x, { ...options, ...windowOf(node) }),
  onnx: (node) => ({ opType: 'MaxPool', inputs: node.inputs, attributes: windowAttributes(node) }),
};

export const lpPool2d: Operator<LpPoolNode> = {
  inputs: 1,
  fields: { ...FIELDS, power: integer(1) },
  shape: (node, [input]) => pooledShape(node, input),
  keepsChannels: () => true,
  native: (node) => lpPool(node),
  steps: (node, engine) => engine.images(lpPool(node)),
  onnx(node, { opset }) {
    const { dilations, ceil_mode, ...attributes } = windowAttributes(node);
    const isOlder = opset < NEWER_LP_POOL;
    if (isOlder && (dilations !== undefined || ceil_mode))
      throw new Unwritable(`such an LpPool before opset ${NEWER_LP_POOL}`);
    const newer = isOlder ? {} : { ceil_mode, ...(dilations === undefined ? {} : { dilations }) };
    return { opType: 'LpPool', inputs: node.inputs, attributes: { ...attributes, ...newer, p: node.power } };
  },
};

export const globalAvgPool: Operator<GlobalAvgPoolNode> = {
  inputs: 1,
  fields: {},
  shape(_, [input]) {
    const [n, c] = expectImage(input);
    return [n, c, 1, 1];
  },
  keepsChannels: () => true,
  steps: (_, engine) => engine.images({ kind: 'globalAveragePool' }),
  run: (_, [x], { ops, options }) => ops.globalAvgPool(x, options),
  onnx: { type: 'GlobalAveragePool' },
};

function pooledShape(node: PoolingWindow, input: Sizes): Sizes {
  const [n, c, ...pixels] = expectImage(input);
  const { kernel, stride, padding, dilation, ceilMode } = windowOf(node);
  try {
    const size = pixels.map((size, axis) => {
      const reach = (kernel[axis]! - 1) * dilation[axis]! + 1;
      return pooledSize(size, reach, stride[axis]!, padding[axis]!, padding[axis + 2]!, ceilMode);
    });
    return [n, c, ...size];
  } catch (error) {
    throw new ShapeMismatch((error as RepfuseError).message);
  }
}

function windowOf({ kernel, stride, padding, dilation = [1, 1], ceil_mode: ceilMode = false }: PoolingWindow) {
  return { kernel, stride, padding: toPadding4(padding), dilation, ceilMode };
}

/** From here on it has dilations and rounds sizes up. */
const NEWER_LP_POOL = 18;

function lpPool(node: LpPoolNode): NativeStep {
  return { kind: 'lpPool', ...windowOf(node), alpha: node.power };
}

function windowAttributes({ kernel, stride, padding, dilation, ceil_mode = false }: PoolingWindow) {
  return {
    kernel_shape: kernel,
    strides: stride,
    pads: toPadding4(padding),
    ...(dilation === undefined ? {} : { dilations: dilation }),
    ceil_mode,
  };
}
