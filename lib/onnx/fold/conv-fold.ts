import { create } from '@bufbuild/protobuf';
import type { AffineConv } from '../../algebra';
import { type JoinOp, Merging, nodesOf, type PendingMap } from '../../algebra/merge';
import { effortOf, weightElements } from '../../algebra/weight-size';
import { eventLoopPause } from '../../native/event-loop';
import type { DType } from '../../tensor/dtype';
import type { FloatType } from '../../tensor/round';
import type { Tensor } from '../../tensor/tensor';
import { affineStep } from '../affine';
import type { Analysis } from '../analysis';
import { describeNode, intAttribute, intOf, intsAttribute, isOfOnnx } from '../attributes';
import type { Budget } from '../evaluation/budget';
import type { FixedConstants } from '../fixed-constants';
import { changed } from '../messages';
import type { OnnxModel } from '../model';
import { type Graph, type Node, NodeSchema } from '../schema/onnx_pb';
import { valueTypes } from '../value-types';
import { protoOf } from '../values';
import { FreshNames, valuesRead } from '../wiring';
import { arrange } from './arrange';
import { type Border, findBorders } from './borders';
import { fuseWeights } from './fuse-weights';
import { isSumOfValues } from './reassociate';
import type { Folded, FoldedRegion, FoldOptions } from './report';

