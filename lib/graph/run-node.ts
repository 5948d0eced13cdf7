import * as ops from '../ops';
import { frame, frameAsync } from '../ops/frame';
import { tensorOp, tensorOpAsync } from '../ops/tensor-op';
import { toFloat32 } from '../tensor/half';
import { Tensor } from '../tensor/tensor';
import { type GraphNode, operatorOf } from './operators';
import type { EagerOps, Inputs, Shape } from './operators/operator';

export const BLOCKING: EagerOps<Tensor, ops.OpOptions> = {
  ...ops,
  frame,
  tensorOp,
  constant: (x) => x,
  chain: (first, ...then) => then.reduce((x, step) => step(x), first),
};

export const ON_POOL: EagerOps<Promise<Tensor>, ops.OpOptions & ops.AsyncOpOptions> = {
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
  operators: EagerOps<Result, Options>,
  node: GraphNode,
  given: readonly Tensor[],
  tensors: ReadonlyMap<string, Tensor>,
  options: Options,
): Result {
  const weight = (key: string) => float32(tensors.get(key)!);
  const inputs = given as Inputs<Tensor>;
  const { run, native, stages, shape } = operatorOf(node);
  if (run !== undefined) return run(node, inputs, { ops: operators, options, weight });
  if (native !== undefined) {
    const shapes = inputs.map((input) => input.shape) as unknown as Inputs<Shape>;
    const result = shape(node, shapes, (key) => tensors.get(key)!.shape);
    return operators.tensorOp(native(node, weight), inputs, result, options);
  }
  const [x] = inputs;
  return operators.runBranch({ name: node.id, stages: stages!(node, weight)! }, x, options);
}

function float32(tensor: Tensor): Tensor {
  return tensor.dtype === 'F32' ? tensor : Tensor.f32(tensor.shape, toFloat32(tensor));
}
