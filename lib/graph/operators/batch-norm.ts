import type { Stage } from '../../ops';
import { type Size, sum } from '../../sizes/size';
import { elementCount, Tensor } from '../../tensor/tensor';
import { BOOLEAN, integer, NAME, NOT_NEGATIVE } from './fields';
import {
  expectImage,
  expectTensor,
  type NodeOf,
  type OnnxContext,
  type OnnxNode,
  type Operator,
  onnxFrame,
  type Shape,
  type ShapeOf,
  type Weight,
} from './operator';

export interface BatchNormFields {
  /** Of the keys of its weight, bias, running_mean and running_var. */
  readonly prefix: string;
  readonly eps: number;
  readonly affine: boolean;
}

export interface BatchNormNode extends NodeOf<'batch_norm'>, BatchNormFields {}

/** BN, then a frame of `pad` pixels filled with BN(0) of each channel. */
export interface BnPadNode extends NodeOf<'bn_pad'>, BatchNormFields {
  readonly pad: number;
}

const FIELDS = { prefix: NAME, eps: NOT_NEGATIVE, affine: BOOLEAN };

export const batchNorm: Operator<BatchNormNode> = {
  inputs: 1,
  fields: FIELDS,
  keys: keysOf,
  shape(node, [input], shapeOf) {
    expectStatistics(node, expectImage(input)[1], shapeOf);
    return input;
  },
  keepsChannels: () => true,
  inputChannels,
  stages: (node, weight) => [stageOf(node, weight)],
  magnitude: (node) => node,
  onnx: (node, context) => normalized(node, node.inputs[0]!, context),
};

export const bnPad: Operator<BnPadNode> = {
  inputs: 1,
  fields: { ...FIELDS, pad: integer(0) },
  keys: keysOf,
  shape(node, [input], shapeOf) {
    const [n, c, h, w] = expectImage(input);
    expectStatistics(node, c, shapeOf);
    return [n, c, sum(h, 2 * node.pad), sum(w, 2 * node.pad)];
  },
  keepsChannels: () => true,
  inputChannels,
  stages: (node, weight) => [
    stageOf(node, weight),
    { kind: 'pad_border', padding: [node.pad, node.pad, node.pad, node.pad] },
  ],
  magnitude: (node) => node,
  // Zeros before it, which it makes BN(0).
  onnx: (node, context) => [
    { ...onnxFrame(node.inputs[0]!, [node.pad, node.pad, node.pad, node.pad]), part: 'frame' },
    normalized(node, `${node.id}.frame`, context),
  ],
};

function keysOf({ prefix, affine }: BatchNormFields): string[] {
  const own = affine ? [`${prefix}.weight`, `${prefix}.bias`] : [];
  return [...own, `${prefix}.running_mean`, `${prefix}.running_var`];
}

function expectStatistics(node: BatchNormFields, channels: Size, shapeOf: ShapeOf): void {
  for (const key of keysOf(node)) expectTensor(key, [channels], shapeOf);
}

function inputChannels({ prefix }: BatchNormFields, shapeOf: (key: string) => Shape | undefined): number | undefined {
  const shape = shapeOf(`${prefix}.running_mean`);
  return shape && elementCount(shape);
}

function stageOf({ prefix, eps, affine }: BatchNormFields, weight: Weight): Stage {
  return {
    kind: 'batch_norm',
    runningMean: weight(`${prefix}.running_mean`),
    runningVar: weight(`${prefix}.running_var`),
    ...(affine ? { weight: weight(`${prefix}.weight`), bias: weight(`${prefix}.bias`) } : {}),
    eps,
  };
}

function normalized({ prefix, eps, affine }: BatchNormFields, input: string, { shapeOf }: OnnxContext): OnnxNode {
  const shape = shapeOf(`${prefix}.running_mean`);
  const all = (name: string, value: number) => ({
    name,
    tensor: Tensor.f32(shape, new Float32Array(elementCount(shape)).fill(value)),
  });
  const key = (name: string) => ({ key: `${prefix}.${name}` });
  const own = affine ? [key('weight'), key('bias')] : [all('ones', 1), all('zeros', 0)];
  return {
    opType: 'BatchNormalization',
    inputs: [input, ...own, key('running_mean'), key('running_var')],
    attributes: { epsilon: { float: eps } },
  };
}
