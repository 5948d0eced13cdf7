import { type AffineConv, addBranches, fromBranch, identity, materializeAsync } from '../algebra';
import { appendStages } from '../algebra/from-branch';
import { isPracticable, weightElements } from '../algebra/weight-size';
import { RepfuseError } from '../errors';
import { type AffineNode, affineStages, type Graph, type GraphNode, outputsOf } from '../graph';
import { type FlattenNode, nodesFor, type PlainOp, type SoftmaxNode, type TensorNode } from '../graph/graph';
import { rankOf } from '../graph/ranks';
import { tensorOpOf } from '../graph/tensor-op';
import { throwIfAborted } from '../native/call';
import type { Branch, Stage } from '../ops';
import type { Padding4 } from '../ops/geometry';
import { toFloat32 } from '../tensor/half';
import { elementCount, Tensor } from '../tensor/tensor';
import { channelCounts } from './channels';
import {
  addSqueezeExcite,
  addTransposed,
  cropOf,
  cropStage,
  frameStep,
  isOfChannels,
  plainConvStep,
  poolStage,
  poolStep,
} from './node-steps';
import type { Program, ProgramStep, StepActivation } from './program';
import { type Form, StepList } from './step-list';

/**
 * A graph as a program: whatever is an affine map of one value (convolutions, BatchNorms, average pooling, crops and their sums) becomes
 * one convolution where `algebra` says that this is exact and where it does not cost more than its parts; activations and the sum
 * with another value go into the convolution before them.
 *
 * @throws ERR_REPFUSE_NOT_FUSABLE or ERR_REPFUSE_NOT_FINITE naming the node of a BatchNorm that cannot be evaluated
 */
