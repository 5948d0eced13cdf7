import { RepfuseError } from '../errors';
import { throwIfAborted } from '../native/call';
import * as ops from '../ops';
import { toFloat32 } from '../tensor/half';
import { formatShape, Tensor } from '../tensor/tensor';
import type { Graph, GraphNode } from './graph';
import { inferShapes } from './shapes';

/**
 * Runs a graph, node by node, in float32 (operators as in `ops`). Results are freed after their last use.
 *
 * @param tensors weights by key; F16 and BF16 are widened, F64 rounded
 * @param input [N, C, H, W], float32, already normalised (see `normalizeInput`)
 * @throws ERR_REPFUSE_GRAPH naming the node that does not fit
 */
export function evaluate(
  graph: Graph,
  tensors: ReadonlyMap<string, Tensor>,
  input: Tensor,
  options: ops.OpOptions = {},
): Tensor {
  inferShapes(graph, input.shape, tensors);
  const weights = float32Weights(tensors);
  const results = new Results(graph, input);
  for (const node of graph.nodes) results.set(node, run(node, results.inputsOf(node), weights, options));
  return results.output();
}

/** `evaluate` on the pool: the event loop stays free, and the signal is looked at between nodes and inside them. */
export async function evaluateAsync(
  graph: Graph,
  tensors: ReadonlyMap<string, Tensor>,
  input: Tensor,
  options: ops.OpOptions & ops.AsyncOpOptions = {},
): Promise<Tensor> {
  throwIfAborted(options.signal);
  inferShapes(graph, input.shape, tensors);
  const weights = float32Weights(tensors);
  const results = new Results(graph, input);
  for (const node of graph.nodes) results.set(node, await runAsync(node, results.inputsOf(node), weights, options));
  return results.output();
}

/**
 * Raw pixels [N, C, H, W] as the network wants them: (x * scale - mean) / std, per channel; a copy or the input itself.
 *
 * @throws ERR_REPFUSE_SHAPE if the images are not of the graph's input shape
 */
export function normalizeInput(graph: Graph, input: Tensor): Tensor {
  const { inputShape, normalization } = graph;
  if (inputShape !== undefined && formatShape(input.shape.slice(1)) !== formatShape(inputShape)) {
    throw new RepfuseError(
      'ERR_REPFUSE_SHAPE',
      `Expected images of ${formatShape(inputShape)} but received ${formatShape(input.shape)}`,
    );
  }
  return normalization === undefined ? input : ops.normalizePixels(input, normalization);
}

/** Intermediate results, each dropped after its last reader. */
class Results {
  private readonly values: Map<string, Tensor>;
  private readonly readers = new Map<string, number>();
  private readonly outputId: string;

  constructor(graph: Graph, input: Tensor) {
    this.outputId = graph.output;
    this.values = new Map([[graph.input, input]]);
    for (const id of [...graph.nodes.flatMap(({ inputs }) => inputs), graph.output]) {
      this.readers.set(id, (this.readers.get(id) ?? 0) + 1);
    }
  }

  inputsOf({ inputs }: GraphNode): Tensor[] {
    const values = inputs.map((id) => this.values.get(id)!);
    for (const id of inputs) this.release(id);
    return values;
  }

  set(node: GraphNode, value: Tensor): void {
    if (this.readers.has(node.id)) this.values.set(node.id, value);
  }

  output(): Tensor {
    return this.values.get(this.outputId)!;
  }

  private release(id: string): void {
    const left = this.readers.get(id)! - 1;
    this.readers.set(id, left);
    if (left === 0) this.values.delete(id);
  }
}

type Weights = (key: string) => Tensor;

function float32Weights(tensors: ReadonlyMap<string, Tensor>): Weights {
  return (key) => {
    const tensor = tensors.get(key)!;
    return tensor.dtype === 'F32' ? tensor : Tensor.f32(tensor.shape, toFloat32(tensor));
  };
}

function batchNormOf(
  { prefix, eps, affine }: { prefix: string; eps: number; affine: boolean },
  t: Weights,
): ops.BatchNorm {
  return {
    runningMean: t(`${prefix}.running_mean`),
    runningVar: t(`${prefix}.running_var`),
    ...(affine ? { weight: t(`${prefix}.weight`), bias: t(`${prefix}.bias`) } : {}),
    eps,
  };
}

