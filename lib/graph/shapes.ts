import { RepfuseError } from '../errors';
import { windowCount } from '../ops/geometry';
import { pooledSize } from '../ops/pool';
import { formatShape, type Tensor } from '../tensor/tensor';
import { type Graph, type GraphNode, nodeKeys } from './graph';

type Shape = readonly number[];

/**
 * Shape of every node's result, by id, for an input of `inputShape` [N, C, H, W].
 *
 * @throws ERR_REPFUSE_GRAPH naming the node whose weights are missing or whose input does not fit
 */
export function inferShapes(graph: Graph, inputShape: Shape, tensors: ReadonlyMap<string, Tensor>): Map<string, Shape> {
  const shapes = new Map<string, Shape>([[graph.input, inputShape]]);
  for (const node of graph.nodes) {
    for (const key of nodeKeys(node)) {
      if (!tensors.has(key)) throw wrong(node, `its tensor ${key} is missing`);
    }
    const inputs = node.inputs.map((id) => shapes.get(id)!);
    try {
      shapes.set(
        node.id,
        shapeOf(node, inputs, (key) => tensors.get(key)!.shape),
      );
    } catch (error) {
      throw error instanceof RepfuseError && error.code !== 'ERR_REPFUSE_GRAPH' ? wrong(node, error.message) : error;
    }
  }
  return shapes;
}

/** Multiply-accumulates of one run, convolutions and linear layers counted. */
export function countMacs(
  graph: Graph,
  shapes: ReadonlyMap<string, Shape>,
  tensors: ReadonlyMap<string, Tensor>,
): number {
  const size = (shape: Shape) => shape.reduce((product, dim) => product * dim, 1);
  return graph.nodes.reduce((sum, node) => {
    if (node.op !== 'conv2d' && node.op !== 'identity_conv1x1' && node.op !== 'linear') return sum;
    const weight = tensors.get(node.weight)!.shape;
    return sum + size(shapes.get(node.id)!) * size(weight.slice(1));
  }, 0);
}

function wrong(node: GraphNode, problem: string): RepfuseError {
  return new RepfuseError('ERR_REPFUSE_GRAPH', `Node ${node.id} (${node.op}): ${problem}`, { node: node.id });
}

function shapeOf(node: GraphNode, inputs: readonly Shape[], keyShape: (key: string) => Shape): Shape {
  const [input] = inputs as [Shape];
  switch (node.op) {
    case 'conv2d': {
      const [n, c, h, w] = image(node, input);
      const [out, inPerGroup, kh, kw] = keyShape(node.weight) as [number, number, number, number];
      if (keyShape(node.weight).length !== 4 || inPerGroup * node.groups !== c) {
        throw wrong(
          node,
          `weight ${formatShape(keyShape(node.weight))} in ${node.groups} groups does not fit the input ${formatShape(input)}`,
        );
      }
      const [top, left] = node.padding;
      const size = [
        windowCount(h, kh, node.stride[0], top, top, node.dilation[0]),
        windowCount(w, kw, node.stride[1], left, left, node.dilation[1]),
      ] as const;
      if (size[0] < 1 || size[1] < 1)
        throw wrong(node, `the ${kh}x${kw} kernel does not fit the input ${formatShape(input)}`);
      return [n, out, ...size];
    }
    case 'identity_conv1x1':
    case 'batch_norm':
    case 'squeeze_excite':
      image(node, input);
      return input;
    case 'bn_pad': {
      const [n, c, h, w] = image(node, input);
      return [n, c, h + 2 * node.pad, w + 2 * node.pad];
    }
    case 'crop': {
      const [n, c, h, w] = image(node, input);
      const size = [h - node.rows[0] - node.rows[1], w - node.cols[0] - node.cols[1]] as const;
      if (size[0] < 1 || size[1] < 1) throw wrong(node, `nothing remains of ${formatShape(input)}`);
      return [n, c, ...size];
    }
    case 'avg_pool2d':
    case 'max_pool2d': {
      const [n, c, h, w] = image(node, input);
      const [top, left] = node.padding;
      const ceil = node.ceil_mode ?? false;
      return [
        n,
        c,
        pooledSize(h, node.kernel[0], node.stride[0], top, top, ceil),
        pooledSize(w, node.kernel[1], node.stride[1], left, left, ceil),
      ];
    }
    case 'global_avg_pool': {
      const [n, c] = image(node, input);
      return [n, c, 1, 1];
    }
    case 'flatten':
      return [input[0]!, input.slice(1).reduce((product, dim) => product * dim, 1)];
    case 'linear': {
      const [out, features] = keyShape(node.weight) as [number, number];
      if (input.length !== 2 || input[1] !== features)
        throw wrong(node, `weight ${formatShape(keyShape(node.weight))} does not fit the input ${formatShape(input)}`);
      return [input[0]!, out];
    }
    case 'add':
      if (formatShape(inputs[0]!) !== formatShape(inputs[1]!)) {
        throw wrong(node, `shapes ${formatShape(inputs[0]!)} and ${formatShape(inputs[1]!)} differ`);
      }
      return input;
    default:
      return input;
  }
}

function image(node: GraphNode, shape: Shape): readonly [number, number, number, number] {
  if (shape.length !== 4) throw wrong(node, `expected [N, C, H, W] but the input is ${formatShape(shape)}`);
  return shape as unknown as readonly [number, number, number, number];
}