export function compileGraph(graph: Graph, tensors: ReadonlyMap<string, Tensor>): Program {
  const nodes = nodesFor(graph.nodes, outputsOf(graph));
  const compiler = new Compiler({ ...graph, nodes }, tensors, channelCounts(graph, tensors));
  for (const node of nodes) compiler.take(node);
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
  private readonly list = new StepList();
  /** Values by id of their node. */
  private readonly values = new Map<string, number>();
  private readonly ranks = new Map<string, number>();
  private readonly pending = new Map<string, Pending>();
  private readonly readers = new Map<string, number>();

  constructor(
    private readonly graph: Graph,
    private readonly tensors: ReadonlyMap<string, Tensor>,
    private readonly channels: ReadonlyMap<string, number>,
  ) {
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
        const { activation, alpha = 0, beta = 0 } = tensorOpOf(node, this.weight);
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
        this.values.set(node.id, addTransposed(this.list, node, this.images(node.inputs[0]!), this.weight));
        break;
      case 'constant': {
        const bias = this.weight(node.tensor);
        this.push(node.id, { kind: 'constant', name: node.id, inputs: [], bias, ints: bias.shape }, 'tensor');
        break;
      }
      case 'binary':
        this.emitTensorOp(
          node,
          this.areImages(node.inputs) && isOfChannels(node, this.ranks.get(node.inputs[0]!)!, this.weight)
            ? 'images'
            : 'tensor',
        );
        break;
      case 'concat':
        this.emitTensorOp(node, node.axis === 1 && this.areImages(node.inputs) ? 'images' : 'tensor');
        break;
      case 'resize':
      case 'depth_to_space':
        this.emitTensorOp(node, this.isImages(node.inputs[0]!) ? 'images' : 'tensor');
        break;
      case 'pad': {
        const input = node.inputs[0]!;
        // One value for each channel stands around images only.
        const around = node.fill !== undefined || this.isImages(input);
        const frame = around && frameStep(node, this.images(input), this.channels.get(input), this.weight);
        if (frame) this.push(node.id, frame);
        else this.emitTensorOp(node, 'tensor');
        break;
      }
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
        this.emit(node, {
          kind: 'linear',
          weight: this.weight(node.weight),
          bias: node.bias === null ? null : this.weight(node.bias),
        });
        break;
      case 'squeeze_excite':
        this.values.set(node.id, addSqueezeExcite(this.list, node, this.images(node.inputs[0]!), this.weight));
        break;
    }
  }

  finish(): Program {
    const outputs = outputsOf(this.graph).map((id) => this.value(id));
    return { inChannels: this.channelsOf(this.graph.input), steps: this.list.steps, outputs };
  }

  /** The value of an id; what is pending for it becomes a step. */
  private value(id: string): number {
    const pending = this.pending.get(id);
    if (pending !== undefined) this.emitPending(id, pending);
    return this.values.get(id)!;
  }

  private push(id: string, step: ProgramStep, form: Form = 'images'): void {
    this.values.set(id, this.list.add(step, form));
  }

  private valueAs(id: string, form: Form): number {
    return this.list.inForm(this.value(id), form, id);
  }

  private images(id: string): number {
    return this.valueAs(id, 'images');
  }

  private isImages(id: string): boolean {
    return this.list.formOf(this.value(id)) === 'images';
  }

  private areImages(ids: readonly string[]): boolean {
    return ids.every((id) => this.isImages(id) && this.ranks.get(id) === this.ranks.get(ids[0]!));
  }

  private emit(node: GraphNode, step: Omit<ProgramStep, 'inputs' | 'name'>): void {
    this.push(node.id, { ...step, name: node.id, inputs: node.inputs.map((id) => this.images(id)) });
  }

  private emitTensorOp(node: TensorNode | FlattenNode | SoftmaxNode, form: Form): void {
    const op = tensorOpOf(node, this.weight);
    this.push(node.id, { ...op, name: node.id, inputs: node.inputs.map((id) => this.valueAs(id, form)) }, form);
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
      const value = this.value(own);
      const last = this.list.makerOf(value)!;
      if (last.kind !== 'conv' || last.inputs.length > 1 || !this.list.isLast(value)) break;
      // The sum goes into the convolution, which only this node reads.
      this.list.removeLast();
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
    const last = this.list.makerOf(value);
    const takes = last !== undefined && (last.kind === 'conv' || last.kind === 'add') && last.activation === undefined;
    if (takes && this.soleReader(input)) {
      Object.assign(last, how);
      this.values.set(node.id, value);
    } else {
      this.push(node.id, { ...how, kind: 'activation', name: node.id, inputs: [value] }, this.list.formOf(value));
    }
  }

  private emitPending(id: string, pending: Pending): void {
    this.pending.delete(id);
    const { node, parts } = pending;
    if (parts.size === 0 || (weightElements(pending.conv) <= pending.cost && isPracticable(pending.conv))) {
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
    if (alone && node.op === 'conv2d') return plainConvStep(node, input, this.weight);
    if (alone && node.op === 'avg_pool2d') return poolStep(node, input);
    if (alone && node.op === 'crop') return { kind: 'frame', name: node.id, inputs: [input], padding: conv.padding };
    // Rows that are cropped at one end and zeros at the other are made in one: a small map may have no more than that many rows.
    const isCropped = conv.padding.map((side, i) => side < 0 || conv.padding[(i + 2) % 4]! < 0);
    const frame = conv.padding.map((side, i) => (isCropped[i] ? side : 0)) as unknown as Padding4;
    const padding = conv.padding.map((side, i) => (isCropped[i] ? 0 : side)) as unknown as Padding4;
    const from = isCropped.includes(true)
      ? this.list.add({ kind: 'frame', name: `${node.id} crop`, inputs: [input], padding: frame })
      : input;
    const fuse: ProgramStep['fuse'] = (options) =>
      materializeAsync(conv, options).catch((error) => {
        throwIfAborted(options.signal);
        throw namingNode(node, error);
      });
    const { groups, stride, dilation } = conv;
    return { kind: 'conv', name: node.id, inputs: [from], fuse, groups, stride, padding, dilation };
  }

  private emitPool(node: Extract<GraphNode, { op: 'avg_pool2d' | 'max_pool2d' }>): void {
    this.push(node.id, poolStep(node, this.images(node.inputs[0]!)));
  }

  private branchOf(node: MapNode): Branch {
    return { name: node.id, stages: this.stagesOf(node) };
  }

  private stagesOf(node: MapNode): Stage[] {
    if (node.op === 'avg_pool2d') return [poolStage(node)];
    if (node.op === 'crop') return [cropStage(node, this.channelsOf(node.inputs[0]!))];
    return affineStages(node, (key) => this.tensors.get(key)!);
  }

  /** Weight elements of a node: of what has none, one for each channel or tap. */
  private costOf(node: MapNode): number {
    const channels = this.channelsOf(node.id);
    if (node.op === 'avg_pool2d') return channels * elementCount(node.kernel);
    return 'weight' in node ? this.tensors.get(node.weight)!.size : channels;
  }

  private channelsOf(id: string): number {
    return this.channels.get(id)!;
  }

  private soleReader(id: string): boolean {
    return this.readers.get(id) === 1 && !outputsOf(this.graph).includes(id);
  }

  /** A tensor, as float32. */
  private readonly weight = (key: string): Tensor => {
    const tensor = this.tensors.get(key)!;
    return tensor.dtype === 'F32' ? tensor : Tensor.f32(tensor.shape, toFloat32(tensor));
  };
}

/** What says that two maps are to stay two. */
const LEFT_APART: ReadonlySet<string> = new Set(['ERR_REPFUSE_INEXACT', 'ERR_REPFUSE_RANGE', 'ERR_REPFUSE_SHAPE']);

/** What `algebra` makes, or undefined where it says that this would not be exact, or too long a chain. */
function exactly(node: GraphNode, make: () => AffineConv): AffineConv | undefined {
  try {
    return atNode(node, make);
  } catch (error) {
    const { code } = error as RepfuseError;
    if (LEFT_APART.has(code)) return undefined;
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
  if (!(error instanceof RepfuseError)) return error;
  const { code, message, details } = error;
  return new RepfuseError(
    code,
    `Node ${node.id} (${node.op}): ${message}`,
    { ...details, node: node.id },
    { cause: error },
  );
}
