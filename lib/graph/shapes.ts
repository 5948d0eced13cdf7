import { RepfuseError } from '../errors';
import { toPadding4, windowCount } from '../ops/geometry';
import { pooledSize } from '../ops/pool';
import { DTYPES } from '../tensor/dtype';
import { elementCount, formatShape, type Tensor } from '../tensor/tensor';
import { spreadShape, transposedSize } from './conv-transpose';
import {
  type ConvTranspose2dNode,
  type FlattenNode,
  type Graph,
  type GraphNode,
  nodeKeys,
  outputsOf,
  type PadNode,
  type SoftmaxNode,
  type TensorNode,
} from './graph';
import { ShapeMismatch, tensorShape } from './tensor-shapes';

type Shape = readonly number[];
type ImageShape = readonly [number, number, number, number];

/** Largest result of a node: a file can ask for any size by its paddings, so the size is checked before memory is taken. */
const MAX_ELEMENTS = 2 ** 31 - 1;

/**
 * Shape of every node's result, by id, for an input of `inputShape` [N, C, H, W]. Every tensor that a node reads is checked
 * against it: there, floating-point, of the right shape.
 *
 * @throws ERR_REPFUSE_GRAPH naming the node whose weights are missing or whose input does not fit; ERR_REPFUSE_SHAPE if
 *   `inputShape` is no shape
 */
export function inferShapes(
  graph: Graph,
  inputShape: Shape,
  tensors: ReadonlyMap<string, Pick<Tensor, 'dtype' | 'shape'>>,
): Map<string, Shape> {
  if (!inputShape.every((dim) => Number.isSafeInteger(dim) && dim > 0)) {
    throw new RepfuseError(
      'ERR_REPFUSE_SHAPE',
      `Expected positive integers for the input's shape but received ${formatShape(inputShape)}`,
    );
  }
  const shapes = new Map<string, Shape>([[graph.input, inputShape]]);
  for (const node of graph.nodes) shapes.set(node.id, nodeShape(node, shapes, tensors));
  const unknown = outputsOf(graph).find((id) => !shapes.has(id));
  if (unknown !== undefined)
    throw new RepfuseError('ERR_REPFUSE_GRAPH', `Expected the id of a node for output but received ${unknown}`);
  return shapes;
}

/** Multiply-accumulates of one run, convolutions and linear layers counted. */
export function countMacs(
  graph: Graph,
  shapes: ReadonlyMap<string, Shape>,
  tensors: ReadonlyMap<string, Pick<Tensor, 'dtype' | 'shape'>>,
): number {
  return graph.nodes.reduce((sum, node) => {
    if (node.op === 'matmul') return sum + elementCount(shapes.get(node.id)!) * shapes.get(node.inputs[0]!)!.at(-1)!;
    if (!('weight' in node)) return sum;
    const weight = tensors.get(node.weight)!.shape;
    // Every input pixel of a transposed convolution meets every weight of its channel once.
    if (node.op === 'conv_transpose2d')
      return sum + elementCount(shapes.get(node.inputs[0]!)!) * elementCount(weight.slice(1));
    return sum + elementCount(shapes.get(node.id)!) * elementCount(weight.slice(1));
  }, 0);
}

/** Shape of a node's result, checked as `inferShapes` does. */
export function nodeShape(
  node: GraphNode,
  shapes: ReadonlyMap<string, Shape>,
  tensors: ReadonlyMap<string, Pick<Tensor, 'dtype' | 'shape'>>,
): Shape {
  expectTensors(node, tensors);
  const inputs = node.inputs.map((id) => {
    const shape = shapes.get(id);
    if (shape === undefined) throw wrong(node, `its input ${id} does not come before it`);
    return shape;
  });
  const shape = shapeOf(node, inputs, (key) => tensors.get(key)!.shape);
  if (elementCount(shape) > MAX_ELEMENTS) {
    throw wrong(node, `its result ${formatShape(shape)} would hold more than ${MAX_ELEMENTS} values`);
  }
  return shape;
}

/** @throws ERR_REPFUSE_GRAPH unless every tensor that a node reads is there, and floating-point */
export function expectTensors(node: GraphNode, tensors: ReadonlyMap<string, Pick<Tensor, 'dtype'>>): void {
  for (const key of nodeKeys(node)) {
    const tensor = tensors.get(key);
    if (tensor === undefined) throw wrong(node, `its tensor ${key} is missing`);
    if (!DTYPES[tensor.dtype].floating) throw wrong(node, `its tensor ${key} is ${tensor.dtype}, not floating-point`);
  }
}

