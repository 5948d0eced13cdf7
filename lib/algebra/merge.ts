import { RepfuseError } from '../errors';
import type { Stage } from '../ops';
import { inputChannels } from '../ops/branch';
import type { Padding4 } from '../ops/geometry';
import { elementCount } from '../tensor/tensor';
import { addBranches } from './add';
import type { AffineConv } from './affine-conv';
import { scale } from './batch-norm';
import { padOutput } from './compose';
import { concatOutputs } from './concat';
import { identity } from './conv';
import { appendStages, fromBranch } from './from-branch';
import { cheapestPieces } from './partition';
import {
  type AffineOp,
  type FrameOp,
  hasSides,
  type JoinOp,
  type LoneNode,
  type MapOp,
  nodesOf,
  type PendingMap,
  type StagesOp,
} from './pending-map';

export { type AffineOp, type JoinOp, type MapOp, nodesOf, type PendingMap } from './pending-map';

/** A graph whose maps are merged, and what becomes of them. */
export interface MergeOwner<Node> {
  /** For messages. */
  nameOf(node: Node): string;
  /** Whether one input of one node reads a value, and nobody outside. */
  hasOneReader(value: string): boolean;
  /** Of a value that is an image; undefined where nothing tells them. */
  channelsOf(value: string): number | undefined;
  /** Height and width of a value where it has no others: sums of it need to agree on their size for these only. Default: any. */
  sizeOf?(value: string): readonly [number, number] | undefined;
  /** Whether a merge may cost more than its parts. Default false. */
  readonly grow?: boolean;
  /** Why a description that has just been made is too much: it is asked before it is kept. Default: none is. */
  excess?(conv: AffineConv): string | undefined;
  /** Why a merge is none that the owner can make. Default: all are. It is asked of more than are made. */
  obstacle?(map: PendingMap<Node>): string | undefined;
  /** Why the weights of a merge that is to be made are too much: its nodes then stay apart. Default: none are. */
  beyond?(conv: AffineConv): string | undefined;
  /** Hears of every refusal of the algebra; the node is then left apart from what comes before it, unless this throws. */
  refused?(node: Node, error: RepfuseError, isAlone: boolean): void;
  /** Makes one convolution. Its source is made. */
  makeMerged(map: PendingMap<Node>): void;
  /** Makes a node as it stands. What it reads is made, or is to be settled by the owner. */
  makeAlone(node: Node): void;
}

/** A map of more nodes than this grows no further: it is walked by recursion. */
const MAX_NODES = 1000;

const NO_FRAME: Padding4 = [0, 0, 0, 0];

/**
 * Merges affine maps over a graph. Its owner offers node after node, in an order in which they can run. Chains, sums, differences and
 * concatenations of maps of one value, and frames around them, are kept as one unevaluated convolution as long as one node alone reads
 * them. When somebody needs a value itself, it is settled: the owner makes one convolution where that costs no more than the nodes
 * that it stands for, else the pieces that cost least (`cheapestPieces`).
 */
export class Merging<Node> {
  private readonly pending = new Map<string, PendingMap<Node>>();
  /** Of the values that were settled. */
  private readonly channels = new Map<string, number>();
  /** Why nodes were left apart from what comes before them. */
  readonly reasons = new Map<Node, string>();

  constructor(private readonly owner: MergeOwner<Node>) {}

  /**
   * Takes a node, which makes `value`.
   *
   * @returns false where it is no map that could be merged: its owner then makes it as it stands
   * @throws what the owner's `refused` throws
   */
  take(node: Node, value: string, op: AffineOp): boolean {
    const map =
      'input' in op ? (this.after(node, value, op) ?? this.alone(node, value, op)) : this.join(node, value, op);
    if (map === undefined) return false;
    for (const part of map.parts) this.pending.delete(part.value);
    this.pending.set(value, map);
    return true;
  }

  /** What is pending for a value. */
  pendingFor(value: string): PendingMap<Node> | undefined {
    return this.pending.get(value);
  }

  /** What is pending for a value is made. */
  settle(value: string): void {
    const pending = this.pending.get(value);
    if (pending === undefined) return;
    this.pending.delete(value);
    this.channels.set(value, pending.conv.outChannels);
    const rules = {
      grow: this.owner.grow === true,
      obstacle: (map: PendingMap<Node>) => this.owner.obstacle?.(map),
      first: (map: PendingMap<Node>, channels: number) => this.tried(() => this.first(map, map.op as MapOp, channels)),
      extended: (before: PendingMap<Node>, map: PendingMap<Node>) =>
        this.tried(() => this.extended(before, map, map.op as MapOp)),
      apart: (node: Node, reason: string) => this.reasons.set(node, reason),
    };
    for (const piece of cheapestPieces(pending, rules)) this.make(piece);
  }

