import { floatOf, intOf, intsOf } from '../../onnx/attributes';
import { readBatchNorm } from '../../onnx/batch-norm';
import type { Node } from '../../onnx/schema/onnx_pb';
import { numbersOf } from '../../onnx/values';
import type { BinaryFunction, Reduction } from '../../ops/tensor-op';
import { elementCount, Tensor } from '../../tensor/tensor';
import { pushBinary } from './elementwise';
import { about, type Reader, read, refused, type Take } from './reader';

/**
 * What relates values to their own statistics, as the nodes that compute those: means are taken in float64, and variances as the mean of squared
 * distances from the mean, so that little is lost where the mean is large.
 */
export const NORMALIZATION_OPERATORS: Readonly<Record<string, Take>> = {
  BatchNormalization(reader, node) {
    const { eps } = read(node, readBatchNorm(node));
    if (reader.rank(node.input[0]!) !== 4) {
      takeFactors(reader, node, eps);
      return;
    }
    const prefix = node.output[0]!;
    for (const [i, name] of ['weight', 'bias', 'running_mean', 'running_var'].entries())
      reader.weight(node, i + 1, `${prefix}.${name}`);
    reader.push({ ...about(node, 'batch_norm'), prefix, eps, affine: true });
  },
  LayerNormalization(reader, node) {
    const axes = axesFrom(reader, node, intOf(node, 'axis', -1));
    const parts = partsOf(reader, node);
    const meanOf = (name: string, value: string) => parts.reduced(name, 'mean', value, axes);
    const whitened = standardised(parts, node.input[0]!, floatOf(node, 'epsilon', 1e-5), meanOf);
    scaled(parts, whitened, node.input[1]!, node.input[2]);
    const [, mean = '', deviation = ''] = node.output as [string, string?, string?];
    if (mean !== '') reader.push({ ...about(node, 'reduce'), id: mean, function: 'mean', axes, keepdims: true });
    if (deviation !== '') reader.push({ id: deviation, op: 'reciprocal', inputs: [`${node.output[0]}.root`] });
  },
  RMSNormalization(reader, node) {
    const [x, scale] = node.input as [string, string];
    const axes = axesFrom(reader, node, intOf(node, 'axis', -1));
    const parts = partsOf(reader, node);
    const square = parts.reduced('square', 'mean', parts.binary('squares', 'mul', x, x), axes);
    const root = rootOf(parts, square, floatOf(node, 'epsilon', 1e-5));
    scaled(parts, parts.binary('normalised', 'div', x, root), scale);
  },
  InstanceNormalization(reader, node) {
    const parts = partsOf(reader, node);
    const pixels = axesFrom(reader, node, 2);
    const mean = (name: string, value: string) => parts.reduced(name, 'mean', value, pixels);
    const whitened = standardised(parts, node.input[0]!, floatOf(node, 'epsilon', 1e-5), mean);
    scaled(parts, whitened, ...channelConstants(reader, node, pixels.length));
  },
  GroupNormalization: takeGroups,
  MeanVarianceNormalization(reader, node) {
    const parts = partsOf(reader, node);
    const [x] = node.input as [string];
    const axes = (intsOf(node, 'axes') ?? [0, 2, 3]).map((axis) => reader.axis(x, axis)).sort((a, b) => a - b);
    const centred = parts.binary('centred', 'sub', x, parts.reduced('mean', 'mean', x, axes));
    const variance = parts.reduced('variance', 'mean', parts.binary('squares', 'mul', centred, centred), axes);
    // As ONNX defines it: added to the root, not below it.
    parts.result('div', centred, parts.binary('deviation', 'add', parts.root('root', variance), 1e-9));
  },
  LpNormalization(reader, node) {
    const parts = partsOf(reader, node);
    const [x] = node.input as [string];
    const p = intOf(node, 'p', 2);
    if (p !== 1 && p !== 2) throw refused(node, `its p is ${p}`);
    const size = parts.reduced('size', p === 1 ? 'l1' : 'l2', x, [reader.axis(x, intOf(node, 'axis', -1))]);
    // All zeros stay zeros.
    parts.result('div', x, parts.binary('divisor', 'max', size, SMALLEST));
  },
  LRN: takeLocalResponse,
  LogSoftmax(reader, node) {
    const parts = partsOf(reader, node);
    const [x] = node.input as [string];
    const axis = reader.axis(x, intOf(node, 'axis', reader.opset < 13 ? 1 : -1));
    const axes = reader.opset < 13 ? axesFrom(reader, node, axis) : [axis];
    // Less the largest first, so that the logarithm of the sum is not rounded as the values are.
    const least = parts.binary('shifted', 'sub', x, parts.reduced('largest', 'max', x, axes));
    parts.result('sub', least, parts.reduced('sum', 'log_sum_exp', least, axes));
  },
  Hardmax(reader, node) {
    const parts = partsOf(reader, node);
    const [x] = node.input as [string];
    const axis = reader.axis(x, intOf(node, 'axis', reader.opset < 13 ? 1 : -1));
    const first = reader.sizes(x);
    if (reader.opset < 13 && first.slice(axis + 1).some((size) => size !== 1))
      throw refused(node, 'it is over several axes');
    const size = reader.knownSize(x, axis);
    reader.takeBudget(size);
    const places = Tensor.f32(
      [size, ...first.slice(axis + 1).map(() => 1)],
      Float32Array.from({ length: size }, (_, i) => i),
    );
    const constant = reader.set(`${node.output[0]}.places`, places);
    const largest = parts.reduced('largest', 'argmax', x, [axis]);
    reader.push({ id: node.output[0]!, op: 'binary', inputs: [largest], function: 'equal', constant });
  },
};