function wrong(node: GraphNode, problem: string): RepfuseError {
  return new RepfuseError('ERR_REPFUSE_GRAPH', `Node ${node.id} (${node.op}): ${problem}`, { node: node.id });
}

function shapeOf(node: GraphNode, inputs: readonly Shape[], keyShape: (key: string) => Shape): Shape {
  const [input] = inputs as [Shape];
  switch (node.op) {
    case 'conv2d':
      return convShape(node, imageShape(node, input), keyShape);
    case 'identity_conv1x1': {
      const channels = imageShape(node, input)[1];
      if (channels % node.groups !== 0)
        throw wrong(node, `${node.groups} groups do not divide ${channels} input channels`);
      expectTensor(node, node.weight, [channels, channels / node.groups, 1, 1], keyShape);
      return input;
    }
    case 'batch_norm':
    case 'bn_pad': {
      const [n, c, h, w] = imageShape(node, input);
      for (const key of nodeKeys(node)) expectTensor(node, key, [c], keyShape);
      return node.op === 'batch_norm' ? input : [n, c, h + 2 * node.pad, w + 2 * node.pad];
    }
    case 'squeeze_excite': {
      const channels = imageShape(node, input)[1];
      const [squeezed = 0] = keyShape(`${node.reduce}.weight`);
      expectTensor(node, `${node.reduce}.weight`, [squeezed, channels, 1, 1], keyShape);
      expectTensor(node, `${node.reduce}.bias`, [squeezed], keyShape);
      expectTensor(node, `${node.expand}.weight`, [channels, squeezed, 1, 1], keyShape);
      expectTensor(node, `${node.expand}.bias`, [channels], keyShape);
      return input;
    }
    case 'crop': {
      const [n, c, h, w] = imageShape(node, input);
      const size = [h - node.rows[0] - node.rows[1], w - node.cols[0] - node.cols[1]] as const;
      if (size[0] < 1 || size[1] < 1) throw wrong(node, `nothing remains of its input ${formatShape(input)}`);
      return [n, c, ...size];
    }
    case 'avg_pool2d':
    case 'max_pool2d':
      return pooledShape(node, imageShape(node, input));
    case 'global_avg_pool': {
      const [n, c] = imageShape(node, input);
      return [n, c, 1, 1];
    }
    case 'constant':
      return keyShape(node.tensor);
    case 'conv_transpose2d':
      return transposedShape(node, imageShape(node, input), keyShape);
    case 'linear': {
      const [out = 0] = keyShape(node.weight);
      if (input.length !== 2) throw wrong(node, `expected [N, features] but its input is ${formatShape(input)}`);
      expectTensor(node, node.weight, [out, input[1]!], keyShape);
      if (node.bias !== null) expectTensor(node, node.bias, [out], keyShape);
      return [input[0]!, out];
    }
    case 'add': {
      const [first, second] = inputs.map(formatShape);
      if (first !== second) throw wrong(node, `the shapes of its inputs, ${first} and ${second}, differ`);
      return input;
    }
    case 'pad':
      if (node.fill !== undefined) {
        const [, channels] = imageShape(node, input);
        expectTensor(node, node.fill, [channels], keyShape);
        if (node.mode !== 'constant' || !isFrame(node))
          throw wrong(node, 'values for each channel stand around images only');
      }
      return tensorNodeShape(node, inputs, keyShape);
    case 'hardswish':
    case 'relu':
    case 'sigmoid':
    case 'silu':
      return input;
    default:
      return tensorNodeShape(node, inputs, keyShape);
  }
}

function tensorNodeShape(
  node: TensorNode | FlattenNode | SoftmaxNode,
  inputs: readonly Shape[],
  keyShape: (key: string) => Shape,
): Shape {
  const constant = node.op === 'binary' && node.constant !== undefined ? keyShape(node.constant) : undefined;
  try {
    return tensorShape(node, inputs, constant);
  } catch (error) {
    throw error instanceof ShapeMismatch ? wrong(node, error.message) : error;
  }
}

/** Whether a padding is one of rows and columns of images. */
export function isFrame({ before, after }: PadNode): boolean {
  return before.length === 4 && [before, after].every(([n, c]) => n === 0 && c === 0);
}

