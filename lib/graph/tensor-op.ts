import type { TensorOp } from '../ops/tensor-op';
import type { Tensor } from '../tensor/tensor';
import type { FlattenNode, SoftmaxNode, TensorNode } from './graph';

/** The native operator of a node; `weight` finds tensors, as float32, by key. */
export function tensorOpOf(node: TensorNode | FlattenNode | SoftmaxNode, weight: (key: string) => Tensor): TensorOp {
  switch (node.op) {
    case 'tanh':
      return { kind: 'activation', activation: 'tanh' };
    case 'leaky_relu':
      return { kind: 'activation', activation: 'leakyRelu', alpha: node.slope };
    case 'hard_sigmoid':
      return { kind: 'activation', activation: 'hardSigmoid', alpha: node.alpha, beta: node.beta };
    case 'clip': {
      const [alpha, beta] = [node.min ?? -Infinity, node.max ?? Infinity];
      return { kind: 'activation', activation: 'clip', alpha, beta };
    }
    case 'binary': {
      const { function: name, constant, constant_first: constantFirst = false } = node;
      if (constant === undefined) return { kind: 'binary', function: name };
      const bias = weight(constant);
      return { kind: 'binary', function: name, bias, ints: bias.shape, constantFirst };
    }
    case 'concat':
      return { kind: 'concat', ints: [node.axis] };
    case 'flatten':
      return { kind: 'flatten', ints: [node.axis ?? 1] };
    case 'softmax':
      return { kind: 'softmaxAxis', ints: [node.axis ?? 1, node.joint === true ? 1 : 0] };
    case 'transpose':
      return { kind: 'transpose', ints: node.perm };
    case 'slice':
      return { kind: 'slice', ints: node.starts.flatMap((start, i) => [start, node.ends[i]!, node.steps[i]!]) };
    case 'pad':
      return { kind: 'pad', ints: [...node.before, ...node.after], padMode: node.mode, padValue: node.value };
    case 'reshape':
      return { kind: 'reshape', ints: node.shape };
    case 'squeeze':
    case 'unsqueeze':
      return { kind: node.op, ints: node.axes };
    case 'reduce_mean':
      return { kind: 'reduceMean', ints: [node.keepdims ? 1 : 0, ...node.axes] };
    case 'matmul':
      return { kind: 'matMul' };
    case 'resize': {
      const { id, op, inputs, ...resize } = node;
      return { kind: 'resize', resize };
    }
    case 'depth_to_space':
      return { kind: 'depthToSpace', ints: [...node.block, node.channels_first ? 1 : 0] };
  }
}