/** Of the numbers that are not rounded to 0. */
const SMALLEST = 2 ** -126;

/** A value of the model, or a constant. */
type Operand = string | number | Tensor;

/** Nodes that lead to the result of an ONNX node, called after it. */
interface Parts {
  /** @returns the id of the node, as the others do */
  readonly binary: (name: string, op: BinaryFunction, a: string, b: Operand) => string;
  /** The axes stay. */
  readonly reduced: (name: string, how: Reduction, x: string, axes: readonly number[]) => string;
  readonly root: (name: string, x: string) => string;
  readonly result: (op: BinaryFunction, a: string, b: Operand) => void;
}

function partsOf(reader: Reader, node: Node): Parts {
  const id = node.output[0]!;
  const push = (to: string, op: BinaryFunction, a: string, b: Operand) => {
    if (typeof b === 'string') pushBinary(reader, to, op, a, b);
    else {
      const constant = reader.set(`${to}.constant`, typeof b === 'number' ? Tensor.f32([], [b]) : b);
      reader.push({ id: to, op: 'binary', inputs: [a], function: op, constant });
    }
    return to;
  };
  return {
    binary: (name, op, a, b) => push(`${id}.${name}`, op, a, b),
    reduced(name, how, x, axes) {
      const to = `${id}.${name}`;
      reader.push({ id: to, op: 'reduce', inputs: [x], function: how, axes, keepdims: true });
      return to;
    },
    root(name, x) {
      reader.push({ id: `${id}.${name}`, op: 'sqrt', inputs: [x] });
      return `${id}.${name}`;
    },
    result(op, a, b) {
      push(id, op, a, b);
    },
  };
}

/** Values less their mean, over their deviation. */
function standardised(parts: Parts, x: string, eps: number, meanOf: (name: string, value: string) => string): string {
  const centred = parts.binary('centred', 'sub', x, meanOf('mean', x));
  const variance = meanOf('variance', parts.binary('squares', 'mul', centred, centred));
  return parts.binary('normalised', 'div', centred, rootOf(parts, variance, eps));
}

function rootOf(parts: Parts, square: string, eps: number): string {
  return parts.root('root', parts.binary('moved', 'add', square, eps));
}

function scaled(parts: Parts, x: string, scale: Operand, bias: Operand = ''): void {
  if (bias === '') parts.result('mul', x, scale);
  else parts.result('add', parts.binary('scaled', 'mul', x, scale), bias);
}

/** All axes from one on. */
function axesFrom(reader: Reader, node: Node, from: number): readonly number[] {
  const [input] = node.input as [string];
  const first = reader.axis(input, from);
  return Array.from({ length: reader.rank(input) - first }, (_, i) => first + i);
}

/** Scale and bias of each channel, for values of so many axes behind it. */
function channelConstants(reader: Reader, node: Node, pixels: number): [Tensor, Tensor] {
  return [channels(reader, node, 1, pixels), channels(reader, node, 2, pixels)];
}

