import { type AffineConv, addBranches, appendStages, fromBranch, identity, materializeAsync } from '../algebra';
import { RepfuseError } from '../errors';
import { type AffineNode, affineStages, type Graph, type GraphNode, outputsOf } from '../graph';
import { spreadConvolution } from '../graph/conv-transpose';
import type {
  BinaryNode,
  Conv2dNode,
  ConvTranspose2dNode,
  FlattenNode,
  PadNode,
  PlainOp,
  SoftmaxNode,
  TensorNode,
} from '../graph/graph';
import { rankOf } from '../graph/ranks';
import { isFrame } from '../graph/shapes';
import { tensorOpOf } from '../graph/tensor-op';
import type { Branch, Stage } from '../ops';
import { type Padding4, toPadding4 } from '../ops/geometry';
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

/** How a value lies: images in the engine's layout, tensors row-major. */
type Form = 'images' | 'tensor';

class Compiler {
  private readonly steps: ProgramStep[] = [];
  /** Values by id of their node. */
  private readonly values = new Map<string, number>();
  /** By value, and the number of the same value in the other form where there is one. */
  private readonly forms: Form[] = ['images'];
  private readonly others = new Map<number, number>();
  private readonly ranks = new Map<string, number>();
  private readonly pending = new Map<string, Pending>();
  private readonly readers = new Map<string, number>();
  private readonly channels: ReadonlyMap<string, number>;

  constructor(
    private readonly graph: Graph,
    private readonly tensors: ReadonlyMap<string, Tensor>,
  ) {
    this.channels = channelCounts(graph, tensors);
    this.values.set(graph.input, 0);
    this.ranks.set(graph.input, 4);
    for (const id of [...graph.nodes.flatMap(({ inputs }) => inputs), ...outputsOf(graph)]) {
      this.readers.set(id, (this.readers.get(id) ?? 0) + 1);
    }
  }

