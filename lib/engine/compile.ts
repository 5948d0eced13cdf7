import { type AffineConv, addBranches, appendStages, fromBranch, identity, materializeAsync } from '../algebra';
import { RepfuseError } from '../errors';
import { type AffineNode, affineStages, type Graph, type GraphNode } from '../graph';
import type { Conv2dNode, PlainOp } from '../graph/graph';
import type { Branch, Stage } from '../ops';
import type { Padding4 } from '../ops/geometry';
import { toFloat32 } from '../tensor/half';
import { elementCount, Tensor } from '../tensor/tensor';
import { channelCounts } from './channels';
import type { Program, ProgramStep, StepActivation } from './program';

/**
 * A graph as a program: whatever is an affine map of one value (convolutions, BatchNorms, average pooling, crops and their sums) becomes
 * one convolution where `algebra` says that this is exact and where it does not cost more than its parts; activations and the sum
 * with another value go into the convolution before them.
 *
 * @throws ERR_REPFUSE_NOT_FUSABLE or ERR_REPFUSE_NOT_FINITE naming the node of a BatchNorm that cannot be evaluated
 */
export function compileGraph(graph: Graph, tensors: ReadonlyMap<string, Tensor>): Program {
  const compiler = new Compiler(graph, tensors);
  for (const node of graph.nodes) compiler.take(node);
  return compiler.finish();
}

/** An affine map of a value, not yet a step. */
interface Pending {
  /** The value that it is a map of. */
  readonly source: string;
  readonly conv: AffineConv;
  /** Weight elements of the parts, as a measure of what they cost. */
  readonly cost: number;
  /** The last node. */
  readonly node: MapNode | SumNode;
  /** What has been merged into it, by id: none where it is the node alone. */
  readonly parts: ReadonlyMap<string, Pending>;
}

type MapNode = AffineNode | Extract<GraphNode, { op: 'avg_pool2d' | 'crop' }>;
type SumNode = Extract<GraphNode, { op: PlainOp }>;

class Compiler {
  private readonly steps: ProgramStep[] = [];
  /** Values by id of their node. */
  private readonly values = new Map<string, number>();
  private readonly pending = new Map<string, Pending>();
  private readonly readers = new Map<string, number>();
  private readonly channels: ReadonlyMap<string, number>;

  constructor(
    private readonly graph: Graph,
    private readonly tensors: ReadonlyMap<string, Tensor>,
  ) {
    this.channels = channelCounts(graph, tensors);
    this.values.set(graph.input, 0);
    for (const id of [...graph.nodes.flatMap(({ inputs }) => inputs), graph.output]) {
      this.readers.set(id, (this.readers.get(id) ?? 0) + 1);
    }
  }

  take(node: GraphNode): void {
    if (!this.readers.has(node.id)) return; // nobody reads it
    switch (node.op) {
      case 'conv2d':
      case 'identity_conv1x1':
      case 'batch_norm':
      case 'bn_pad':
        this.takeAffine(node);
        break;
      case 'avg_pool2d':
        if (node.ceil_mode === true) this.emitPool(node);
        else this.takeAffine(node);
        break;
      case 'crop':
        this.takeAffine(node);
        break;
      case 'add':
        this.takeSum(node as SumNode);
        break;
      case 'relu':
      case 'sigmoid':
      case 'silu':
      case 'hardswish':
        this.takeActivation(node, node.op);
        break;
      case 'max_pool2d':
        this.emitPool(node);
        break;
      case 'global_avg_pool':
        this.emit(node, { kind: 'globalAveragePool' });
        break;
      case 'flatten':
      case 'softmax':
        this.emit(node, { kind: node.op });
        break;
      case 'linear':
        this.emit(node, { kind: 'linear', weight: this.float32(node.weight), bias: this.optional(node.bias) });
        break;
      case 'squeeze_excite':
        this.emitSqueezeExcite(node);
        break;
    }
  }

  finish(): Program {
    const output = this.value(this.graph.output);
    return { inChannels: this.channelsOf(this.graph.input), steps: this.steps, output };
  }

  /** The value of an id; what is pending for it becomes a step. */
  private value(id: string): number {
    const pending = this.pending.get(id);
    if (pending !== undefined) this.emitPending(id, pending);
    return this.values.get(id)!;
  }

  private push(id: string, step: ProgramStep): void {
    this.steps.push(step);
    this.values.set(id, this.steps.length);
  }

  private emit(node: GraphNode, step: Omit<ProgramStep, 'inputs' | 'name'>): void {
    this.push(node.id, { ...step, name: node.id, inputs: node.inputs.map((id) => this.value(id)) });
  }

  private takeAffine(node: MapNode): void {
    const input = node.inputs[0]!;
    const before = this.soleReader(input) ? this.pending.get(input) : undefined;
    const conv = before && exactly(node, () => appendStages(before.conv, this.branchOf(node)));
    if (before === undefined || conv === undefined) {
      this.takeAlone(node);
      return;
    }
    this.pending.delete(input);
    const { source } = before;
    this.pending.set(node.id, {
      source,
      conv,
      cost: before.cost + this.costOf(node),
      node,
      parts: new Map([[input, before]]),
    });
  }

