import { type AffineConv, fromBranch } from '../algebra';
import { materializeSoon } from '../algebra/materialize';
import type { Merging, PendingMap } from '../algebra/merge';
import { mostWeightElements, weightElements } from '../algebra/weight-size';
import { type GraphNode, inputsOf, outputsOf } from '../graph';
import { namingNode } from '../graph/naming-node';
import { isOpen, namedSizes, nodeOfOnes, settledNode } from '../graph/open-sizes';
import { operatorOf } from '../graph/operators';
import type { Epilogue, StepBuilder } from '../graph/operators/operator';
import { throwIfAborted } from '../native/call';
import type { Padding4 } from '../ops/geometry';
import type { TensorOp } from '../ops/tensor-op';
import type { KnownValues } from './known-values';
import type { FollowUp, Fuse, Program, ProgramStep, SettledStep } from './program';
import { type Layout, StepList } from './step-list';

/**
 * The nodes of a graph as steps of a program: activations, arithmetic with a constant for each channel, and the sum with another value go into the
 * convolution before them, in their order.
 */
export class ProgramBuilder {
  private readonly list: StepList;
  /** Channels of each input that lies as images; 0 of a tensor. */
  private readonly inputs: readonly number[];
  /** Values by id of their node. */
  private readonly values = new Map<string, number>();
  /** Nodes whose sizes are told with each run, by their steps. */
  private readonly open = new Map<ProgramStep, GraphNode>();

  /**
   * @param pending what is asked before a value is read, which may make its steps
   * @param affords whether so many numbers may be held for what a step does besides
   */
  constructor(
    private readonly known: KnownValues,
    private readonly pending: Pick<Merging<GraphNode>, 'pendingFor' | 'settle'>,
    private readonly affords: (numbers: number) => boolean,
  ) {
    const inputs = inputsOf(known.graph);
    this.inputs = inputs.map(({ id }) => (known.isImageInput(id) ? known.channelsOf(id)! : 0));
    this.list = new StepList(this.inputs.map((channels) => (channels > 0 ? 'images' : 'tensor')));
    for (const [value, { id }] of inputs.entries()) this.values.set(id, value);
  }

  finish(): Program {
    const { graph } = this.known;
    const outputs = [...new Set(outputsOf(graph))].map((id) => this.value(id));
    const program = { inputs: this.inputs, steps: this.list.steps, outputs };
    return this.open.size === 0 ? program : { ...program, settled: (shapes) => this.settled(shapes) };
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
    if (isOpen(node)) {
      this.addOpen(node);
      return;
    }
    const { epilogue, isSum, steps, native, stages } = operatorOf(node);
    if (this.addScaleAndShift(node)) return;
    if (epilogue !== undefined) this.addActivation(node, epilogue(node));
    else if (isSum) this.addSum(node, native!(node, this.known.weight));
    else if (steps !== undefined) this.values.set(node.id, steps(node, this.stepsOf(node)));
    else if (native !== undefined) this.values.set(node.id, this.stepsOf(node).tensor(native(node, this.known.weight)));
    else {
      const [source] = node.inputs as [string];
      const branch = { name: node.id, stages: stages!(node, this.known.tensor) };
      const conv = fromBranch(branch, { channels: this.known.channelsOf(source) });
      this.addConvolution({ node, source, conv });
    }
  }

  /** A node whose sizes are told with each run: the step has 1 for each until then. */
  private addOpen(node: GraphNode): void {
    const { native, keepsImages } = operatorOf(node);
    const builder = this.stepsOf(node);
    const layout = keepsImages && builder.isImages() ? 'images' : 'tensor';
    const value = builder[layout](native!(nodeOfOnes(node), this.known.weight));
    this.values.set(node.id, value);
    this.open.set(this.list.makerOf(value)!, node);
  }

  private settled(shapes: readonly (readonly number[])[]): readonly SettledStep[] {
    const named = namedSizes(this.known.graph, shapes);
    return [...this.open].map(([step, open]) => {
      const node = settledNode(open, named);
      const { ints, resize } = operatorOf(node).native!(node, this.known.weight);
      return {
        node: this.list.steps.indexOf(step),
        ...(ints === undefined ? {} : { ints }),
        ...(resize === undefined ? {} : { sizes: resize.sizes }),
      };
    });
  }

  private stepsOf({ id: name, inputs }: GraphNode): StepBuilder {
    const [input = ''] = inputs;
    return {
      weight: this.known.weight,
      channels: this.known.channelsOf(input),
      rank: this.known.rankOf(input),
      isImages: () => this.isImages(input),
      areImages: () => this.areImages(inputs),
      image: () => this.images(input),
      images: (step, values = inputs.map((id) => this.images(id))) => this.list.add({ ...step, name, inputs: values }),
      tensor: (step) =>
        this.list.add({ ...step, name, inputs: inputs.map((id) => this.valueIn('tensor', id)) }, 'tensor'),
    };
  }

