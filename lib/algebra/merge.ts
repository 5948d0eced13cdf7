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
import { isPracticable, weightElements } from './weight-size';

/** What a node computes, as far as that may be an affine map of one value. Values go by their names. */
export type AffineOp = MapOp | JoinOp;

/** A node of one input. */
export type MapOp = StagesOp | FrameOp;

interface StagesOp {
  readonly kind: 'stages';
  readonly input: string;
  /** None: the value itself. */
  readonly stages: readonly Stage[];
}

/** Rows and columns around an image, or (negative sides) cut off. */
interface FrameOp {
  readonly kind: 'frame';
  readonly input: string;
  /** [top, left, bottom, right] */
  readonly padding: Padding4;
  /** One value for each channel; zeros where there are none. */
  readonly fill?: ArrayLike<number> | undefined;
}

/** A node of several inputs: `first - second` of a difference, one after the other along channels of a concatenation. */
export interface JoinOp {
  readonly kind: 'sum' | 'difference' | 'concat';
  readonly inputs: readonly string[];
}

/** A value as an affine map of another one, for which the graph's owner has made nothing yet. */
export interface PendingMap<Node> {
  readonly value: string;
  /** The node that makes it. */
  readonly node: Node;
  /** The value that it is a map of. */
  readonly source: string;
  readonly conv: AffineConv;
  /** Zeros around the map, for the convolution that may follow. */
  readonly frame: Padding4;
  /** Weight elements of the nodes, which are what they cost for each pixel. */
  readonly cost: number;
  /** Nodes that it stands for. */
  readonly size: number;
  /** The maps that were merged into it by its node: none where it is the node alone. */
  readonly parts: readonly PendingMap<Node>[];
}

/** A node that stays as it is. */
interface LoneNode<Node> {
  readonly value: string;
  readonly node: Node;
}

/** A graph whose maps are merged, and what becomes of them. */
export interface MergeOwner<Node> {
  /** For messages. */
  nameOf(node: Node): string;
  /** Whether one input of one node reads a value, and nobody outside. */
  hasOneReader(value: string): boolean;
  /** Of a value that is an image; undefined where nothing tells them. */
  channelsOf(value: string): number | undefined;
  /** Whether a merge may cost more than its parts. Default false. */
  readonly grow?: boolean;
  /** Why a description that has just been made is too much: it is asked before it is kept. Default: none is. */
  excess?(conv: AffineConv): string | undefined;
  /** Why a merge that pays is none that the owner can make. Default: all are. */
  obstacle?(conv: AffineConv): string | undefined;
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
 * that it stands for, else what `partsOf` says.
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
    const open: (PendingMap<Node> | LoneNode<Node>)[] = [pending];
    for (let part = open.pop(); part !== undefined; part = open.pop()) {
      if (!('parts' in part) || part.parts.length === 0) this.owner.makeAlone(part.node);
      else if (this.isOne(part)) this.owner.makeMerged(part);
      else open.push(...[...partsOf(part)].reverse());
    }
  }

  /** Also what nobody reads. */
  settleAll(): void {
    for (const value of [...this.pending.keys()]) this.settle(value);
  }

  /** Whether a merge is to be one convolution. */
  private isOne({ node, conv, frame, cost }: PendingMap<Node>): boolean {
    if (hasSides(frame)) return false;
    let reason: string | undefined;
    if (!isPracticable(conv)) reason = 'one convolution would hold hardly anything but zeros, or stride too far';
    else if (this.owner.grow !== true && weightElements(conv) > cost)
      reason = 'one convolution would cost more than its parts (ask with `grow`)';
    else reason = this.owner.obstacle?.(conv);
    if (reason !== undefined) this.reasons.set(node, reason);
    return reason === undefined;
  }

  /** The node after what is pending for its input. */
  private after(node: Node, value: string, op: MapOp): PendingMap<Node> | undefined {
    const before = this.extensible(op.input);
    if (before === undefined) return undefined;
    const made = op.kind === 'frame' ? this.framed(node, before, op) : this.staged(node, before, op);
    return made && { ...before, ...made, value, node, size: before.size + 1, parts: [before] };
  }

  private staged(node: Node, before: PendingMap<Node>, { stages }: StagesOp) {
    if (stages.length === 0) return {};
    const name = this.owner.nameOf(node);
    let own = stages;
    if (hasSides(before.frame)) {
      // Zeros become padding of the convolution that follows; before anything else they stay what they are.
      const [first, ...others] = stages;
      if (first?.kind !== 'conv2d') return undefined;
      own = [{ ...first, padding: plus(first.padding, before.frame) }, ...others];
    }
    return this.exactly(node, false, () => {
      const conv = appendStages(before.conv, { name, stages: own });
      return { conv, frame: NO_FRAME, cost: before.cost + elementsOf(stages, before.conv.outChannels) };
    });
  }

  /** Rows that are cut off are never computed; zeros wait for a convolution; other values are its own where it makes them of zeros. */
  private framed(node: Node, { conv, frame, cost }: PendingMap<Node>, { padding, fill }: FrameOp) {
    const passes = cost + conv.outChannels;
    if (fill === undefined) {
      const sides = plus(frame, padding);
      return this.exactly(node, false, () => ({ conv: cropped(conv, sides), frame: zerosOf(sides), cost: passes }));
    }
    if (hasSides(frame)) return undefined;
    if (!isOwnBorder(conv, fill)) {
      this.reasons.set(node, 'its frame is not what the convolution before it makes of zeros');
      return undefined;
    }
    return this.exactly(node, false, () => ({ conv: padOutput(conv, padding), cost: passes }));
  }

  /** The node as a map of its input, which is made. */
  private alone(node: Node, value: string, op: MapOp): PendingMap<Node> | undefined {
    const { input } = op;
    if (op.kind === 'frame' && op.fill !== undefined) return undefined; // no map without what makes it
    this.settle(input);
    const name = this.owner.nameOf(node);
    const stages = op.kind === 'stages' ? op.stages : [];
    const channels = this.owner.channelsOf(input) ?? this.channels.get(input) ?? inputChannels({ name, stages });
    if (channels === undefined) return undefined;
    const made = this.exactly(node, true, () => {
      if (op.kind === 'stages') return { conv: fromBranch({ name, stages }, { channels }), frame: NO_FRAME };
      return { conv: cropped(identity(channels, channels), op.padding), frame: zerosOf(op.padding) };
    });
    if (made === undefined) return undefined;
    const cost = op.kind === 'stages' ? elementsOf(stages, channels) : channels;
    return { value, node, source: input, ...made, cost, size: 1, parts: [] };
  }

  /** A sum, difference or concatenation of maps of one value, which is a map of itself. */
  private join(node: Node, value: string, { kind, inputs }: JoinOp): PendingMap<Node> | undefined {
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
    const conv = this.exactly(node, false, () => ({ conv: JOINS[kind](convs) }));
    if (conv === undefined) return undefined;
    const cost = parts.reduce((sum, part) => sum + part.cost, (inputs.length - parts.length) * channels);
    return { value, node, source, ...conv, frame: NO_FRAME, cost, size, parts };
  }

  /** What is pending for a value that one node reads, and nobody else. */
  private extensible(value: string): PendingMap<Node> | undefined {
    const pending = this.owner.hasOneReader(value) ? this.pending.get(value) : undefined;
    return pending !== undefined && pending.size < MAX_NODES ? pending : undefined;
  }

  /** What `make` makes; undefined, and why, where the rewrite would not be exact, or is too much. */
  private exactly<Made extends { readonly conv: AffineConv }>(
    node: Node,
    isAlone: boolean,
    make: () => Made,
  ): Made | undefined {
    let reason: string | undefined;
    try {
      const made = make();
      reason = this.owner.excess?.(made.conv);
      if (reason === undefined) return made;
    } catch (error) {
      if (!(error instanceof RepfuseError)) throw error;
      this.owner.refused?.(node, error, isAlone);
      reason = error.message;
    }
    this.reasons.set(node, reason);
    return undefined;
  }
}

