import { fromBranch, materializeAsync } from '../algebra';
import type { Merging, PendingMap } from '../algebra/merge';
import { affineStages, type GraphNode, outputsOf } from '../graph';
import type { FlattenNode, PlainOp, SoftmaxNode, TensorNode } from '../graph/graph';
import { tensorOpOf } from '../graph/tensor-op';
import { throwIfAborted } from '../native/call';
import type { Padding4 } from '../ops/geometry';
import type { KnownValues } from './known-values';
import { namingNode } from './naming-node';
import {
  addSqueezeExcite,
  addTransposed,
  cropOf,
  frameStep,
  isOfChannels,
  plainConvStep,
  poolStep,
} from './node-steps';
import type { Program, ProgramStep, StepActivation } from './program';
import { type Layout, StepList } from './step-list';

/** The nodes of a graph as steps of a program: activations and the sum with another value go into the convolution before them. */
export class ProgramBuilder {
  private readonly list = new StepList();
  /** Values by id of their node. */
  private readonly values = new Map<string, number>();

  /** @param pending what is asked before a value is read, which may make its steps */
  constructor(
    private readonly known: KnownValues,
    private readonly pending: Pick<Merging<GraphNode>, 'pendingFor' | 'settle'>,
  ) {
    this.values.set(known.graph.input, 0);
  }

  finish(): Program {
    const { graph } = this.known;
    const outputs = outputsOf(graph).map((id) => this.value(id));
    return { inChannels: this.known.channelsOf(graph.input)!, steps: this.list.steps, outputs };
  }

  /** Channels of a value that is an image in the engine's layout, or is about to become one; undefined of another, or where nothing tells. */
  imageChannels(id: string): number | undefined {
    const pending = this.pending.pendingFor(id);
    if (pending !== undefined) return pending.conv.outChannels;
    const isImage = this.known.rankOf(id) === 4 && this.list.layoutOf(this.values.get(id)!) === 'images';
    return isImage ? this.known.channelsOf(id) : undefined;
  }

  /** A node as it stands. */
  add(node: GraphNode): void {
    switch (node.op) {
      case 'conv2d':
        this.push(node.id, plainConvStep(node, this.images(node.inputs[0]!), this.known.weight));
        break;
      case 'identity_conv1x1':
      case 'batch_norm':
      case 'bn_pad': {
        const [source] = node.inputs as [string];
        const stages = affineStages(node, (key) => this.known.tensors.get(key)!);
        const conv = fromBranch({ name: node.id, stages }, { channels: this.known.channelsOf(source) });
        this.addConvolution({ node, value: node.id, source, conv });
        break;
      }
      case 'avg_pool2d':
      case 'max_pool2d':
        this.push(node.id, poolStep(node, this.images(node.inputs[0]!)));
        break;
      case 'crop':
        this.emit(node, { kind: 'frame', padding: cropOf(node) });
        break;
      case 'add':
        this.addSum(node as Extract<GraphNode, { op: PlainOp }>);
        break;
      case 'relu':
      case 'sigmoid':
      case 'silu':
      case 'hardswish':
        this.addActivation(node, { activation: node.op });
        break;
      case 'clip':
      case 'hard_sigmoid':
      case 'leaky_relu':
      case 'tanh': {
        const { activation, alpha = 0, beta = 0 } = tensorOpOf(node, this.known.weight);
        this.addActivation(node, { activation: activation!, alpha, beta });
        break;
      }
      case 'global_avg_pool':
        this.emit(node, { kind: 'globalAveragePool' });
        break;
      case 'flatten':
      case 'softmax':
        if ((node.axis ?? 1) === 1 && !('joint' in node && node.joint) && this.isImages(node.inputs[0]!))
          this.emit(node, { kind: node.op });
        else this.addTensorOp(node, 'tensor');
        break;
      case 'conv_transpose2d':
        this.values.set(node.id, addTransposed(this.list, node, this.images(node.inputs[0]!), this.known.weight));
        break;
      case 'constant': {
        const bias = this.known.weight(node.tensor);
        this.push(node.id, { kind: 'constant', name: node.id, inputs: [], bias, ints: bias.shape }, 'tensor');
        break;
      }
      case 'binary': {
        const rank = this.known.rankOf(node.inputs[0]!);
        const areImages = this.areImages(node.inputs) && isOfChannels(node, rank, this.known.weight);
        this.addTensorOp(node, areImages ? 'images' : 'tensor');
        break;
      }
      case 'concat':
        this.addTensorOp(node, node.axis === 1 && this.areImages(node.inputs) ? 'images' : 'tensor');
        break;
      case 'resize':
      case 'depth_to_space':
        this.addTensorOp(node, this.isImages(node.inputs[0]!) ? 'images' : 'tensor');
        break;
      case 'pad': {
        const input = node.inputs[0]!;
        // One value for each channel stands around images only.
        const around = node.fill !== undefined || this.isImages(input);
        const frame = around && frameStep(node, this.images(input), this.known.channelsOf(input), this.known.weight);
        if (frame) this.push(node.id, frame);
        else this.addTensorOp(node, 'tensor');
        break;
      }
      case 'transpose':
      case 'slice':
      case 'reshape':
      case 'squeeze':
      case 'unsqueeze':
      case 'reduce_mean':
      case 'matmul':
        this.addTensorOp(node, 'tensor');
        break;
      case 'linear':
        this.emit(node, {
          kind: 'linear',
          weight: this.known.weight(node.weight),
          bias: node.bias === null ? null : this.known.weight(node.bias),
        });
        break;
      case 'squeeze_excite':
        this.values.set(node.id, addSqueezeExcite(this.list, node, this.images(node.inputs[0]!), this.known.weight));
        break;
    }
  }

