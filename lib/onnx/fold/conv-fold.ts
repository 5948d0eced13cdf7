import { create } from '@bufbuild/protobuf';
import { AffineConv, addBranches, concatOutputs, fromBranch, identity } from '../../algebra';
import { appendStages } from '../../algebra/from-branch';
import { isPracticable, weightElements } from '../../algebra/weight-size';
import { RepfuseError } from '../../errors';
import { breathe } from '../../native/breathe';
import type { Padding4 } from '../../ops/geometry';
import type { Tensor } from '../../tensor/tensor';
import { type AffineStep, affineStep, type Known } from '../affine';
import { type Analysis, analyse } from '../analysis';
import { describeNode, intAttribute, intOf, intsAttribute, isOfOnnx } from '../attributes';
import type { ChannelInference } from '../channel-inference';
import type { Budget } from '../evaluation/budget';
import type { FixedConstants } from '../fixed-constants';
import { changed } from '../messages';
import type { OnnxModel } from '../model';
import { type Graph, type Node, NodeSchema } from '../schema/onnx_pb';
import type { ShapeProbe } from '../shape-probe';
import { protoOf } from '../values';
import { FreshNames, valuesRead, type Wiring } from '../wiring';
import { type Border, findBorders } from './borders';
import type { Folded, FoldedRegion, FoldOptions } from './fold';
import { fuseWeights } from './fuse-weights';
import { hasFrame, MAX_NODES, NO_FRAME, nodesOf, type Pending } from './pending';
import { isSumOfValues, reassociateSums } from './reassociate';

/** Chains, sums and concatenations of affine maps of one image, as convolutions. @throws as `foldGraph` */
export async function foldConvolutions(model: OnnxModel, fixed: FixedConstants, options: FoldOptions): Promise<Folded> {
  const given = analyse(model, fixed);
  const arranged = reassociateSums(model, given.wiring, given.known);
  const analysis = arranged === model ? given : analyse(arranged, fixed);
  let borders = findBorders(arranged.proto.graph, analysis);
  const left = new Map<Node, string>();
  const pause = breathe(options.signal);
  for (;;) {
    await pause();
    if (!fixed.budget.spend(arranged.proto.graph.node.length)) borders = new Map();
    const folder = new Folder(arranged, analysis, borders, left, options);
    const folded = await folder.run();
    if (folder.leftBorders.length === 0) return folded.folded.length > 0 ? folded : { ...folded, model };
    // Once more, with their nodes as they stand.
    for (const node of folder.leftBorders) left.set(node, folder.reasonOf(node));
  }
}

class Folder {
  private readonly graph: Graph;
  private readonly wiring: Wiring;
  private readonly constants: ShapeProbe;
  private readonly channels: ChannelInference;
  private readonly budget: Budget;
  private readonly names: FreshNames;
  private readonly known: Known;
  private readonly pending = new Map<string, Pending>();
  private readonly nodes: (Node | Merged)[] = [];
  private readonly kept = new Map<Node, string>();
  /** Frames that exporters write as assignments, by their last node, and the nodes that are part of one. */
  private readonly borders: ReadonlyMap<Node, Border>;
  private readonly ofBorders: ReadonlySet<Node>;
  /** Last nodes of borders that became part of no convolution. */
  readonly leftBorders: Node[] = [];

  constructor(
    private readonly model: OnnxModel,
    { fixed, wiring, probe, channels, known }: Analysis,
    borders: ReadonlyMap<Node, Border>,
    private readonly left: ReadonlyMap<Node, string>,
    private readonly options: FoldOptions,
  ) {
    this.graph = model.proto.graph;
    this.wiring = wiring;
    this.constants = probe;
    this.channels = channels;
    this.budget = fixed.budget.copy();
    this.known = known;
    this.names = new FreshNames(this.graph);
    this.borders = new Map([...borders].filter(([node]) => !left.has(node)));
    this.ofBorders = new Set([...this.borders.values()].flatMap(({ nodes }) => nodes.slice(0, -1)));
  }

