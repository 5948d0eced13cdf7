import * as ops from '../ops';
import { frame, frameAsync } from '../ops/frame';
import { type Padding4, toPadding4 } from '../ops/geometry';
import { type TensorOp, tensorOp, tensorOpAsync } from '../ops/tensor-op';
import { toFloat32 } from '../tensor/half';
import { Tensor } from '../tensor/tensor';
import { affineStages } from './affine-stages';
import { spreadConvolution } from './conv-transpose';
import type { ConvTranspose2dNode, FlattenNode, GraphNode, SoftmaxNode, TensorNode } from './graph';
import { tensorOpOf } from './tensor-op';
import { tensorShape } from './tensor-shapes';

/** The operators that nodes need, blocking or on the pool. */
export interface Operators<Result, Options> {
  add(a: Tensor, b: Tensor, options: Options): Result;
  avgPool2d(x: Tensor, options: ops.AvgPool2dOptions & Options): Result;
  crop(x: Tensor, sides: ops.Padding, options: Options): Result;
  constant(x: Tensor): Result;
  globalAvgPool(x: Tensor, options: Options): Result;
  hardswish(x: Tensor, options: Options): Result;
  linear(x: Tensor, weight: Tensor, bias: Tensor | null, options: Options): Result;
  maxPool2d(x: Tensor, options: ops.MaxPool2dOptions & Options): Result;
  frame(x: Tensor, values: Tensor, sides: Padding4, options: Options): Result;
  relu(x: Tensor, options: Options): Result;
  runBranch(branch: ops.Branch, x: Tensor, options: Options): Result;
  sigmoid(x: Tensor, options: Options): Result;
  silu(x: Tensor, options: Options): Result;
  squeezeExcite(x: Tensor, weights: ops.SqueezeExcite, options: Options): Result;
  tensorOp(op: TensorOp, inputs: readonly Tensor[], shape: readonly number[], options: Options): Result;
  /** One after the other. */
  chain(first: Result, ...then: readonly ((x: Tensor) => Result)[]): Result;
}

export const BLOCKING: Operators<Tensor, ops.OpOptions> = {
  ...ops,
  frame,
  tensorOp,
  constant: (x) => x,
  chain: (first, ...then) => then.reduce((x, step) => step(x), first),
};

export const ON_POOL: Operators<Promise<Tensor>, ops.OpOptions & ops.AsyncOpOptions> = {
  add: ops.addAsync,
  avgPool2d: ops.avgPool2dAsync,
  crop: ops.cropAsync,
  frame: frameAsync,
  constant: async (x) => x,
  globalAvgPool: ops.globalAvgPoolAsync,
  hardswish: ops.hardswishAsync,
  linear: ops.linearAsync,
  maxPool2d: ops.maxPool2dAsync,
  relu: ops.reluAsync,
  runBranch: ops.runBranchAsync,
  sigmoid: ops.sigmoidAsync,
  silu: ops.siluAsync,
  squeezeExcite: ops.squeezeExciteAsync,
  tensorOp: tensorOpAsync,
  async chain(first, ...then) {
    let x = await first;
    for (const step of then) x = await step(x);
    return x;
  },
};

/** Runs one node, whose shapes were checked (see `inferShapes`), on its inputs. */
export function runNode<Result, Options>(
  operators: Operators<Result, Options>,
  node: GraphNode,
  inputs: readonly Tensor[],
  tensors: ReadonlyMap<string, Tensor>,
  options: Options,
): Result {
  const weight = (key: string) => float32(tensors.get(key)!);
  const [x, other] = inputs;
  switch (node.op) {
    case 'conv2d':
    case 'identity_conv1x1':
    case 'batch_norm':
    case 'bn_pad':
      return operators.runBranch({ name: node.id, stages: affineStages(node, weight) }, x!, options);
    case 'avg_pool2d':
    case 'max_pool2d': {
      const { kernel, stride, padding, dilation, ceil_mode: ceilMode } = node;
      const window = { ...options, kernel, stride, padding: toPadding4(padding), dilation, ceilMode };
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
    case 'pad': {
      const [top, left, bottom, right] = [...node.before.slice(2), ...node.after.slice(2)] as [
        number,
        number,
        number,
        number,
      ];
      if (node.fill !== undefined) return operators.frame(x!, weight(node.fill), [top, left, bottom, right], options);
      return runTensorNode(operators, node, inputs, weight, options);
    }
    case 'constant':
      return operators.constant(weight(node.tensor));
    case 'conv_transpose2d':
      return runTransposed(operators, node, x!, weight, options);
    case 'global_avg_pool':
      return operators.globalAvgPool(x!, options);
    case 'hardswish':
    case 'relu':
    case 'sigmoid':
    case 'silu':
      return operators[node.op](x!, options);
    default:
      return runTensorNode(operators, node, inputs, weight, options);
  }
}

function runTensorNode<Result, Options>(
  operators: Operators<Result, Options>,
  node: TensorNode | FlattenNode | SoftmaxNode,
  inputs: readonly Tensor[],
  weight: (key: string) => Tensor,
  options: Options,
): Result {
  const op = tensorOpOf(node, weight);
  const shapes = inputs.map(({ shape }) => shape);
  return operators.tensorOp(op, inputs, tensorShape(node, shapes, op.bias?.shape), options);
}

function runTransposed<Result, Options>(
  operators: Operators<Result, Options>,
  node: ConvTranspose2dNode,
  x: Tensor,
  weight: (key: string) => Tensor,
  options: Options,
): Result {
  const bias = node.bias === null ? null : weight(node.bias);
  const { spread, crop, ...conv } = spreadConvolution(node, weight(node.weight), bias);
  const stage: ops.Stage = { ...conv, kind: 'conv2d', stride: [1, 1], dilation: [1, 1] };
  return operators.chain(
    operators.runBranch({ name: node.id, stages: [stage] }, x, options),
    (wide) => {
      const spreading = { ...spread, id: node.id, op: 'depth_to_space', inputs: [] } as const;
      const shape = tensorShape(spreading, [wide.shape], undefined);
      return operators.tensorOp(tensorOpOf(spreading, weight), [wide], shape, options);
    },
    (whole) => (crop.every((side) => side === 0) ? operators.constant(whole) : operators.crop(whole, crop, options)),
  );
}

function float32(tensor: Tensor): Tensor {
  return tensor.dtype === 'F32' ? tensor : Tensor.f32(tensor.shape, toFloat32(tensor));
}
