import { floatOf, intOf, intsOf, stringOf } from '../../onnx/attributes';
import type { Node } from '../../onnx/schema/onnx_pb';
import { about, type Reader, refused, type Take } from './reader';

type Two = readonly [number, number];
type Four = readonly [number, number, number, number];

/** What works on images: convolutions, normalisation, pooling. */
export const IMAGE_OPERATORS: Readonly<Record<string, Take>> = {
  Conv(reader, node) {
    const weight = reader.weight(node, 1);
    const [, , ...kernel] = kernelShape(reader, node, weight);
    reader.push({
      ...about(node, 'conv2d'),
      weight,
      bias: reader.optional(node, 2),
      padding: padding(reader, node, kernel as unknown as Two),
      ...strides(node),
      groups: intOf(node, 'group', 1),
    });
  },
  ConvTranspose(reader, node) {
    const weight = reader.weight(node, 1);
    const [, , ...kernel] = kernelShape(reader, node, weight);
    reader.push({
      ...about(node, 'conv_transpose2d'),
      weight,
      bias: reader.optional(node, 2),
      ...strides(node),
      ...transposedPadding(reader, node, kernel as unknown as Two),
      groups: intOf(node, 'group', 1),
    });
  },
  BatchNormalization(reader, node) {
    if (intOf(node, 'training_mode', 0) !== 0) throw refused(node, 'it normalises by batch statistics');
    if (intOf(node, 'spatial', 1) !== 1) throw refused(node, 'its statistics are not those of channels');
    const prefix = node.output[0]!;
    for (const [i, name] of ['weight', 'bias', 'running_mean', 'running_var'].entries())
      reader.weight(node, i + 1, `${prefix}.${name}`);
    const eps = floatOf(node, 'epsilon', Math.fround(1e-5));
    reader.push({ ...about(node, 'batch_norm'), prefix, eps, affine: true });
  },
  ReduceMean(reader, node) {
    const [input] = node.input as [string];
    const given = reader.integers(node, 1, 'axes') ?? [];
    if (given.length === 0 && intOf(node, 'noop_with_empty_axes', 0) !== 0) {
      reader.alias(node);
      return;
    }
    const all = Array.from({ length: reader.rank(input) }, (_, axis) => axis);
    const axes = given.length === 0 ? all : [...new Set(given.map((axis) => reader.axis(input, axis)))].sort();
    const keepdims = intOf(node, 'keepdims', 1) !== 0;
    if (reader.rank(input) !== 4 || axes.join() !== '2,3') {
      reader.push({ ...about(node, 'reduce_mean'), axes, keepdims });
      return;
    }
    const mean = keepdims ? node.output[0]! : `${node.output[0]}.mean`;
    reader.push({ id: mean, op: 'global_avg_pool', inputs: [input] });
    if (!keepdims) reader.push({ id: node.output[0]!, op: 'flatten', inputs: [mean] });
  },
  MaxPool(reader, node) {
    if ((node.output[1] ?? '') !== '') throw refused(node, 'it tells where its maxima are');
    reader.push({ ...about(node, 'max_pool2d'), ...window(reader, node) });
  },
  AveragePool(reader, node) {
    const count_include_pad = intOf(node, 'count_include_pad', 0) !== 0;
    reader.push({ ...about(node, 'avg_pool2d'), ...window(reader, node), count_include_pad });
  },
};

function kernelShape(reader: Reader, node: Node, weight: string): readonly number[] {
  const { shape } = reader.tensor(weight);
  if (shape.length !== 4) throw refused(node, 'it does not convolve images');
  return shape;
}

function strides(node: Node) {
  return { stride: two(node, 'strides', 1), dilation: two(node, 'dilations', 1) };
}

function two(node: Node, name: string, otherwise: number): Two {
  const values = intsOf(node, name) ?? [otherwise, otherwise];
  if (values.length !== 2) throw refused(node, `its ${name} are not those of images`);
  return values as unknown as Two;
}