  async run(): Promise<Folded> {
    const pause = breathe(this.options.signal);
    for (const node of this.graph.node) {
      this.take(node);
      await pause();
    }
    for (const value of this.wiring.outputs) this.settle(value);
    for (const value of [...this.pending.keys()]) this.settle(value); // read by nobody
    if (this.leftBorders.length > 0) return { model: this.model, folded: [], kept: [] };
    const folded: FoldedRegion[] = [];
    const initializer = [...this.graph.initializer];
    const nodes: Node[] = [];
    for (const node of this.nodes) {
      if (!(node instanceof Merged)) {
        nodes.push(node);
        continue;
      }
      const { conv, region } = await this.evaluate(node, initializer);
      nodes.push(conv);
      folded.push(region);
    }
    const kept = [...this.kept].map(([node, reason]) => ({ node: describeNode(node), reason }));
    if (folded.length === 0) return { model: this.model, folded, kept };
    const graph = changed(this.graph, { node: nodes, initializer });
    return { model: { ...this.model, proto: changed(this.model.proto, { graph }) }, folded, kept };
  }

  /** Why a border stays. */
  reasonOf(node: Node): string {
    return this.kept.get(node) ?? 'nothing affine comes before its frame';
  }

  private take(node: Node): void {
    if (this.ofBorders.has(node)) return; // its last node stands for all
    const border = this.borders.get(node);
    if (border !== undefined) {
      if (!this.takeBorder(node, border)) this.leftBorders.push(node);
      return;
    }
    const output = node.output[0] ?? '';
    if (node.output.length === 1 && this.constants.has(output)) {
      this.emit(node);
      return;
    }
    if (node.opType === 'ScatterND')
      this.kept.set(
        node,
        this.left.get(node) ?? 'what it writes is not known to be a frame of one value for each channel',
      );
    else if (this.left.has(node)) this.kept.set(node, this.left.get(node)!);
    const step = affineStep(node, this.known);
    if (step === undefined) {
      if (!this.takeJoin(node)) this.emit(node);
    } else if (step.kind === 'refused') {
      this.kept.set(node, step.reason);
      this.emit(node);
    } else if (!this.takeStep(node, step)) {
      this.emit(node);
    }
  }

  private emit(node: Node): void {
    for (const value of new Set(valuesRead(node))) this.settle(value);
    this.nodes.push(node);
  }

  /** What is pending for a value gets a node. */
  private settle(value: string): void {
    const pending = this.pending.get(value);
    if (pending === undefined) return;
    this.pending.delete(value);
    if (pending.parts.size === 0) {
      this.nodes.push(pending.node);
      return;
    }
    const isOne = isPracticable(pending.conv);
    const grows = weightElements(pending.conv) > pending.cost && this.options.grow !== true;
    const crops = pending.conv.padding.some((side) => side < 0);
    if (!hasFrame(pending) && isOne && !grows && !crops && this.takeWeight(pending)) {
      this.nodes.push(new Merged(value, pending));
      return;
    }
    if (!isOne) this.kept.set(pending.node, 'one convolution would hold hardly anything but zeros, or stride too far');
    else if (grows) this.kept.set(pending.node, 'one convolution would cost more than its parts (ask with `grow`)');
    for (const [part, its] of pending.parts) {
      this.pending.set(part, its);
      this.settle(part);
    }
    if (this.borders.has(pending.node)) this.leftBorders.push(pending.node);
    this.nodes.push(pending.node);
  }

  /** Memory for the weight of a map is counted before it is taken: small files describe large kernels, and share weights. */
  private takeWeight({ conv, node }: Pending): boolean {
    const isWithin = this.budget.spend((4 * weightElements(conv)) / (this.options.grow === true ? GROWTH : 1));
    if (!isWithin) this.kept.set(node, BEYOND_BUDGET);
    return isWithin;
  }