  /** A map as one convolution, whose weights are fused later. */
  addConvolution({ node, source, conv }: Pick<PendingMap<GraphNode>, 'node' | 'source' | 'conv'>): void {
    const input = this.images(source);
    const fuse: Fuse = async ({ signal, into }) => {
      const elements = weightElements(conv);
      const isAllowed = elements <= mostWeightElements(conv); // else `materialize` says so
      const place = into === undefined || !isAllowed ? {} : ({ into: into(elements), check: 'during' } as const);
      try {
        return await materializeSoon(conv, { signal, borrow: true, ...place }, () => true);
      } catch (error) {
        throwIfAborted(signal);
        throw namingNode(node, error);
      }
    };
    const before = isOfChannels(conv) ? this.extensible(source) : undefined;
    if (before !== undefined) {
      follow(before, { fuse });
      this.values.set(node.id, input);
      return;
    }
    // Rows that are cropped at one end and zeros at the other are made in one: a small map may have no more than that many rows.
    const isCropped = conv.padding.map((side, i) => side < 0 || conv.padding[(i + 2) % 4]! < 0);
    const frame = conv.padding.map((side, i) => (isCropped[i] ? side : 0)) as unknown as Padding4;
    const padding = conv.padding.map((side, i) => (isCropped[i] ? 0 : side)) as unknown as Padding4;
    const from = isCropped.includes(true)
      ? this.list.add({ kind: 'frame', name: `${node.id} crop`, inputs: [input], padding: frame })
      : input;
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

  /** @param asTensor what it is where none of its inputs lies as images */
  private addSum(node: GraphNode, asTensor: TensorOp): void {
    const [first, second] = node.inputs as [string, string];
    const isPending = node.inputs.some((id) => this.pending.pendingFor(id) !== undefined);
    if (!isPending && !node.inputs.some((id) => this.takesSum(id)) && !this.areImages(node.inputs)) {
      this.values.set(node.id, this.stepsOf(node).tensor(asTensor));
      return;
    }
    // What becomes a convolution last takes the sum.
    for (const id of this.willTakeSum(second) ? [first, second] : [second, first]) this.images(id);
    const own = [second, first].find((id) => this.takesSum(id));
    if (own === undefined) {
      this.values.set(node.id, this.stepsOf(node).images({ kind: 'add' }));
      return;
    }
    const last = this.list.makerOf(this.value(own))!;
    const residual = this.images(own === first ? second : first);
    this.list.removeLast();
    const step = { ...last, name: node.id, inputs: [...last.inputs, residual] };
    if (last.kind !== 'conv' || last.activation !== undefined || last.follows !== undefined)
      follow(step, { sums: true });
    this.push(node.id, step);
  }

  /** Whether what is pending for a value will be a convolution that only one node reads. */
  private willTakeSum(id: string): boolean {
    const pending = this.pending.pendingFor(id);
    const willBeOne = pending !== undefined && (pending.parts.length > 0 || isConvolution(pending.node));
    return willBeOne && this.known.hasOneReader(id);
  }

  /** Whether a value is made by the last step, for one node, and nothing has been added to it. */
  private takesSum(id: string): boolean {
    const value = this.values.get(id);
    const last = value === undefined || !this.list.isLast(value) ? undefined : this.extensible(id);
    if (last?.kind === 'binary') return last.follows?.some((part) => 'sums' in part) !== true;
    return last?.kind === 'conv' && last.inputs.length === 1;
  }

  /** The step that makes a value for one node, if it can do something more to its result. */
  private extensible(id: string): ProgramStep | undefined {
    const value = this.values.get(id);
    if (value === undefined || this.list.layoutOf(value) !== 'images' || !this.known.hasOneReader(id)) return undefined;
    const maker = this.list.makerOf(value);
    const takes = maker !== undefined && FINISHING.has(maker.kind) && (maker.follows?.length ?? 0) < MAX_FOLLOWS;
    return takes ? maker : undefined;
  }

  /** Arithmetic with a constant for each channel, in the step before it. */
  private addScaleAndShift(node: GraphNode): boolean {
    if (node.op !== 'binary' || node.constant === undefined) return false;
    const [source] = node.inputs as [string];
    const channels = this.imageChannels(source);
    if (channels === undefined || this.extensible(source) === undefined || !this.affords(2 * channels)) return false;
    const op = operatorOf(node).affine?.(node, channels, this.known.weight);
    if (op?.kind !== 'stages') return false;
    const conv = fromBranch({ name: node.id, stages: op.stages }, { channels });
    if (!isOfChannels(conv)) return false;
    this.addConvolution({ node, source, conv });
    return true;
  }

  private addActivation(node: GraphNode, how: Epilogue): void {
    const input = node.inputs[0]!;
    const value = this.value(input);
    const before = this.extensible(input);
    if (before === undefined) {
      this.push(node.id, { ...how, kind: 'activation', name: node.id, inputs: [value] }, this.list.layoutOf(value));
      return;
    }
    if (before.activation === undefined && before.follows === undefined) Object.assign(before, how);
    else follow(before, how);
    this.values.set(node.id, value);
  }
}

/** Steps over images that can do something more to their result. */
const FINISHING: ReadonlySet<string> = new Set(['add', 'binary', 'conv', 'linear']);

/** What one step does after its activation: more goes into a step of its own. */
const MAX_FOLLOWS = 4;

function follow(step: ProgramStep, part: FollowUp): void {
  step.follows = [...(step.follows ?? []), part];
}

/** Whether a convolution is a factor and an addend for each channel. */
function isOfChannels({ inChannels, outChannels, groups, kernel, stride, padding }: AffineConv): boolean {
  const isPointwise = [...kernel, ...stride].every((size) => size === 1) && padding.every((side) => side === 0);
  return isPointwise && groups === inChannels && groups === outChannels;
}

/** Whether a node is a convolution where it stands alone. */
export function isConvolution(node: GraphNode): boolean {
  return operatorOf(node).stages !== undefined;
}
