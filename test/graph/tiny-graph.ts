import { Tensor } from '../../lib/tensor/tensor';

/** JSON objects that the tests take apart. */
// biome-ignore lint/suspicious/noExplicitAny: hostile JSON has no type
export type Json = any;

/** A small network in which every operator occurs once, [1, 4, 6, 6] -> [1, 3]; a new object at every call. */
export function tinyGraph(): Json {
  const window = { kernel: [2, 2], stride: [1, 1], padding: [0, 0] };
  const conv = { stride: [1, 1], padding: [1, 1], dilation: [1, 1], groups: 2 };
  return {
    input: 'x',
    output: 'softmax',
    nodes: [
      { id: 'conv', op: 'conv2d', inputs: ['x'], weight: 'conv.weight', bias: 'conv.bias', ...conv },
      { id: 'bn', op: 'batch_norm', inputs: ['conv'], prefix: 'bn', eps: 1e-5, affine: true },
      { id: 'relu', op: 'relu', inputs: ['bn'] },
      { id: 'identity', op: 'identity_conv1x1', inputs: ['relu'], weight: 'identity.weight', groups: 2 },
      { id: 'pad', op: 'bn_pad', inputs: ['identity'], prefix: 'pad', eps: 1e-3, affine: false, pad: 1 },
      { id: 'crop', op: 'crop', inputs: ['pad'], rows: [1, 1], cols: [2, 0] },
      { id: 'add', op: 'add', inputs: ['crop', 'identity'] },
      { id: 'silu', op: 'silu', inputs: ['add'] },
      { id: 'average', op: 'avg_pool2d', inputs: ['silu'], ...window, count_include_pad: true },
      { id: 'maximum', op: 'max_pool2d', inputs: ['average'], ...window, ceil_mode: false },
      {
        id: 'se',
        op: 'squeeze_excite',
        inputs: ['maximum'],
        reduce: 'se.reduce',
        expand: 'se.expand',
        activation: 'relu',
        gate: 'sigmoid',
      },
      { id: 'hardswish', op: 'hardswish', inputs: ['se'] },
      { id: 'mean', op: 'global_avg_pool', inputs: ['hardswish'] },
      { id: 'sigmoid', op: 'sigmoid', inputs: ['mean'] },
      { id: 'flat', op: 'flatten', inputs: ['sigmoid'] },
      { id: 'linear', op: 'linear', inputs: ['flat'], weight: 'linear.weight', bias: null },
      { id: 'softmax', op: 'softmax', inputs: ['linear'] },
    ],
    inputShape: [4, 6, 6],
    normalization: { scale: 1 / 255, mean: [0.5, 0.5, 0.5, 0.5], std: [1, 2, 3, 4] },
    labels: ['cat', 'dog', 'newt'],
  };
}

/** Weights that fit the tiny graph. */
export function tinyTensors(): Map<string, Tensor> {
  const shapes = {
    'conv.weight': [4, 2, 3, 3],
    'conv.bias': [4],
    'bn.weight': [4],
    'bn.bias': [4],
    'bn.running_mean': [4],
    'bn.running_var': [4],
    'identity.weight': [4, 2, 1, 1],
    'pad.running_mean': [4],
    'pad.running_var': [4],
    'se.reduce.weight': [2, 4, 1, 1],
    'se.reduce.bias': [2],
    'se.expand.weight': [4, 2, 1, 1],
    'se.expand.bias': [4],
    'linear.weight': [3, 4],
  };
  return new Map(
    Object.entries(shapes).map(([key, shape], seed) => {
      const size = shape.reduce((product, dim) => product * dim, 1);
      return [
        key,
        Tensor.f32(
          shape,
          Float32Array.from({ length: size }, (_, i) => 1 + Math.sin(7 * seed + i) / 2),
        ),
      ];
    }),
  );
}

export const TINY_INPUT = [1, 4, 6, 6];

/** The node of that id. */
export function nodeOf(graph: Json, id: string): Json {
  return graph.nodes.find((node: Json) => node.id === id);
}

/** What is thrown, as code, message and details. */
export function refusalOf(work: () => unknown): { code: string; message: string; details: Record<string, unknown> } {
  try {
    work();
  } catch (error) {
    return error as ReturnType<typeof refusalOf>;
  }
  throw new Error('nothing was thrown');
}
