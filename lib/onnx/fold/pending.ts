import type { AffineConv } from '../../algebra';
import type { Padding4 } from '../../ops/geometry';
import type { Node } from '../schema/onnx_pb';

/** A value as an affine map of another one, for which there is no node yet. */
export interface Pending {
  /** The value that it is a map of. */
  readonly source: string;
  readonly conv: AffineConv;
  /** Zeros around the map, for the convolution that may follow. */
  readonly frame: Padding4;
  /** Weight elements of the parts: what they cost for each pixel. */
  readonly cost: number;
  /** Nodes that it stands for. */
  readonly size: number;
  /** The last node. */
  readonly node: Node;
  /** What has been merged into it, by the names of its values: none where it is the node alone. */
  readonly parts: ReadonlyMap<string, Pending>;
}

/** A map of more nodes than this grows no further: it is walked by recursion. */
export const MAX_NODES = 1000;

export const NO_FRAME: Padding4 = [0, 0, 0, 0];

export function hasFrame({ frame }: Pending): boolean {
  return frame.some((side) => side !== 0);
}

/** The nodes of a map, in the order of the graph. */
export function nodesOf(pending: Pending): Node[] {
  return [...new Set([...pending.parts.values()].flatMap(nodesOf)), pending.node];
}