/**
 * What is made in place of a merge that does not become one convolution, in order: the maps that went into it, of each of which the same
 * is asked, and its last node as it stands. A chain whose best part pays is to be cut here: whatever maps lead from its source
 * to its value may be returned.
 */
export function partsOf<Node>({
  parts,
  value,
  node,
}: PendingMap<Node>): readonly (PendingMap<Node> | LoneNode<Node>)[] {
  return [...parts, { value, node }];
}

/** Weight elements of stages of so many channels; of those without weights one for each channel, or tap of a window. */
function elementsOf(stages: readonly Stage[], channels: number): number {
  const sizes = stages.flatMap((stage) => {
    if (stage.kind === 'avg_pool2d') return [channels * elementCount(stage.kernel)];
    return stage.kind === 'conv2d' ? [elementCount(stage.weight.shape)] : [];
  });
  return sizes.length > 0 || stages.length === 0 ? sizes.reduce((sum, size) => sum + size, 0) : channels;
}

/** The nodes of a map, in the order of the graph. */
export function nodesOf<Node>({ parts, node }: PendingMap<Node>): Node[] {
  return [...parts.flatMap(nodesOf), node];
}

const JOINS: Readonly<Record<JoinOp['kind'], (convs: readonly AffineConv[]) => AffineConv>> = {
  sum: (convs) => addBranches(convs),
  difference: ([first, ...others]) => addBranches([first!, ...others.map((conv) => scale(conv, -1))]),
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

function hasSides(padding: Padding4): boolean {
  return padding.some((side) => side !== 0);
}

function plus(a: Padding4, b: Padding4): Padding4 {
  return mapped(a, (side, i) => side + b[i]!);
}

function mapped(sides: Padding4, f: (side: number, i: number) => number): Padding4 {
  return sides.map(f) as unknown as Padding4;
}