  /** A frame around what is pending, where it holds what that makes of zeros: then the padding of what is pending is such a frame. */
  private takeBorder(node: Node, { input, output, padding, fill }: Border): boolean {
    const before = this.extensible(input);
    if (before === undefined || hasFrame(before)) return false;
    const { bias, biasTerms } = before.conv.value;
    const peak = bias.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
    const isOwn = biasTerms.length === 0 && fill.every((value, c) => Math.abs(value - bias[c]!) <= BORDER_ULPS * peak);
    if (!isOwn) {
      this.kept.set(node, 'its frame is not what the convolution before it makes of zeros');
      return false;
    }
    const framed = this.exactly(node, () =>
      appendStages(before.conv, { name: describeNode(node), stages: [{ kind: 'pad_border', padding }] }),
    );
    if (framed === undefined) return false;
    this.pending.delete(input);
    const parts = new Map([[input, before]]);
    this.pending.set(output, { ...before, conv: framed, size: before.size + 1, node, parts });
    return true;
  }

  /** The node after what is pending for its input, or as a map of its own. False where it is neither. */
  private takeStep(node: Node, step: AffineStep): boolean {
    const output = node.output[0]!;
    const { input } = step;
    const before = this.extensible(input);
    const joined = before && this.exactly(node, () => this.after(before, node, step));
    if (before !== undefined && joined !== undefined) {
      this.pending.delete(input);
      this.pending.set(output, { ...joined, size: before.size + 1, node, parts: new Map([[input, before]]) });
      return true;
    }
    this.settle(input);
    const channels = this.channels.channelsOf(input);
    const alone = this.exactly(node, () => this.map(node, step, channels));
    if (alone === undefined) return false;
    this.pending.set(output, { source: input, ...alone, size: 1, node, parts: new Map() });
    return true;
  }

  private map(
    node: Node,
    step: AffineStep,
    channels: number | undefined,
  ): Omit<Pending, 'source' | 'size' | 'node' | 'parts'> | undefined {
    if (step.kind === 'zeros')
      return channels === undefined ? undefined : { conv: identity(channels, channels), frame: step.padding, cost: 0 };
    if (step.stages.length === 0 && channels === undefined) return undefined;
    const conv = fromBranch({ name: describeNode(node), stages: step.stages }, { channels });
    return { conv, frame: NO_FRAME, cost: step.stages.length === 0 ? 0 : weightElements(conv) };
  }

  private after(before: Pending, node: Node, step: AffineStep): Omit<Pending, 'size' | 'node' | 'parts'> | undefined {
    const { source } = before;
    if (step.kind === 'zeros') {
      if (cropsBefore(before, step.padding)) return undefined;
      const frame = before.frame.map((side, i) => side + step.padding[i]!) as unknown as Padding4;
      return { source, conv: before.conv, frame, cost: before.cost };
    }
    if (step.stages.length === 0) return { source, conv: before.conv, frame: before.frame, cost: before.cost };
    const [stage] = step.stages;
    let { stages } = step;
    if (hasFrame(before)) {
      // The zeros become padding of the convolution that follows; before anything else they stay what they are.
      if (stage?.kind !== 'conv2d' || cropsBefore(before, stage.padding)) return undefined;
      const padding = stage.padding.map((side, i) => side + before.frame[i]!) as unknown as Padding4;
      stages = [{ ...stage, padding }];
    }
    const conv = appendStages(before.conv, { name: describeNode(node), stages });
    const own =
      stages.length === 0
        ? 0
        : weightElements(fromBranch({ name: describeNode(node), stages }, { channels: before.conv.outChannels }));
    return { source, conv, frame: NO_FRAME, cost: before.cost + own };
  }

  /** A sum or a concatenation of maps of one value. */
  private takeJoin(node: Node): boolean {
    const sum = isSumOfValues(node);
    const concat = isOfOnnx(node.domain) && node.opType === 'Concat' && intOf(node, 'axis', 0) === 1;
    if ((!sum && !concat) || node.input.length < 2 || node.output.length !== 1 || !node.output[0]) return false;
    const parts = new Map<string, Pending>();
    for (const value of node.input) {
      const part = this.extensible(value);
      if (part !== undefined && !hasFrame(part)) parts.set(value, part);
    }
    const source = [...parts.values()][0]?.source;
    if (source === undefined || ![...parts.values()].every((part) => part.source === source)) return false;
    const channels = [...parts.values()][0]!.conv.inChannels;
    const convs = node.input.map((value) => (value === source ? identity(channels, channels) : parts.get(value)?.conv));
    if (convs.includes(undefined)) return false;
    const conv = this.exactly(node, () => (sum ? addBranches : concatOutputs)(convs as AffineConv[]));
    if (conv === undefined) return false;
    for (const value of parts.keys()) this.pending.delete(value);
    const identities = node.input.filter((value) => value === source).length;
    const cost = [...parts.values()].reduce((total, part) => total + part.cost, identities * channels);
    const size = [...parts.values()].reduce((total, part) => total + part.size, 1);
    this.pending.set(node.output[0]!, { source, conv, frame: NO_FRAME, cost, size, node, parts });
    return true;
  }