function convShape(
  node: Extract<GraphNode, { op: 'conv2d' }>,
  [n, c, h, w]: ImageShape,
  keyShape: (key: string) => Shape,
): Shape {
  const weight = keyShape(node.weight);
  const [out, inPerGroup, kh, kw] = weight as ImageShape;
  if (weight.length !== 4 || weight.includes(0) || inPerGroup * node.groups !== c || out % node.groups !== 0) {
    throw wrong(
      node,
      `its tensor ${node.weight} of shape ${formatShape(weight)} does not fit ${c} input channels in ${node.groups} groups`,
    );
  }
  if (node.bias !== null) expectTensor(node, node.bias, [out], keyShape);
  const [top, left, bottom, right] = toPadding4(node.padding);
  const size = [
    windowCount(h, kh, node.stride[0], top, bottom, node.dilation[0]),
    windowCount(w, kw, node.stride[1], left, right, node.dilation[1]),
  ] as const;
  if (size[0] < 1 || size[1] < 1) {
    throw wrong(
      node,
      `its ${kh}x${kw} kernel with dilation ${formatShape(node.dilation)} does not fit into ${h}x${w} pixels with padding ${formatShape(node.padding)}`,
    );
  }
  return [n, out, ...size];
}

function transposedShape(
  node: Extract<GraphNode, { op: 'conv_transpose2d' }>,
  [n, c, ...pixels]: ImageShape,
  keyShape: (key: string) => Shape,
): Shape {
  const weight = keyShape(node.weight);
  const [channels, outPerGroup, ...kernel] = weight as ImageShape;
  if (weight.length !== 4 || weight.includes(0) || channels !== c || c % node.groups !== 0) {
    throw wrong(
      node,
      `its tensor ${node.weight} of shape ${formatShape(weight)} does not fit ${c} input channels in ${node.groups} groups`,
    );
  }
  const out = outPerGroup * node.groups;
  if (node.bias !== null) expectTensor(node, node.bias, [out], keyShape);
  const size = ([0, 1] as const).map((axis) => transposedSize(node, axis, pixels[axis], kernel[axis]!));
  if (size.some((each) => each < 1)) throw wrong(node, `its padding leaves nothing of ${formatShape(pixels)} pixels`);
  spreadShape(node, weight);
  if (elementCount(uncroppedShape(node, [n, c, ...pixels], weight)) > MAX_ELEMENTS)
    throw wrong(node, `before its padding is cut off its result would hold more than ${MAX_ELEMENTS} values`);
  return [n, out, ...size];
}

/** About the shape of a transposed convolution's result before its padding is cut off: at least that. */
export function uncroppedShape(node: ConvTranspose2dNode, [n, , ...pixels]: Shape, weight: Shape): Shape {
  const sides = toPadding4(node.padding);
  const size = ([0, 1] as const).map((axis) => {
    const whole = transposedSize(node, axis, pixels[axis]!, weight[axis + 2]!);
    return whole + sides[axis]! + sides[axis + 2]! + node.stride[axis];
  });
  return [n!, weight[1]! * node.groups, ...size];
}

function pooledShape(
  node: Extract<GraphNode, { op: 'avg_pool2d' | 'max_pool2d' }>,
  [n, c, ...pixels]: ImageShape,
): Shape {
  const { kernel, stride, dilation = [1, 1], ceil_mode = false } = node;
  const padding = toPadding4(node.padding);
  try {
    const size = pixels.map((size, axis) => {
      const reach = (kernel[axis]! - 1) * dilation[axis]! + 1;
      return pooledSize(size, reach, stride[axis]!, padding[axis]!, padding[axis + 2]!, ceil_mode);
    });
    return [n, c, ...size];
  } catch (error) {
    throw wrong(node, (error as RepfuseError).message);
  }
}

function expectTensor(node: GraphNode, key: string, expected: Shape, keyShape: (key: string) => Shape): void {
  const shape = keyShape(key);
  if (formatShape(shape) !== formatShape(expected) || shape.includes(0)) {
    const received = formatShape(shape) === formatShape(expected) ? 'has no elements' : `is ${formatShape(shape)}`;
    throw wrong(node, `expected ${formatShape(expected)} for its tensor ${key} but it ${received}`);
  }
}

function imageShape(node: GraphNode, shape: Shape): ImageShape {
  if (shape.length !== 4) throw wrong(node, `expected [N, C, H, W] but its input is ${formatShape(shape)}`);
  return shape as unknown as ImageShape;
}