  private make(piece: PendingMap<Node> | LoneNode<Node>): void {
    if (!('parts' in piece) || piece.parts.length === 0) {
      this.owner.makeAlone(piece.node);
      return;
    }
    const reason = this.owner.beyond?.(piece.conv);
    if (reason === undefined) this.owner.makeMerged(piece);
    else {
      this.reasons.set(piece.node, reason);
      for (const node of nodesOf(piece)) this.owner.makeAlone(node);
    }
  }

  /** Also what nobody reads. */
  settleAll(): void {
    for (const value of [...this.pending.keys()]) this.settle(value);
  }

  /** The node after what is pending for its input. */
  private after(node: Node, value: string, op: MapOp): PendingMap<Node> | undefined {
    const before = this.extensible(op.input);
    return before && this.exactly(node, false, () => this.extended(before, { node, value }, op));
  }

  /** A map with a node after it, or why they are none. @throws where it would not be exact */
  private extended(before: PendingMap<Node>, { node, value }: LoneNode<Node>, op: MapOp): PendingMap<Node> | string {
    const made = op.kind === 'frame' ? framed(before, op) : staged(before, this.owner.nameOf(node), op);
    return typeof made === 'string'
      ? made
      : { ...before, ...made, value, node, op, size: before.size + 1, parts: [before] };
  }

  /** The node as a map of its input, which is made. */
  private alone(node: Node, value: string, op: MapOp): PendingMap<Node> | undefined {
    const { input } = op;
    if (op.kind === 'frame' && op.fill !== undefined) return undefined; // no map without what makes it
    this.settle(input);
    const branch = { name: this.owner.nameOf(node), stages: op.kind === 'stages' ? op.stages : [] };
    const channels = this.owner.channelsOf(input) ?? this.channels.get(input) ?? inputChannels(branch);
    if (channels === undefined) return undefined;
    return this.exactly(node, true, () => this.first({ node, value }, op, channels));
  }

  /** A node as a map of its input, of so many channels. @throws where it is none */
  private first({ node, value }: LoneNode<Node>, op: MapOp, channels: number): PendingMap<Node> | string {
    const one = { node, value, op, source: op.input, size: 1, parts: [] };
    if (op.kind === 'frame') {
      if (op.fill !== undefined) return 'nothing that its frame could be of comes before it';
      const conv = cropped(identity(channels, channels), op.padding);
      return { ...one, conv, frame: zerosOf(op.padding), cost: channels, convolutions: 0 };
    }
    const { stages } = op;
    const conv = fromBranch({ name: this.owner.nameOf(node), stages }, { channels });
    const convolutions = convolutionsOf(stages);
    return { ...one, conv, frame: NO_FRAME, cost: elementsOf(stages, channels), convolutions };
  }

  /** A sum, difference or concatenation of maps of one value, which is a map of itself. */
  private join(node: Node, value: string, op: JoinOp): PendingMap<Node> | undefined {
    const { kind, inputs } = op;
    const found = new Map<string, PendingMap<Node>>();
    for (const input of inputs) {
      const part = this.extensible(input);
      if (part !== undefined && !hasSides(part.frame)) found.set(input, part);
    }
    const parts = [...found.values()];
    const [first] = parts;
    const size = parts.reduce((sum, part) => sum + part.size, 1);
    if (first === undefined || size > MAX_NODES) return undefined;
    const { source } = first;
    const channels = first.conv.inChannels;
    const convs: AffineConv[] = [];
    for (const input of inputs) {
      const part = found.get(input);
      if (part === undefined ? input !== source : part.source !== source) return undefined;
      convs.push(part?.conv ?? identity(channels, channels));
    }
    const cost = parts.reduce((sum, part) => sum + part.cost, (inputs.length - parts.length) * channels);
    const convolutions = parts.reduce((sum, part) => sum + part.convolutions, 0);
    return this.exactly(node, false, () => {
      const conv = JOINS[kind](convs, this.owner.sizeOf?.(source));
      return { value, node, op, source, conv, frame: NO_FRAME, cost, size, convolutions, parts };
    });
  }

  /** What is pending for a value that one node reads, and nobody else. */
  private extensible(value: string): PendingMap<Node> | undefined {
    const pending = this.owner.hasOneReader(value) ? this.pending.get(value) : undefined;
    return pending !== undefined && pending.size < MAX_NODES ? pending : undefined;
  }

  /** What `make` makes; undefined, and why, where the rewrite would not be exact, or is too much. */
  private exactly(node: Node, isAlone: boolean, make: () => PendingMap<Node> | string): PendingMap<Node> | undefined {
    let made: PendingMap<Node> | string;
    try {
      made = this.afforded(make());
    } catch (error) {
      if (!(error instanceof RepfuseError)) throw error;
      this.owner.refused?.(node, error, isAlone);
      // Without the options that callers of the algebra have, and nobody who merges a graph.
      made = typeof error.details.why === 'string' ? error.details.why : error.message;
    }
    if (typeof made !== 'string') return made;
    this.reasons.set(node, made);
    return undefined;
  }