function channels(reader: Reader, node: Node, index: number, pixels: number): Tensor {
  const { shape, dtype, data } = reader.tensor(reader.weight(node, index));
  return new Tensor(dtype, [elementCount(shape), ...Array(pixels).fill(1)], data);
}

/** A BatchNormalization of what is no image batch: times a factor and plus a shift, both computed in float64. */
function takeFactors(reader: Reader, node: Node, eps: number): void {
  const given = [1, 2, 3, 4].map((i) => {
    const tensor = reader.operand(node.input[i]!);
    if (tensor === undefined) throw refused(node, `its input ${JSON.stringify(node.input[i])} is no constant`);
    return numbersOf(tensor);
  });
  const [scale, bias, mean, variance] = given as [number[], number[], number[], number[]];
  const factor = scale.map((value, c) => value / Math.sqrt(variance[c]! + eps));
  const shape = [scale.length, ...Array(Math.max(0, reader.rank(node.input[0]!) - 2)).fill(1)];
  reader.takeBudget(2 * scale.length);
  const shift = factor.map((value, c) => bias[c]! - mean[c]! * value);
  scaled(partsOf(reader, node), node.input[0]!, Tensor.f32(shape, factor), Tensor.f32(shape, shift));
}

/** The mean of a group is that of its channels' means; so images of any size stay what they are. */
function takeGroups(reader: Reader, node: Node): void {
  const [x] = node.input as [string];
  const groups = intOf(node, 'num_groups', 0);
  const pixels = axesFrom(reader, node, 2);
  const count = reader.knownSize(x, 1);
  if (groups < 1 || count % groups !== 0) throw refused(node, `its ${count} channels are not ${groups} groups`);
  const parts = partsOf(reader, node);
  const mean = (name: string, value: string) => {
    const to = `${node.output[0]}.${name}`;
    const ofChannels = parts.reduced(`${name}.channels`, 'mean', value, pixels);
    reader.push({ id: `${to}.grouped`, op: 'reshape', inputs: [ofChannels], shape: [0, groups, count / groups] });
    const ofGroups = parts.reduced(`${name}.groups`, 'mean', `${to}.grouped`, [2]);
    reader.push({ id: `${to}.spread`, op: 'expand', inputs: [ofGroups], shape: [1, groups, count / groups] });
    const shape = [0, count, ...pixels.map(() => 1)];
    reader.push({ id: to, op: 'reshape', inputs: [`${to}.spread`], shape });
    return to;
  };
  const whitened = standardised(parts, x, floatOf(node, 'epsilon', 1e-5), mean);
  // Before opset 21 a group has one scale and one bias.
  const [scale, bias] = channelConstants(reader, node, pixels.length).map((tensor) => {
    if (reader.opset >= 21) return tensor;
    const values = numbersOf(tensor);
    const spread = Float32Array.from({ length: count }, (_, c) => values[Math.floor((c * groups) / count)]!);
    return Tensor.f32([count, ...pixels.map(() => 1)], spread);
  });
  scaled(parts, whitened, scale!, bias);
}

/** Over the root of a sum of squares of neighbouring channels, which is a convolution by a band. */
function takeLocalResponse(reader: Reader, node: Node): void {
  const [x] = node.input as [string];
  if (reader.rank(x) !== 4) throw refused(node, 'it is not of images');
  const parts = partsOf(reader, node);
  const count = reader.knownSize(x, 1);
  const size = intOf(node, 'size', 1);
  const id = `${node.output[0]}.sum`;
  reader.takeBudget(count * count);
  const band = new Float32Array(count * count);
  const [before, after] = [Math.floor((size - 1) / 2), Math.ceil((size - 1) / 2)];
  for (let c = 0; c < count; c++) {
    const first = c * count;
    band.fill(
      floatOf(node, 'alpha', 1e-4) / size,
      first + Math.max(0, c - before),
      first + Math.min(count, c + after + 1),
    );
  }
  const weight = reader.set(`${id}.weight`, Tensor.f32([count, count, 1, 1], band));
  const bias = reader.set(`${id}.bias`, Tensor.f32([count], Array(count).fill(floatOf(node, 'bias', 1))));
  const inputs = [parts.binary('squares', 'mul', x, x)];
  reader.push({ id, op: 'conv2d', inputs, weight, bias, stride: [1, 1], padding: [0, 0], dilation: [1, 1], groups: 1 });
  parts.result('div', x, parts.binary('power', 'pow', id, floatOf(node, 'beta', 0.75)));
}