/** Chains, sums and concatenations of affine maps of one image, as convolutions. @throws as `foldGraph` */
export async function foldConvolutions(model: OnnxModel, fixed: FixedConstants, options: FoldOptions): Promise<Folded> {
  const { model: arranged, analysis } = arrange(model, fixed);
  let borders = findBorders(arranged.proto.graph, analysis);
  const left = new Map<Node, string>();
  const pause = eventLoopPause(options.signal);
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

/** The graph as its maps are merged: what is settled goes into the list of nodes. */
class Folder {
  private readonly graph: Graph;
  private readonly types: ReadonlyMap<string, DType>;
  private readonly budget: Budget;
  private readonly names: FreshNames;
  private readonly merging: Merging<Node>;
  private readonly nodes: (Node | Merged)[] = [];
  /** Frames that exporters write as assignments, by their last node, and the nodes that are part of one. */
  private readonly borders: ReadonlyMap<Node, Border>;
  private readonly ofBorders: ReadonlySet<Node>;
  /** Last nodes of borders that became part of no convolution. */
  readonly leftBorders: Node[] = [];

  constructor(
    private readonly model: OnnxModel,
    private readonly analysis: Analysis,
    borders: ReadonlyMap<Node, Border>,
    private readonly left: ReadonlyMap<Node, string>,
    private readonly options: FoldOptions,
  ) {
    this.graph = model.proto.graph;
    this.types = valueTypes(this.graph);
    this.budget = analysis.fixed.budget.copy();
    this.names = new FreshNames(this.graph);
    this.borders = new Map([...borders].filter(([node]) => !left.has(node)));
    this.ofBorders = new Set([...this.borders.values()].flatMap(({ nodes }) => nodes.slice(0, -1)));
    this.merging = new Merging({
      nameOf: describeNode,
      hasOneReader: (value) => analysis.wiring.hasOneReader(value),
      channelsOf: (value) => analysis.channels.channelsOf(value),
      sizeOf: (value) => analysis.channels.sizeOf(value),
      grow: options.grow === true,
      excess: (conv) => (this.budget.spend(effortOf(conv)) ? undefined : BEYOND_BUDGET),
      obstacle: obstacleTo,
      beyond: (conv) => this.beyond(conv),
      makeMerged: (map) => this.nodes.push(new Merged(map)),
      makeAlone: (node) => this.keep(node),
    });
  }

  async run(): Promise<Folded> {
    const pause = eventLoopPause(this.options.signal);
    for (const node of this.graph.node) {
      if (!this.take(node)) this.keep(node);
      await pause();
    }
    for (const value of this.analysis.wiring.outputs) this.merging.settle(value);
    this.merging.settleAll();
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
    const kept = [...this.merging.reasons].map(([node, reason]) => ({ node: describeNode(node), reason }));
    if (folded.length === 0) return { model: this.model, folded, kept };
    const graph = changed(this.graph, { node: nodes, initializer });
    return { model: { ...this.model, proto: changed(this.model.proto, { graph }) }, folded, kept };
  }

  /** Why a border stays. */
  reasonOf(node: Node): string {
    return this.merging.reasons.get(node) ?? 'nothing affine comes before its frame';
  }

  /** Whether a node has become part of a map, or of another node. */
  private take(node: Node): boolean {
    if (this.ofBorders.has(node)) return true; // its last node stands for all
    const border = this.borders.get(node);
    if (border !== undefined) return this.merging.take(node, border.output, { kind: 'frame', ...border });
    const [output = ''] = node.output;
    if (node.output.length === 1 && this.analysis.constants.has(output)) return false;
    const reason =
      this.left.get(node) ??
      (node.opType === 'ScatterND'
        ? 'what it writes is not known to be a frame of one value for each channel'
        : undefined);
    if (reason !== undefined) this.merging.reasons.set(node, reason);
    const op = affineStep(node, this.analysis.known) ?? joinOf(node);
    if (op?.kind === 'refused') this.merging.reasons.set(node, op.reason);
    return op !== undefined && op.kind !== 'refused' && this.merging.take(node, output, op);
  }

  /** A node as it stands. */
  private keep(node: Node): void {
    if (this.borders.has(node)) this.leftBorders.push(node);
    for (const value of new Set(valuesRead(node))) this.merging.settle(value);
    this.nodes.push(node);
  }

  /** Memory for the weight of a map is counted before it is taken: small files describe large kernels, and share weights. */
  private beyond(conv: AffineConv): string | undefined {
    const isWithin = this.budget.spend((4 * weightElements(conv)) / (this.options.grow === true ? GROWTH : 1));
    return isWithin ? undefined : BEYOND_BUDGET;
  }

  /** Of an image, and so of the weights of what convolves it. */
  private typeOf(value: string): FloatType | 'F64' {
    const type = this.types.get(value);
    return type === 'F16' || type === 'BF16' || type === 'F64' ? type : 'F32';
  }

  /** The convolution that a map is, its weights among the initializers. */
  private async evaluate({ value, source, conv: map, node, from }: Merged, initializer: Graph['initializer']) {
    const fused = await fuseWeights(() => map, node, this.typeOf(source), this.options);
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

/** A sum, difference or concatenation of images. */
function joinOf(node: Node): JoinOp | undefined {
  const { domain, opType, input: inputs, output } = node;
  if (!isOfOnnx(domain) || inputs.includes('') || output.length !== 1 || !output[0]) return undefined;
  if (isSumOfValues(node)) return { kind: 'sum', inputs };
  if (opType === 'Sub' && inputs.length === 2) return { kind: 'difference', inputs };
  return opType === 'Concat' && intOf(node, 'axis', 0) === 1 ? { kind: 'concat', inputs } : undefined;
}

/** A map that is to become a Conv: its parts are let go, each of which holds all that comes before it. */
class Merged {
  readonly value: string;
  readonly source: string;
  readonly conv: AffineConv;
  readonly node: Node;
  readonly from: readonly string[];

  constructor(map: PendingMap<Node>) {
    this.value = map.value;
    this.source = map.source;
    this.conv = map.conv;
    this.node = map.node;
    this.from = nodesOf(map).map(describeNode);
  }
}

/** Why a map is no Conv. Arithmetic and pooling are faster as they stand than as a convolution of their own. */
function obstacleTo({ conv, convolutions }: PendingMap<Node>): string | undefined {
  if (convolutions === 0) return 'no convolution stands beside it that could take it';
  if (conv.padding.some((side) => side < 0)) return 'one convolution would crop its input, which no Conv does';
  return undefined;
}

/** What asking for growth allows: a 1x1 kernel into a 5x5. */
const GROWTH = 25;

const BEYOND_BUDGET = 'what it would be folded into is beyond the budget of a model of this size';