  /** The node as a map of its input, which becomes a value. */
  private takeAlone(node: MapNode): void {
    const source = node.inputs[0]!;
    this.value(source);
    const make = () => fromBranch(this.branchOf(node), { channels: this.channelsOf(source) });
    const conv = node.op === 'avg_pool2d' ? exactly(node, make) : atNode(node, make);
    if (conv !== undefined)
      this.pending.set(node.id, { source, conv, cost: this.costOf(node), node, parts: new Map() });
    else if (node.op === 'avg_pool2d') this.emitPool(node);
  }

  private takeSum(node: SumNode): void {
    const merged = this.mergedSum(node);
    if (merged === undefined) {
      this.emitSum(node);
      return;
    }
    for (const id of merged.parts.keys()) this.pending.delete(id);
    this.pending.set(node.id, merged);
  }

  /** The sum of two maps of one value (a value is a map of itself), where that is exact. */
  private mergedSum(node: SumNode): Pending | undefined {
    const [first, second] = node.inputs as [string, string];
    const parts = new Map<string, Pending>();
    for (const id of [first, second]) {
      const part = this.soleReader(id) ? this.pending.get(id) : undefined;
      if (part !== undefined) parts.set(id, part);
    }
    const source = [...parts.values()][0]?.source;
    if (source === undefined || first === second) return undefined;
    const convOf = (id: string) => {
      if (id === source) return identity(this.channelsOf(id), this.channelsOf(id));
      return parts.get(id)?.source === source ? parts.get(id)!.conv : undefined;
    };
    const convs = [convOf(first), convOf(second)];
    const conv = convs.includes(undefined) ? undefined : exactly(node, () => addBranches(convs as AffineConv[]));
    if (conv === undefined) return undefined;
    const own = parts.size < 2 ? this.channelsOf(source) : 0; // of the identity
    return { source, conv, cost: [...parts.values()].reduce((sum, { cost }) => sum + cost, own), node, parts };
  }

  private emitSum(node: SumNode): void {
    const [first, second] = node.inputs as [string, string];
    for (const [own, other] of [
      [second, first],
      [first, second],
    ] as const) {
      if (own === other || !this.pending.has(own) || !this.soleReader(own)) continue;
      const residual = this.value(other);
      const last = this.steps[this.value(own) - 1]!;
      if (last.kind !== 'conv' || last.inputs.length > 1 || this.values.get(own) !== this.steps.length) break;
      // The sum goes into the convolution, which only this node reads.
      this.steps.pop();
      this.push(node.id, { ...last, name: node.id, inputs: [last.inputs[0]!, residual] });
      return;
    }
    this.emit(node, { kind: 'add' });
  }

  private takeActivation(node: GraphNode, activation: StepActivation): void {
    const input = node.inputs[0]!;
    const value = this.value(input);
    const last = this.steps[value - 1];
    const takes = last !== undefined && (last.kind === 'conv' || last.kind === 'add') && last.activation === undefined;
    if (takes && this.soleReader(input)) {
      last.activation = activation;
      this.values.set(node.id, value);
    } else {
      this.emit(node, { kind: 'activation', activation });
    }
  }

  private emitPending(id: string, pending: Pending): void {
    this.pending.delete(id);
    const { node, parts } = pending;
    if (parts.size === 0 || costOfConv(pending.conv) <= pending.cost) {
      this.push(id, this.stepOf(pending));
      return;
    }
    // Merged it would cost more than its parts.
    for (const [partId, part] of parts) this.pending.set(partId, part);
    if (node.op === 'add') {
      this.emitSum(node);
    } else {
      this.takeAlone(node as MapNode);
      this.value(id);
    }
  }

  private stepOf({ source, conv, node, parts }: Pending): ProgramStep {
    const input = this.values.get(source)!;
    const alone = parts.size === 0;
    if (alone && node.op === 'conv2d') return this.plainConv(node, input);
    if (alone && node.op === 'avg_pool2d') return poolStep(node, input);
    const crop = conv.padding.map((side) => Math.min(side, 0)) as unknown as Padding4;
    if (alone && node.op === 'crop') return { kind: 'frame', name: node.id, inputs: [input], padding: crop };
    const cropped = crop.some((side) => side < 0);
    if (cropped) this.steps.push({ kind: 'frame', name: `${node.id} crop`, inputs: [input], padding: crop });
    const from = cropped ? this.steps.length : input;
    const fuse: ProgramStep['fuse'] = (options) =>
      materializeAsync(conv, options).catch((error) => {
        throw namingNode(node, error);
      });
    const { groups, stride, dilation } = conv;
    const padding = conv.padding.map((side) => Math.max(side, 0)) as unknown as Padding4;
    return { kind: 'conv', name: node.id, inputs: [from], fuse, groups, stride, padding, dilation };
  }