  /** As `exactly`, of one of many ways that are compared: nobody hears why it is none. */
  private tried(make: () => PendingMap<Node> | string): PendingMap<Node> | undefined {
    try {
      const made = this.afforded(make());
      return typeof made === 'string' ? undefined : made;
    } catch (error) {
      if (error instanceof RepfuseError) return undefined;
      throw error;
    }
  }

  private afforded(made: PendingMap<Node> | string): PendingMap<Node> | string {
    return typeof made === 'string' ? made : (this.owner.excess?.(made.conv) ?? made);
  }
}

function staged<Node>(before: PendingMap<Node>, name: string, { stages }: StagesOp) {
  if (stages.length === 0) return {};
  let own = stages;
  if (hasSides(before.frame)) {
    // Zeros become padding of the convolution that follows; before anything else they stay what they are.
    const [first, ...others] = stages;
    if (first?.kind !== 'conv2d') return 'zeros stand before it, which only a convolution takes';
    own = [{ ...first, padding: plus(first.padding, before.frame) }, ...others];
  }
  const conv = appendStages(before.conv, { name, stages: own });
  const cost = before.cost + elementsOf(stages, before.conv.outChannels);
  return { conv, frame: NO_FRAME, cost, convolutions: before.convolutions + convolutionsOf(stages) };
}

/** Rows that are cut off are never computed; zeros wait for a convolution; other values are its own where it makes them of zeros. */
function framed<Node>({ conv, frame, cost }: PendingMap<Node>, { padding, fill }: FrameOp) {
  const passes = cost + conv.outChannels;
  if (fill === undefined) {
    const sides = plus(frame, padding);
    return { conv: cropped(conv, sides), frame: zerosOf(sides), cost: passes };
  }
  if (hasSides(frame)) return 'zeros stand between its frame and what it is a frame of';
  if (!isOwnBorder(conv, fill)) return 'its frame is not what the convolution before it makes of zeros';
  return { conv: padOutput(conv, padding), cost: passes };
}

function convolutionsOf(stages: readonly Stage[]): number {
  return stages.filter(({ kind }) => kind === 'conv2d').length;
}

/** Weight elements of stages of so many channels; of those without weights one for each channel, or tap of a window. */
function elementsOf(stages: readonly Stage[], channels: number): number {
  const sizes = stages.flatMap((stage) => {
    if (stage.kind === 'avg_pool2d') return [channels * elementCount(stage.kernel)];
    return stage.kind === 'conv2d' ? [elementCount(stage.weight.shape)] : [];
  });
  return sizes.length > 0 || stages.length === 0 ? sizes.reduce((sum, size) => sum + size, 0) : channels;
}

type Join = (convs: readonly AffineConv[], inputSize: readonly [number, number] | undefined) => AffineConv;

const JOINS: Readonly<Record<JoinOp['kind'], Join>> = {
  sum: (convs, inputSize) => addBranches(convs, { inputSize }),
  difference: ([first, ...others], inputSize) =>
    addBranches([first!, ...others.map((conv) => scale(conv, -1))], { inputSize }),
  concat: (convs) => concatOutputs(convs),
};

/**
 * Exporters compute a frame in float32 from a BatchNorm that they fold into the convolution at the same time: of the peak, some units in the last
 * place lie between two roundings of one number.
 */
const BORDER_ULPS = 8 * 2 ** -24;

/** Whether values around a convolution are those that it makes of zeros. */
function isOwnBorder({ value: { bias, biasTerms } }: AffineConv, fill: ArrayLike<number>): boolean {
  const peak = bias.reduce((most, each) => Math.max(most, Math.abs(each)), 0);
  const isOf = (each: number, c: number) => Math.abs(fill[c]! - each) <= BORDER_ULPS * peak;
  return biasTerms.length === 0 && fill.length === bias.length && bias.every(isOf);
}

/** The convolution without the rows and columns that negative sides cut off. */
function cropped(conv: AffineConv, sides: Padding4): AffineConv {
  return sides.some((side) => side < 0)
    ? padOutput(
        conv,
        mapped(sides, (side) => Math.min(side, 0)),
      )
    : conv;
}

function zerosOf(sides: Padding4): Padding4 {
  return mapped(sides, (side) => Math.max(side, 0));
}

function plus(a: Padding4, b: Padding4): Padding4 {
  return mapped(a, (side, i) => side + b[i]!);
}

function mapped(sides: Padding4, f: (side: number, i: number) => number): Padding4 {
  return sides.map(f) as unknown as Padding4;
}
