import { stageWeight } from '../../ops/branch';
import { toPadding4, windowCount } from '../../ops/geometry';
import { agree } from '../../sizes/conditions';
import { elementCount, formatShape } from '../../tensor/tensor';
import { exactly, integer, integers, NAME, nullable, optional, SIDES } from './fields';
import {
  convolutionAttributes,
  expectChannels,
  expectImage,
  expectTensor,
  type NodeOf,
  type Operator,
  ShapeMismatch,
  type Sides,
  type Two,
  weightKeys,
} from './operator';

/** Weight [out, in / groups, kernel_h, kernel_w]. */
export interface Conv2dNode extends NodeOf<'conv2d'> {
  readonly weight: string;
  readonly bias: string | null;
  readonly stride: Two;
  readonly padding: Sides;
  /** As in PyTorch; no other is known. */
  readonly padding_mode?: 'zeros';
  readonly dilation: Two;
  readonly groups: number;
}

/** 1x1 convolution with `weight` plus the identity. */
export interface IdentityConvNode extends NodeOf<'identity_conv1x1'> {
  readonly weight: string;
  readonly groups: number;
}

export const conv2d: Operator<Conv2dNode> = {
  inputs: 1,
  fields: {
    weight: NAME,
    bias: nullable(NAME),
    stride: integers<Two>(2, 1),
    padding: SIDES,
    padding_mode: optional(exactly('zeros')),
    dilation: integers<Two>(2, 1),
    groups: integer(1),
  },
  keys: weightKeys,
  shape({ weight, bias, stride, padding, dilation, groups }, [input], shapeOf) {
    const [n, c, h, w] = expectImage(input);
    const shape = shapeOf(weight);
    const [out, inPerGroup, kh, kw] = shape as [number, number, number, number];
    if (shape.length !== 4 || shape.includes(0) || !agree(inPerGroup * groups, c) || out % groups !== 0)
      throw new ShapeMismatch(
        `its tensor ${weight} of shape ${formatShape(shape)} does not fit ${c} input channels in ${groups} groups`,
      );
    if (bias !== null) expectTensor(bias, [out], shapeOf);
    const [top, left, bottom, right] = toPadding4(padding);
    const size = [
      windowCount(h, kh, stride[0], top, bottom, dilation[0]),
      windowCount(w, kw, stride[1], left, right, dilation[1]),
    ] as const;
    if (size.some((each) => typeof each === 'number' && each < 1))
      throw new ShapeMismatch(
        `its ${kh}x${kw} kernel with dilation ${formatShape(dilation)} does not fit into ${h}x${w} pixels with padding ${formatShape(padding)}`,
      );
    return [n, out, ...size];
  },
  channels: ({ weight }, _, shapeOf) => shapeOf(weight)?.[0],
  inputChannels: ({ weight, groups }, shapeOf) => (shapeOf(weight)?.[1] ?? 0) * groups || undefined,
  stages: ({ weight, bias, stride, padding, dilation, groups }, tensor) => [
    {
      kind: 'conv2d',
      weight: tensor(weight),
      bias: bias === null ? null : tensor(bias),
      stride,
      padding: toPadding4(padding),
      dilation,
      groups,
    },
  ],
  magnitude: (node) => node,
  steps({ weight, bias, stride, padding, dilation, groups }, engine) {
    const tensors = { weight: engine.weight(weight), bias: bias === null ? null : engine.weight(bias) };
    return engine.images({ kind: 'conv', ...tensors, stride, padding: toPadding4(padding), dilation, groups });
  },
  macs: ({ weight }, _, result, shapeOf) => elementCount(result) * elementCount(shapeOf(weight).slice(1)),
  onnx: (node, { shapeOf }) => ({
    opType: 'Conv',
    inputs: [...node.inputs, ...weightKeys(node).map((key) => ({ key }))],
    attributes: convolutionAttributes(shapeOf(node.weight), node),
  }),
};

const POINTWISE = { stride: [1, 1], padding: [0, 0, 0, 0], dilation: [1, 1] } as const;

export const identityConv: Operator<IdentityConvNode> = {
  inputs: 1,
  fields: { weight: NAME, groups: integer(1) },
  keys: ({ weight }) => [weight],
  shape({ weight, groups }, [input], shapeOf) {
    const channels = expectChannels(input)[1];
    if (channels % groups !== 0) throw new ShapeMismatch(`${groups} groups do not divide ${channels} input channels`);
    expectTensor(weight, [channels, channels / groups, 1, 1], shapeOf);
    return input;
  },
  keepsChannels: () => true,
  inputChannels: ({ weight }, shapeOf) => shapeOf(weight)?.[0],
  stages: ({ weight, groups }, tensor) => [
    { kind: 'conv2d', weight: tensor(weight), ...POINTWISE, groups, plusIdentity: true },
  ],
  macs: ({ weight }, _, result, shapeOf) => elementCount(result) * elementCount(shapeOf(weight).slice(1)),
  onnx({ inputs, weight, groups }, context) {
    const stored = context.weight(weight);
    const whole = stageWeight({ kind: 'conv2d', weight: stored, ...POINTWISE, groups, plusIdentity: true });
    return {
      opType: 'Conv',
      inputs: [...inputs, { name: 'weight', tensor: whole }],
      attributes: convolutionAttributes(whole.shape, { ...POINTWISE, groups }),
    };
  },
};