/** Two numbers where the sides are equal, else four; those of auto_pad are computed. */
function padding(reader: Reader, node: Node, kernel: Two): Two | Four {
  const sides = automaticPadding(reader, node, kernel) ?? intsOf(node, 'pads') ?? [0, 0, 0, 0];
  if (sides.length !== 4) throw refused(node, 'its pads are not those of images');
  const [top, left, bottom, right] = sides as Four;
  return top === bottom && left === right ? [top, left] : [top, left, bottom, right];
}

function automaticPadding(reader: Reader, node: Node, kernel: Two): Four | undefined {
  const how = stringOf(node, 'auto_pad', 'NOTSET');
  if (how === 'NOTSET' || how === '') return undefined;
  if (how === 'VALID') return [0, 0, 0, 0];
  if (how !== 'SAME_UPPER' && how !== 'SAME_LOWER') throw refused(node, `its auto_pad is ${how}`);
  const { stride, dilation } = strides(node);
  const [first, second] = reader.sizes(node.input[0]!).map((sizes) =>
    sizes.slice(2).map((size, axis) => {
      const reach = (kernel[axis]! - 1) * dilation[axis]! + 1;
      return Math.max(0, (Math.ceil(size / stride[axis]!) - 1) * stride[axis]! + reach - size);
    }),
  ) as [number[], number[]];
  if (first.join() !== second.join()) throw refused(node, 'its auto_pad depends on sizes that the model leaves open');
  return shared(first, how === 'SAME_UPPER');
}

/** Paddings shared out to both sides; the odd pixel goes to the end, or to the start. */
function shared(total: readonly number[], toEnd: boolean): Four {
  const half = total.map((each) => Math.floor(each / 2));
  const rest = total.map((each, axis) => each - half[axis]!);
  const [before, after] = toEnd ? [half, rest] : [rest, half];
  return [before[0]!, before[1]!, after[0]!, after[1]!];
}

/** Where a size is asked for, what pads and output_padding then are. */
function transposedPadding(reader: Reader, node: Node, kernel: Two) {
  const output_padding = two(node, 'output_padding', 0);
  const asked = intsOf(node, 'output_shape')?.slice(-2);
  const how = stringOf(node, 'auto_pad', 'NOTSET');
  const automatic = how === 'SAME_UPPER' || how === 'SAME_LOWER';
  if (asked === undefined && !automatic) {
    const sides = how === 'VALID' ? [0, 0, 0, 0] : (intsOf(node, 'pads') ?? [0, 0, 0, 0]);
    if (sides.length !== 4) throw refused(node, 'its pads are not those of images');
    return { padding: sides as unknown as Four, output_padding };
  }
  const { stride, dilation } = strides(node);
  const [first, second] = reader.sizes(node.input[0]!).map((sizes) =>
    sizes.slice(2).map((size, axis) => {
      const whole = stride[axis]! * (size - 1) + (kernel[axis]! - 1) * dilation[axis]! + 1 + output_padding[axis]!;
      return whole - (asked?.[axis] ?? size * stride[axis]!);
    }),
  ) as [number[], number[]];
  if (first.join() !== second.join())
    throw refused(node, 'its output_shape depends on sizes that the model leaves open');
  const more = output_padding.map((each, axis) => each + Math.max(0, -first[axis]!)) as unknown as Two;
  const total = first.map((each) => Math.max(0, each));
  return { padding: shared(total, how === 'SAME_UPPER'), output_padding: more };
}

function window(reader: Reader, node: Node) {
  const kernel = two(node, 'kernel_shape', 1);
  const { stride, dilation } = strides(node);
  return {
    kernel,
    stride,
    ...(dilation.some((step) => step > 1) ? { dilation } : {}),
    padding: padding(reader, node, kernel),
    ceil_mode: intOf(node, 'ceil_mode', 0) !== 0,
  };
}