  /** A map as one convolution, whose weights are fused later. */
  addConvolution({ node, source, conv }: Pick<PendingMap<GraphNode>, 'node' | 'value' | 'source' | 'conv'>): void {
    const input = this.images(source);
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
    this.push(node.id, { kind: 'conv', name: node.id, inputs: [from], fuse, groups, stride, padding, dilation });
  }

  /** The value of an id; what is pending for it becomes a step. */
  private value(id: string): number {
    this.pending.settle(id);
    return this.values.get(id)!;
  }

  private push(id: string, step: ProgramStep, layout: Layout = 'images'): void {
    this.values.set(id, this.list.add(step, layout));
  }

  private valueIn(layout: Layout, id: string): number {
    return this.list.inLayout(this.value(id), layout, id);
  }

  private images(id: string): number {
    return this.valueIn('images', id);
  }

  private isImages(id: string): boolean {
    return this.list.layoutOf(this.value(id)) === 'images';
  }

  private areImages(ids: readonly string[]): boolean {
    return ids.every((id) => this.isImages(id) && this.known.rankOf(id) === this.known.rankOf(ids[0]!));
  }

  private emit(node: GraphNode, step: Omit<ProgramStep, 'inputs' | 'name'>): void {
    this.push(node.id, { ...step, name: node.id, inputs: node.inputs.map((id) => this.images(id)) });
  }

  private addTensorOp(node: TensorNode | FlattenNode | SoftmaxNode, layout: Layout): void {
    const op = tensorOpOf(node, this.known.weight);
    const inputs = node.inputs.map((id) => this.valueIn(layout, id));
    this.push(node.id, { ...op, name: node.id, inputs }, layout);
  }

  private addSum(node: Extract<GraphNode, { op: PlainOp }>): void {
    const [first, second] = node.inputs as [string, string];
    const isPending = node.inputs.some((id) => this.pending.pendingFor(id) !== undefined);
    if (!isPending && !node.inputs.some((id) => this.takesSum(id)) && !this.areImages(node.inputs)) {
      const inputs = node.inputs.map((id) => this.valueIn('tensor', id));
      this.push(node.id, { kind: 'binary', function: 'add', name: node.id, inputs }, 'tensor');
      return;
    }
    // What becomes a convolution last takes the sum.
    for (const id of this.willTakeSum(second) ? [first, second] : [second, first]) this.images(id);
    const own = [second, first].find((id) => this.takesSum(id));
    if (own === undefined) {
      this.emit(node, { kind: 'add' });
      return;
    }
    const last = this.list.makerOf(this.value(own))!;
    const residual = this.images(own === first ? second : first);
    this.list.removeLast();
    this.push(node.id, { ...last, name: node.id, inputs: [last.inputs[0]!, residual] });
  }

  /** Whether what is pending for a value will be a convolution that only one node reads. */
  private willTakeSum(id: string): boolean {
    const pending = this.pending.pendingFor(id);
    const isConvolution = pending !== undefined && (pending.parts.length > 0 || CONVOLUTIONS.has(pending.node.op));
    return isConvolution && this.known.hasOneReader(id);
  }

  /** Whether a value is made by the last step, a convolution of nothing else yet, for one node. */
  private takesSum(id: string): boolean {
    const value = this.values.get(id);
    const last = value === undefined || !this.list.isLast(value) ? undefined : this.list.makerOf(value);
    const isFree = last?.kind === 'conv' && last.inputs.length === 1 && last.activation === undefined;
    return isFree && this.known.hasOneReader(id);
  }

  private addActivation(
    node: GraphNode,
    how: { readonly activation: StepActivation; readonly alpha?: number; readonly beta?: number },
  ): void {
    const input = node.inputs[0]!;
    const value = this.value(input);
    const last = this.list.makerOf(value);
    const takes = last !== undefined && (last.kind === 'conv' || last.kind === 'add') && last.activation === undefined;
    if (takes && this.known.hasOneReader(input)) {
      Object.assign(last, how);
      this.values.set(node.id, value);
    } else {
      this.push(node.id, { ...how, kind: 'activation', name: node.id, inputs: [value] }, this.list.layoutOf(value));
    }
  }
}

/** Operators that are a convolution where they stand alone. */
export const CONVOLUTIONS: ReadonlySet<GraphNode['op']> = new Set([
  'batch_norm',
  'bn_pad',
  'conv2d',
  'identity_conv1x1',
]);
