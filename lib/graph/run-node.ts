import * as ops from '../ops';
import { frame, frameAsync } from '../ops/frame';
import { tensorOp, tensorOpAsync } from '../ops/tensor-op';
import { asFloat32 } from '../tensor/half';
import { elementCount, Tensor } from '../tensor/tensor';
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

/** The part of a data-sized result that is filled. @param axis along which it ends with the first -1 */
export function filledPart({ shape, data }: Tensor, axis: number): Tensor {
  const inner = elementCount(shape.slice(axis + 1));
  const whole = shape[axis]!;
  let size = 0;
  while (size < whole && (data as Float32Array)[size * inner] !== -1) size++;
  const outer = elementCount(shape.slice(0, axis));
  const filled = new Float32Array(outer * size * inner);
  for (let i = 0; i < outer; i++)
    filled.set((data as Float32Array).subarray(i * whole * inner, (i * whole + size) * inner), i * size * inner);
  return Tensor.f32([...shape.slice(0, axis), size, ...shape.slice(axis + 1)], filled);
}

/** Runs one node, whose shapes were checked (see `inferShapes`), on its inputs. */
export function runNode<Result, Options>(
  operators: EagerOps<Result, Options>,
  node: GraphNode,
  given: readonly Tensor[],
  tensors: ReadonlyMap<string, Tensor>,
  options: Options,
): Result {
  const dataAxis = operatorOf(node).dataAxis?.(node);
  // Of what is empty, which only a size that the data tell can be, nothing is joined.
  const inputs = node.op === 'concat' ? given.filter(({ size }) => size > 0) : given;
  const result = runWhole(operators, node, inputs, tensors, options);
  if (dataAxis === undefined) return result;
  return operators.chain(result, (x) => operators.constant(filledPart(x, dataAxis)));
}

function runWhole<Result, Options>(
  operators: EagerOps<Result, Options>,
  node: GraphNode,
  given: readonly Tensor[],
  tensors: ReadonlyMap<string, Tensor>,
  options: Options,
): Result {
  const weight = (key: string) => asFloat32(tensors.get(key)!);
  const inputs = given as Inputs<Tensor>;
  const { run, native, stages, shape } = operatorOf(node);
  if (run !== undefined) return run(node, inputs, { ops: operators, options, weight });
  if (native !== undefined) {
    const shapes = inputs.map((input) => input.shape) as unknown as Inputs<Shape>;
    const result = shape(node, shapes, (key) => tensors.get(key)!.shape) as Shape;
    return operators.tensorOp(native(node, weight), inputs, result, options);
  }
  const [x] = inputs;
  return operators.runBranch({ name: node.id, stages: stages!(node, weight)! }, x, options);
}
