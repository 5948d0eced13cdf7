import type {
  BinaryNode,
  Conv2dNode,
  ConvTranspose2dNode,
  GraphNode,
  PadNode,
  SqueezeExciteNode,
} from '../graph/graph';
import { spreadConvolution } from '../graph/operators/conv-transpose2d';
import { isFrame } from '../graph/shapes';
import type { Stage } from '../ops';
import { type Padding4, toPadding4 } from '../ops/geometry';
import { Tensor } from '../tensor/tensor';
import type { ProgramStep } from './program';
import type { StepList } from './step-list';

type PoolNode = Extract<GraphNode, { op: 'avg_pool2d' | 'max_pool2d' }>;
type CropNode = Extract<GraphNode, { op: 'crop' }>;

/** Finds weights, as float32. */
type Weight = (key: string) => Tensor;

/** With the weights as they are. */
export function plainConvStep(node: Conv2dNode, input: number, weight: Weight): ProgramStep {
  const { groups, stride, dilation, padding } = node;
  return {
    kind: 'conv',
    name: node.id,
    inputs: [input],
    weight: weight(node.weight),
    bias: node.bias === null ? null : weight(node.bias),
    groups,
    stride,
    padding: toPadding4(padding),
    dilation,
  };
}

export function poolStep(node: PoolNode, input: number): ProgramStep {
  const { kernel, stride, padding, dilation = [1, 1], ceil_mode = false } = node;
  return {
    kind: node.op === 'max_pool2d' ? 'maxPool' : 'averagePool',
    name: node.id,
    inputs: [input],
    kernel,
    stride,
    padding: toPadding4(padding),
    dilation,
    ceilMode: ceil_mode,
    countIncludePad: node.op === 'avg_pool2d' && node.count_include_pad,
  };
}

/** A padding that is a frame around images: of one value, or of one for each channel. Undefined where it is none, or the channels are not known. */
export function frameStep(
  node: PadNode,
  input: number,
  channels: number | undefined,
  weight: Weight,
): ProgramStep | undefined {
  const { id, before, after, mode, value, fill } = node;
  if (mode !== 'constant' || !isFrame(node) || (fill === undefined && channels === undefined)) return undefined;
  const bias = fill === undefined ? Tensor.f32([channels!], new Float32Array(channels!).fill(value)) : weight(fill);
  const padding = [before[2]!, before[3]!, after[2]!, after[3]!] as const;
  return { kind: 'frame', name: id, inputs: [input], padding, bias };
}

/** A plain convolution, its channels spread over blocks of pixels, what is too much cut off. @returns the value */
export function addTransposed(list: StepList, node: ConvTranspose2dNode, input: number, weight: Weight): number {
  const { id: name } = node;
  const { spread, crop, ...conv } = spreadConvolution(node, weight);
  const wide = list.add({ ...conv, kind: 'conv', name, inputs: [input] });
  const whole = list.add({ ...spread, name, inputs: [wide] });
  if (crop.every((side) => side === 0)) return whole;
  const padding = crop.map((side) => 0 - side) as unknown as Padding4;
  return list.add({ kind: 'frame', name, inputs: [whole], padding });
}

/** @returns the value */
export function addSqueezeExcite(list: StepList, node: SqueezeExciteNode, input: number, weight: Weight): number {
  const then = (step: Omit<ProgramStep, 'name'>) => list.add({ ...step, name: node.id });
  const conv = (prefix: string) => ({ weight: weight(`${prefix}.weight`), bias: weight(`${prefix}.bias`) });
  const mean = then({ kind: 'globalAveragePool', inputs: [input] });
  const reduced = then({ kind: 'conv', inputs: [mean], ...conv(node.reduce), activation: node.activation });
  const gate = then({ kind: 'conv', inputs: [reduced], ...conv(node.expand), activation: node.gate });
  return then({ kind: 'gate', inputs: [input, gate] });
}

/** Whether a constant is one value for all of an image of `rank` axes, or one for each channel. */
export function isOfChannels(
  { constant }: BinaryNode,
  rank: number,
  weight: (key: string) => Pick<Tensor, 'shape'>,
): boolean {
  if (constant === undefined) return true;
  const { shape } = weight(constant);
  return shape.length <= rank && shape.every((size, axis) => size === 1 || rank - shape.length + axis === 1);
}

export function poolStage({
  kernel,
  stride,
  padding,
  count_include_pad,
}: Extract<PoolNode, { op: 'avg_pool2d' }>): Stage {
  return {
    kind: 'avg_pool2d',
    kernel,
    stride,
    padding: toPadding4(padding),
    countIncludePad: count_include_pad,
  };
}

/** `[top, left, bottom, right]` of a padding that crops. */
export function cropOf({ rows, cols }: CropNode): Padding4 {
  return [0 - rows[0], 0 - cols[0], 0 - rows[1], 0 - cols[1]];
}