  /** What is pending for a value, if one node reads it and nobody else. */
  private extensible(value: string): Pending | undefined {
    const pending = this.wiring.hasOneReader(value) ? this.pending.get(value) : undefined;
    return pending !== undefined && pending.size < MAX_NODES ? pending : undefined;
  }

  /** What `make` makes, or undefined, and why, where the rewrite would not be exact. */
  private exactly<T extends AffineConv | { readonly conv: AffineConv } | undefined>(node: Node, make: () => T) {
    try {
      const made = make();
      const conv = made instanceof AffineConv ? made : made?.conv;
      if (conv === undefined || this.budget.spend(effortOf(conv))) return made;
      this.kept.set(node, BEYOND_BUDGET);
      return undefined;
    } catch (error) {
      if (!(error instanceof RepfuseError)) throw error;
      this.kept.set(node, error.message);
      return undefined;
    }
  }

  /** The convolution that a map is, its weights among the initializers. */
  private async evaluate({ value, source, conv: map, node, from }: Merged, initializer: Graph['initializer']) {
    const fused = await fuseWeights(() => map, node, this.options);
    const name = this.names.take(`${node.name || value}_fused`);
    const add = (role: string, tensor: Tensor) => {
      const proto = protoOf(this.names.take(`${name}.${role}`), tensor);
      initializer.push(proto);
      return proto.name;
    };
    const { kernel, padding, stride, dilation, groups } = map;
    const conv = create(NodeSchema, {
      name,
      opType: 'Conv',
      input: [source, add('weight', fused.weight), add('bias', fused.bias)],
      output: [value],
      attribute: [
        intsAttribute('dilations', dilation),
        intAttribute('group', groups),
        intsAttribute('kernel_shape', kernel),
        intsAttribute('pads', padding),
        intsAttribute('strides', stride),
      ],
    });
    const region: FoldedRegion = {
      node: name,
      output: value,
      from,
      kernel,
      groups,
    };
    return { conv, region };
  }
}

/**
 * Exporters compute a frame in float32 from a BatchNorm that they fold into the convolution at the same time: of the peak, some units in the last
 * place lie between two roundings of one number.
 */
const BORDER_ULPS = 8 * 2 ** -24;

/** Whether zeros would come where a Pad has cropped: they do not stand for what was there. */
function cropsBefore({ frame }: Pending, padding: Padding4): boolean {
  return frame.some((side, i) => side < 0 && padding[i]! > 0);
}

/** A map that is to become a Conv: its parts are let go, each of which holds all that comes before it. */
class Merged {
  readonly source: string;
  readonly conv: AffineConv;
  readonly node: Node;
  readonly from: readonly string[];

  constructor(
    readonly value: string,
    pending: Pending,
  ) {
    this.source = pending.source;
    this.conv = pending.conv;
    this.node = pending.node;
    this.from = nodesOf(pending).map(describeNode);
  }
}

/** What asking for growth allows: a 1x1 kernel into a 5x5. */
const GROWTH = 25;

const BEYOND_BUDGET = 'what it would be folded into is beyond the budget of a model of this size';

/** What a description holds: vectors of its channels, and every way through its parts. */
function effortOf({ outChannels, value }: AffineConv): number {
  const ways = [...value.chains, ...value.biasTerms].reduce((sum, { factors }) => sum + factors.length + 1, 0);
  return 4 * outChannels + ways / 4;
}