  /** With the weights as they are. */
  private plainConv(node: Conv2dNode, input: number): ProgramStep {
    const { groups, stride, dilation, padding } = node;
    return {
      kind: 'conv',
      name: node.id,
      inputs: [input],
      weight: this.float32(node.weight),
      bias: this.optional(node.bias),
      groups,
      stride,
      padding: [padding[0], padding[1], padding[0], padding[1]],
      dilation,
    };
  }

  private emitPool(node: Extract<GraphNode, { op: 'avg_pool2d' | 'max_pool2d' }>): void {
    this.push(node.id, poolStep(node, this.value(node.inputs[0]!)));
  }

  private emitSqueezeExcite(node: Extract<GraphNode, { op: 'squeeze_excite' }>): void {
    const x = this.value(node.inputs[0]!);
    const then = (step: Omit<ProgramStep, 'name'>) => this.steps.push({ ...step, name: node.id });
    const conv = (prefix: string) => ({
      weight: this.float32(`${prefix}.weight`),
      bias: this.float32(`${prefix}.bias`),
    });
    const mean = then({ kind: 'globalAveragePool', inputs: [x] });
    const reduced = then({ kind: 'conv', inputs: [mean], ...conv(node.reduce), activation: node.activation });
    const gate = then({ kind: 'conv', inputs: [reduced], ...conv(node.expand), activation: node.gate });
    this.push(node.id, { kind: 'gate', name: node.id, inputs: [x, gate] });
  }

  private branchOf(node: MapNode): Branch {
    return { name: node.id, stages: this.stagesOf(node) };
  }

  private stagesOf(node: MapNode): Stage[] {
    if (node.op === 'avg_pool2d') return [poolStage(node)];
    if (node.op === 'crop') return [this.cropStage(node)];
    return affineStages(node, (key) => this.tensors.get(key)!);
  }

  /** Weight elements of a node: of what has none, one for each channel or tap. */
  private costOf(node: MapNode): number {
    const channels = this.channelsOf(node.id);
    if (node.op === 'avg_pool2d') return channels * elementCount(node.kernel);
    return 'weight' in node ? this.tensors.get(node.weight)!.size : channels;
  }

  private cropStage({ inputs, rows, cols }: Extract<GraphNode, { op: 'crop' }>): Stage {
    const channels = this.channelsOf(inputs[0]!);
    return {
      kind: 'conv2d',
      weight: Tensor.f32([channels, 1, 1, 1], new Float32Array(channels).fill(1)),
      stride: [1, 1],
      padding: [0 - rows[0], 0 - cols[0], 0 - rows[1], 0 - cols[1]],
      dilation: [1, 1],
      groups: channels,
    };
  }

  private channelsOf(id: string): number {
    return this.channels.get(id)!;
  }

  private soleReader(id: string): boolean {
    return this.readers.get(id) === 1 && id !== this.graph.output;
  }

  private float32(key: string): Tensor {
    const tensor = this.tensors.get(key)!;
    return tensor.dtype === 'F32' ? tensor : Tensor.f32(tensor.shape, toFloat32(tensor));
  }

  private optional(key: string | null): Tensor | null {
    return key === null ? null : this.float32(key);
  }
}

function poolStage({ kernel, stride, padding, count_include_pad }: Extract<GraphNode, { op: 'avg_pool2d' }>): Stage {
  const [vertical, horizontal] = padding;
  return {
    kind: 'avg_pool2d',
    kernel,
    stride,
    padding: [vertical, horizontal, vertical, horizontal],
    countIncludePad: count_include_pad,
  };
}

function poolStep(node: Extract<GraphNode, { op: 'avg_pool2d' | 'max_pool2d' }>, input: number): ProgramStep {
  const { kernel, stride, padding, ceil_mode = false } = node;
  return {
    kind: node.op === 'max_pool2d' ? 'maxPool' : 'averagePool',
    name: node.id,
    inputs: [input],
    kernel,
    stride,
    padding: [padding[0], padding[1], padding[0], padding[1]],
    ceilMode: ceil_mode,
    countIncludePad: node.op === 'avg_pool2d' && node.count_include_pad,
  };
}

function costOfConv({ outChannels, inChannels, groups, kernel }: AffineConv): number {
  return outChannels * (inChannels / groups) * kernel[0] * kernel[1];
}

/** What `algebra` makes, or undefined where it says that this would not be exact. */
function exactly(node: GraphNode, make: () => AffineConv): AffineConv | undefined {
  try {
    return atNode(node, make);
  } catch (error) {
    const { code } = error as RepfuseError;
    if (code === 'ERR_REPFUSE_INEXACT' || code === 'ERR_REPFUSE_SHAPE') return undefined;
    throw error;
  }
}

/** The error of the algebra, with the node that it came from. */
function atNode<T>(node: GraphNode, make: () => T): T {
  try {
    return make();
  } catch (error) {
    throw namingNode(node, error);
  }
}

function namingNode(node: GraphNode, error: unknown): unknown {
  if (!(error instanceof RepfuseError) || error.code === 'ERR_REPFUSE_ABORTED') return error;
  const { code, message, details } = error;
  return new RepfuseError(
    code,
    `Node ${node.id} (${node.op}): ${message}`,
    { ...details, node: node.id },
    { cause: error },
  );
}