  take(node: GraphNode): void {
    this.ranks.set(
      node.id,
      rankOf(
        node,
        node.inputs.map((id) => this.ranks.get(id)!),
        this.tensors,
      ),
    );
    if (!this.readers.has(node.id)) return; // nobody reads it
    switch (node.op) {
      case 'conv2d':
      case 'identity_conv1x1':
      case 'batch_norm':
      case 'bn_pad':
        this.takeAffine(node);
        break;
      case 'avg_pool2d':
        if (node.ceil_mode === true || node.dilation?.some((step) => step > 1)) this.emitPool(node);
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
        this.takeActivation(node, { activation: node.op });
        break;
      case 'clip':
      case 'hard_sigmoid':
      case 'leaky_relu':
      case 'tanh': {
        const { activation, alpha = 0, beta = 0 } = tensorOpOf(node, (key) => this.float32(key));
        this.takeActivation(node, { activation: activation!, alpha, beta });
        break;
      }
      case 'max_pool2d':
        this.emitPool(node);
        break;
      case 'global_avg_pool':
        this.emit(node, { kind: 'globalAveragePool' });
        break;
      case 'flatten':
      case 'softmax':
        if ((node.axis ?? 1) === 1 && !('joint' in node && node.joint) && this.isImages(node.inputs[0]!))
          this.emit(node, { kind: node.op });
        else this.emitTensorOp(node, 'tensor');
        break;
      case 'conv_transpose2d':
        this.emitTransposed(node);
        break;
      case 'constant': {
        const bias = this.float32(node.tensor);
        this.push(node.id, { kind: 'constant', name: node.id, inputs: [], bias, ints: bias.shape }, 'tensor');
        break;
      }
      case 'binary':
        this.emitTensorOp(node, this.isBinaryOfImages(node) ? 'images' : 'tensor');
        break;
      case 'concat':
        this.emitTensorOp(node, node.axis === 1 && this.areImages(node.inputs) ? 'images' : 'tensor');
        break;
      case 'resize':
      case 'depth_to_space':
        this.emitTensorOp(node, this.isImages(node.inputs[0]!) ? 'images' : 'tensor');
        break;
      case 'pad':
        if (!this.emitFrame(node)) this.emitTensorOp(node, 'tensor');
        break;
      case 'transpose':
      case 'slice':
      case 'reshape':
      case 'squeeze':
      case 'unsqueeze':
      case 'reduce_mean':
      case 'matmul':
        this.emitTensorOp(node, 'tensor');
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
    const outputs = outputsOf(this.graph).map((id) => this.value(id));
    return { inChannels: this.channelsOf(this.graph.input), steps: this.steps, outputs };
  }

  /** The value of an id; what is pending for it becomes a step. */
  private value(id: string): number {
    const pending = this.pending.get(id);
    if (pending !== undefined) this.emitPending(id, pending);
    return this.values.get(id)!;
  }

  private push(id: string, step: ProgramStep, form: Form = 'images'): void {
    this.values.set(id, this.add(step, form));
  }

  /** Values that a step makes. */
  private add(step: ProgramStep, form: Form = 'images'): number {
    this.steps.push(step);
    this.forms.push(form);
    return this.steps.length;
  }

  /** The value of an id as images, or as a tensor: itself, or a copy. */
  private valueAs(id: string, form: Form): number {
    const value = this.value(id);
    if (this.forms[value] === form) return value;
    const known = this.others.get(value);
    if (known !== undefined) return known;
    const kind = form === 'images' ? 'toImages' : 'toTensor';
    const other = this.add({ kind, name: id, inputs: [value] }, form);
    this.others.set(value, other);
    return other;
  }

  private images(id: string): number {
    return this.valueAs(id, 'images');
  }

  private isImages(id: string): boolean {
    return this.forms[this.value(id)] === 'images';
  }

  private areImages(ids: readonly string[]): boolean {
    return ids.every((id) => this.isImages(id) && this.ranks.get(id) === this.ranks.get(ids[0]!));
  }

  private emit(node: GraphNode, step: Omit<ProgramStep, 'inputs' | 'name'>): void {
    this.push(node.id, { ...step, name: node.id, inputs: node.inputs.map((id) => this.images(id)) });
  }

  private emitTensorOp(node: TensorNode | FlattenNode | SoftmaxNode, form: Form): void {
    const op = tensorOpOf(node, (key) => this.float32(key));
    this.push(node.id, { ...op, name: node.id, inputs: node.inputs.map((id) => this.valueAs(id, form)) }, form);
  }

  /** Images meet images, and constants of one value for all or for each channel. */
  private isBinaryOfImages({ inputs, constant }: BinaryNode): boolean {
    if (!this.areImages(inputs)) return false;
    if (constant === undefined) return true;
    const { shape } = this.tensors.get(constant)!;
    const rank = this.ranks.get(inputs[0]!)!;
    return shape.length <= rank && shape.every((size, axis) => size === 1 || rank - shape.length + axis === 1);
  }

  /** A frame of one value around the maps, where that is what a padding is. */
  private emitFrame(node: PadNode): boolean {
    const { id, inputs, before, after, mode, value, fill } = node;
    const channels = this.channels.get(inputs[0]!);
    const known = channels !== undefined && mode === 'constant' && isFrame(node) && this.isImages(inputs[0]!);
    if (fill === undefined && !known) return false;
    const bias =
      fill === undefined ? Tensor.f32([channels!], new Float32Array(channels!).fill(value)) : this.float32(fill);
    const padding = [before[2]!, before[3]!, after[2]!, after[3]!] as const;
    this.push(id, { kind: 'frame', name: id, inputs: [this.images(inputs[0]!)], padding, bias });
    return true;
  }

  private emitTransposed(node: ConvTranspose2dNode): void {
    const { id, inputs } = node;
    const spreading = spreadConvolution(node, this.float32(node.weight), this.optional(node.bias));
    const { spread, crop, ...conv } = spreading;
    const wide = this.add({ ...conv, kind: 'conv', name: id, inputs: [this.images(inputs[0]!)] });
    const ints = [...spread.block, spread.channels_first ? 1 : 0];
    this.push(id, { kind: 'depthToSpace', name: id, inputs: [wide], ints });
    if (crop.every((side) => side === 0)) return;
    const padding = crop.map((side) => 0 - side) as unknown as Padding4;
    this.push(id, { kind: 'frame', name: id, inputs: [this.values.get(id)!], padding });
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
    this.images(source);
    if (!this.channels.has(source)) {
      this.emitOfUnknown(node);
      return;
    }
    const make = () => fromBranch(this.branchOf(node), { channels: this.channelsOf(source) });
    const conv = node.op === 'avg_pool2d' ? exactly(node, make) : atNode(node, make);
    if (conv !== undefined)
      this.pending.set(node.id, { source, conv, cost: this.costOf(node), node, parts: new Map() });
    else if (node.op === 'avg_pool2d') this.emitPool(node);
  }

  /** Of how many channels its input has nothing tells. */
  private emitOfUnknown(node: MapNode): void {
    if (node.op === 'avg_pool2d') this.emitPool(node);
    else if (node.op === 'crop') this.emit(node, { kind: 'frame', padding: cropOf(node) });
    else throw new Error(`${node.op} tells its channels`);
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
    if (source === undefined || first === second || !this.channels.has(source)) return undefined;
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
    if (!this.pending.has(first) && !this.pending.has(second) && !this.areImages(node.inputs)) {
      const inputs = node.inputs.map((id) => this.valueAs(id, 'tensor'));
      this.push(node.id, { kind: 'binary', function: 'add', name: node.id, inputs }, 'tensor');
      return;
    }
    for (const [own, other] of [
      [second, first],
      [first, second],
    ] as const) {
      if (own === other || !this.pending.has(own) || !this.soleReader(own)) continue;
      const residual = this.images(other);
      const last = this.steps[this.value(own) - 1]!;
      if (last.kind !== 'conv' || last.inputs.length > 1 || this.values.get(own) !== this.steps.length) break;
      // The sum goes into the convolution, which only this node reads.
      this.steps.pop();
      this.forms.pop();
      this.push(node.id, { ...last, name: node.id, inputs: [last.inputs[0]!, residual] });
      return;
    }
    this.emit(node, { kind: 'add' });
  }

  private takeActivation(
    node: GraphNode,
    how: { readonly activation: StepActivation; readonly alpha?: number; readonly beta?: number },
  ): void {
    const input = node.inputs[0]!;
    const value = this.value(input);
    const last = this.steps[value - 1];
    const takes = last !== undefined && (last.kind === 'conv' || last.kind === 'add') && last.activation === undefined;
    if (takes && this.soleReader(input)) {
      Object.assign(last, how);
      this.values.set(node.id, value);
    } else {
      this.push(node.id, { ...how, kind: 'activation', name: node.id, inputs: [value] }, this.forms[value]!);
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
    const input = this.images(source);
    const alone = parts.size === 0;
    if (alone && node.op === 'conv2d') return this.plainConv(node, input);
    if (alone && node.op === 'avg_pool2d') return poolStep(node, input);
    const crop = conv.padding.map((side) => Math.min(side, 0)) as unknown as Padding4;
    if (alone && node.op === 'crop') return { kind: 'frame', name: node.id, inputs: [input], padding: crop };
    const cropped = crop.some((side) => side < 0);
    const from = cropped ? this.add({ kind: 'frame', name: `${node.id} crop`, inputs: [input], padding: crop }) : input;
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
      padding: toPadding4(padding),
      dilation,
    };
  }

  private emitPool(node: Extract<GraphNode, { op: 'avg_pool2d' | 'max_pool2d' }>): void {
    this.push(node.id, poolStep(node, this.images(node.inputs[0]!)));
  }

  private emitSqueezeExcite(node: Extract<GraphNode, { op: 'squeeze_excite' }>): void {
    const x = this.images(node.inputs[0]!);
    const then = (step: Omit<ProgramStep, 'name'>) => this.add({ ...step, name: node.id });
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

  private cropStage(node: Extract<GraphNode, { op: 'crop' }>): Stage {
    const channels = this.channelsOf(node.inputs[0]!);
    return {
      kind: 'conv2d',
      weight: Tensor.f32([channels, 1, 1, 1], new Float32Array(channels).fill(1)),
      stride: [1, 1],
      padding: cropOf(node),
      dilation: [1, 1],
      groups: channels,
    };
  }

  private channelsOf(id: string): number {
    return this.channels.get(id)!;
  }

  private soleReader(id: string): boolean {
    return this.readers.get(id) === 1 && !outputsOf(this.graph).includes(id);
  }

  private float32(key: string): Tensor {
    const tensor = this.tensors.get(key)!;
    return tensor.dtype === 'F32' ? tensor : Tensor.f32(tensor.shape, toFloat32(tensor));
  }

  private optional(key: string | null): Tensor | null {
    return key === null ? null : this.float32(key);
  }
}

/** `[top, left, bottom, right]` of a padding that crops. */
function cropOf({ rows, cols }: Extract<GraphNode, { op: 'crop' }>): Padding4 {
  return [0 - rows[0], 0 - cols[0], 0 - rows[1], 0 - cols[1]];
}

function poolStage({ kernel, stride, padding, count_include_pad }: Extract<GraphNode, { op: 'avg_pool2d' }>): Stage {
  return {
    kind: 'avg_pool2d',
    kernel,
    stride,
    padding: toPadding4(padding),
    countIncludePad: count_include_pad,
  };
}

function poolStep(node: Extract<GraphNode, { op: 'avg_pool2d' | 'max_pool2d' }>, input: number): ProgramStep {
  const { kernel, stride, padding, dilation = [1, 1], ceil_mode = false } = node;
  return {
    kind: node.op === 'max_pool2d' ? 'maxPool' : 'averagePool',
    name: node.id,
    inputs: [input],
    kernel,
    stride,
    padding: toPadding4(padding),
    dilation,
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
