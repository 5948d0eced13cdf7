import * as ops from '../ops';
import { toFloat32 } from '../tensor/half';
import { Tensor } from '../tensor/tensor';
import { affineStages } from './affine-stages';
import type { GraphNode } from './graph';

/** The operators that nodes need, blocking or on the pool. */
export interface Operators<Result, Options> {
  add(a: Tensor, b: Tensor, options: Options): Result;
  avgPool2d(x: Tensor, options: ops.AvgPool2dOptions & Options): Result;
  crop(x: Tensor, sides: ops.Padding, options: Options): Result;
  flatten(x: Tensor): Result;
  globalAvgPool(x: Tensor, options: Options): Result;
  hardswish(x: Tensor, options: Options): Result;
  linear(x: Tensor, weight: Tensor, bias: Tensor | null, options: Options): Result;
  maxPool2d(x: Tensor, options: ops.MaxPool2dOptions & Options): Result;
  relu(x: Tensor, options: Options): Result;
  runBranch(branch: ops.Branch, x: Tensor, options: Options): Result;
  sigmoid(x: Tensor, options: Options): Result;
  silu(x: Tensor, options: Options): Result;
  softmax(x: Tensor, options: Options): Result;
  squeezeExcite(x: Tensor, weights: ops.SqueezeExcite, options: Options): Result;
}

export const BLOCKING: Operators<Tensor, ops.OpOptions> = { ...ops, flatten };

export const ON_POOL: Operators<Promise<Tensor>, ops.OpOptions & ops.AsyncOpOptions> = {
  add: ops.addAsync,
  avgPool2d: ops.avgPool2dAsync,
  crop: ops.cropAsync,
  flatten: async (x) => flatten(x),
  globalAvgPool: ops.globalAvgPoolAsync,
  hardswish: ops.hardswishAsync,
  linear: ops.linearAsync,
  maxPool2d: ops.maxPool2dAsync,
  relu: ops.reluAsync,
  runBranch: ops.runBranchAsync,
  sigmoid: ops.sigmoidAsync,
  silu: ops.siluAsync,
  softmax: ops.softmaxAsync,
  squeezeExcite: ops.squeezeExciteAsync,
};

/** Runs one node, whose shapes were checked (see `inferShapes`), on its inputs. */
export function runNode<Result, Options>(
  operators: Operators<Result, Options>,
  node: GraphNode,
  [x, other]: readonly Tensor[],
  tensors: ReadonlyMap<string, Tensor>,
  options: Options,
): Result {
  const weight = (key: string) => float32(tensors.get(key)!);
  switch (node.op) {
    case 'conv2d':
    case 'identity_conv1x1':
    case 'batch_norm':
    case 'bn_pad':
      return operators.runBranch({ name: node.id, stages: affineStages(node, weight) }, x!, options);
    case 'avg_pool2d':
    case 'max_pool2d': {
      const { kernel, stride, padding, ceil_mode: ceilMode } = node;
      const window = { ...options, kernel, stride, padding, ceilMode };
      return node.op === 'max_pool2d'
        ? operators.maxPool2d(x!, window)
        : operators.avgPool2d(x!, { ...window, countIncludePad: node.count_include_pad });
    }
    case 'crop':
      return operators.crop(x!, [node.rows[0], node.cols[0], node.rows[1], node.cols[1]], options);
    case 'linear':
      return operators.linear(x!, weight(node.weight), node.bias === null ? null : weight(node.bias), options);
    case 'squeeze_excite': {
      const conv = (prefix: string) => ({ weight: weight(`${prefix}.weight`), bias: weight(`${prefix}.bias`) });
      return operators.squeezeExcite(x!, { reduce: conv(node.reduce), expand: conv(node.expand) }, options);
    }
    case 'add':
      return operators.add(x!, other!, options);
    case 'flatten':
      return operators.flatten(x!);
    case 'global_avg_pool':
      return operators.globalAvgPool(x!, options);
    default:
      return operators[node.op](x!, options);
  }
}

function float32(tensor: Tensor): Tensor {
  return tensor.dtype === 'F32' ? tensor : Tensor.f32(tensor.shape, toFloat32(tensor));
}

function flatten(x: Tensor): Tensor {
  return Tensor.f32([x.shape[0]!, x.size / x.shape[0]!], x.data as Float32Array);
}