/** Nodes that are affine stages run as a branch of that one or two stages. */
function stagesOf(node: GraphNode, t: Weights): ops.Stage[] | undefined {
  switch (node.op) {
    case 'batch_norm':
      return [{ kind: 'batch_norm', ...batchNormOf(node, t) }];
    case 'bn_pad':
      return [
        { kind: 'batch_norm', ...batchNormOf(node, t) },
        { kind: 'pad_border', padding: [node.pad, node.pad, node.pad, node.pad] },
      ];
    case 'conv2d': {
      const [vertical, horizontal] = node.padding;
      const { stride, dilation, groups } = node;
      const padding = [vertical, horizontal, vertical, horizontal] as const;
      return [
        {
          kind: 'conv2d',
          weight: t(node.weight),
          bias: node.bias === null ? null : t(node.bias),
          stride,
          padding,
          dilation,
          groups,
        },
      ];
    }
    case 'identity_conv1x1': {
      const weight = t(node.weight);
      return [
        {
          kind: 'conv2d',
          weight,
          stride: [1, 1],
          padding: [0, 0, 0, 0],
          dilation: [1, 1],
          groups: node.groups,
          plusIdentity: true,
        },
      ];
    }
    default:
      return undefined;
  }
}

function poolOptions(node: Extract<GraphNode, { op: 'avg_pool2d' | 'max_pool2d' }>) {
  const { kernel, stride, padding } = node;
  const countIncludePad = node.op === 'avg_pool2d' ? node.count_include_pad : true;
  return { kernel, stride, padding, ceilMode: node.ceil_mode ?? false, countIncludePad };
}

function squeezeExciteOf({ reduce, expand }: { reduce: string; expand: string }, t: Weights): ops.SqueezeExcite {
  const conv = (prefix: string) => ({ weight: t(`${prefix}.weight`), bias: t(`${prefix}.bias`) });
  return { reduce: conv(reduce), expand: conv(expand) };
}

function flatten(input: Tensor): Tensor {
  return Tensor.f32([input.shape[0]!, input.size / input.shape[0]!], input.data as Float32Array);
}

function cropSides({ rows, cols }: Extract<GraphNode, { op: 'crop' }>): ops.Padding4 {
  return [rows[0], cols[0], rows[1], cols[1]];
}

const ACTIVATIONS = {
  hardswish: { sync: ops.hardswish, async: ops.hardswishAsync },
  relu: { sync: ops.relu, async: ops.reluAsync },
  sigmoid: { sync: ops.sigmoid, async: ops.sigmoidAsync },
  silu: { sync: ops.silu, async: ops.siluAsync },
  softmax: { sync: ops.softmax, async: ops.softmaxAsync },
};

function run(node: GraphNode, [x, other]: readonly Tensor[], t: Weights, options: ops.OpOptions): Tensor {
  const stages = stagesOf(node, t);
  if (stages !== undefined) return ops.runBranch({ name: node.id, stages }, x!, options);
  switch (node.op) {
    case 'add':
      return ops.add(x!, other!, options);
    case 'avg_pool2d':
      return ops.avgPool2d(x!, { ...options, ...poolOptions(node) });
    case 'crop':
      return ops.crop(x!, cropSides(node), options);
    case 'global_avg_pool':
      return ops.globalAvgPool(x!, options);
    case 'linear':
      return ops.linear(x!, t(node.weight), node.bias === null ? null : t(node.bias), options);
    case 'max_pool2d':
      return ops.maxPool2d(x!, { ...options, ...poolOptions(node) });
    case 'squeeze_excite':
      return ops.squeezeExcite(x!, squeezeExciteOf(node, t), options);
    case 'hardswish':
    case 'relu':
    case 'sigmoid':
    case 'silu':
    case 'softmax':
      return ACTIVATIONS[node.op].sync(x!, options);
    default:
      return flatten(x!);
  }
}

async function runAsync(
  node: GraphNode,
  [x, other]: readonly Tensor[],
  t: Weights,
  options: ops.OpOptions & ops.AsyncOpOptions,
): Promise<Tensor> {
  const stages = stagesOf(node, t);
  if (stages !== undefined) return ops.runBranchAsync({ name: node.id, stages }, x!, options);
  switch (node.op) {
    case 'add':
      return ops.addAsync(x!, other!, options);
    case 'avg_pool2d':
      return ops.avgPool2dAsync(x!, { ...options, ...poolOptions(node) });
    case 'crop':
      return ops.cropAsync(x!, cropSides(node), options);
    case 'global_avg_pool':
      return ops.globalAvgPoolAsync(x!, options);
    case 'linear':
      return ops.linearAsync(x!, t(node.weight), node.bias === null ? null : t(node.bias), options);
    case 'max_pool2d':
      return ops.maxPool2dAsync(x!, { ...options, ...poolOptions(node) });
    case 'squeeze_excite':
      return ops.squeezeExciteAsync(x!, squeezeExciteOf(node, t), options);
    case 'hardswish':
    case 'relu':
    case 'sigmoid':
    case 'silu':
    case 'softmax':
      return ACTIVATIONS[node.op].async(x!, options);
    default:
      return flatten(x!);
  }
}
