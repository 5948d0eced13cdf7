import type { Stage } from '../ops';
import type { Padding4 } from '../ops/geometry';
import type { AffineConv } from './affine-conv';

/** What a node computes, as far as that may be an affine map of one value. Values go by their names. */
export type AffineOp = MapOp | JoinOp;

/** A node of one input. */
export type MapOp = StagesOp | FrameOp;

export interface StagesOp {
  readonly kind: 'stages';
  readonly input: string;
  /** None: the value itself. */
  readonly stages: readonly Stage[];
}

/** Rows and columns around an image, or (negative sides) cut off. */
export interface FrameOp {
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
  /** The node that makes it, and what it computes. */
  readonly node: Node;
  readonly op: AffineOp;
  /** The value that it is a map of. */
  readonly source: string;
  readonly conv: AffineConv;
  /** Zeros around the map, for the convolution that may follow. */
  readonly frame: Padding4;
  /** Weight elements of the nodes, which are what they cost for each pixel. */
  readonly cost: number;
  /** Nodes that it stands for, and how many of them are convolutions. */
  readonly size: number;
  readonly convolutions: number;
  /** The maps that were merged into it by its node: none where it is the node alone. */
  readonly parts: readonly PendingMap<Node>[];
}

/** A node that stays as it is. */
export interface LoneNode<Node> {
  readonly value: string;
  readonly node: Node;
}

/** The nodes of a map, in the order of the graph. */
export function nodesOf<Node>({ parts, node }: PendingMap<Node>): Node[] {
  return [...parts.flatMap(nodesOf), node];
}

export function hasSides(padding: Padding4): boolean {
  return padding.some((side) => side !== 0);
}
