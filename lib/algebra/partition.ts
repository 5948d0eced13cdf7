import { hasSides, type LoneNode, type PendingMap } from './pending-map';
import { isPracticable, weightElements } from './weight-size';

/** What is made: a convolution of several nodes, or a node as it stands. */
export type Piece<Node> = PendingMap<Node> | LoneNode<Node>;

/** What a partition asks of who merges. */
export interface PartitionRules<Node> {
  /** Whether the fewest pieces are best, whatever they cost. */
  readonly grow: boolean;
  /** Why the owner makes no convolution of a map. */
  obstacle(map: PendingMap<Node>): string | undefined;
  /** The last node of a map as a map of a value of so many channels, or after a map; undefined where it is none. */
  first(last: PendingMap<Node>, channels: number): PendingMap<Node> | undefined;
  extended(before: PendingMap<Node>, last: PendingMap<Node>): PendingMap<Node> | undefined;
  /** Hears why a node is apart from what comes before it. */
  apart(node: Node, reason: string): void;
}

/** A piece in the middle of a line holds no more nodes: every node may be the first of one. */
const MAX_NODES = 16;

/** The pieces of a line up to one of its nodes. */
interface Partition<Node> {
  /** Weight elements. */
  readonly cost: number;
  readonly count: number;
  /** The last piece, and the place of its first node. */
  readonly pieces: readonly Piece<Node>[];
  readonly begin: number;
}

/**
 * A map as one convolution where that costs no more than its nodes; else the pieces that cost least, in the order in which they are made. A chain
 * is cut wherever that is best, terms of a sum and parts of a concatenation become values of their own where no convolution of all pays.
 */
export function cheapestPieces<Node>(map: PendingMap<Node>, rules: PartitionRules<Node>): readonly Piece<Node>[] {
  return cheapest(map, rules).pieces;
}

function cheapest<Node>(
  map: PendingMap<Node>,
  rules: PartitionRules<Node>,
): { readonly cost: number; readonly pieces: readonly Piece<Node>[] } {
  if (map.size === 1) return { cost: map.cost, pieces: [map] };
  const reason = reasonAgainst(map, rules);
  if (reason === undefined) return { cost: weightElements(map.conv), pieces: [map] };
  const line = lineOf(map);
  const best: Partition<Node>[] = [];
  let open: { readonly begin: number; readonly map: PendingMap<Node> }[] = []; // maps that begin within the line
  for (const [end, upTo] of line.entries()) {
    if (end === 0) {
      best.push(baseOf(upTo, rules));
      continue;
    }
    const input = line[end - 1]!;
    open = open.flatMap(({ begin, map: before }) => {
      const longer = before.size < MAX_NODES ? rules.extended(before, upTo) : undefined;
      return longer === undefined ? [] : [{ begin, map: longer }];
    });
    const alone = { value: upTo.value, node: upTo.node };
    let least = after(best[end - 1]!, alone, upTo.cost - input.cost, end);
    for (const { begin, map: piece } of [...open].reverse()) {
      if (obstacleTo(piece, rules) !== undefined) continue;
      const other = after(best[begin - 1]!, piece, weightElements(piece.conv), begin);
      if (isLess(other, least, rules)) least = other;
    }
    if (obstacleTo(upTo, rules) === undefined) {
      const whole = { cost: weightElements(upTo.conv), count: 1, pieces: [upTo], begin: 0 };
      if (isLess(whole, least, rules)) least = whole;
    }
    best.push(least);
    const own = rules.first(upTo, input.conv.outChannels);
    if (own !== undefined) open.push({ begin: end, map: own });
  }
  const pieces: (readonly Piece<Node>[])[] = [];
  for (let end = line.length - 1; end >= 0; ) {
    const { begin, pieces: last } = best[end]!;
    pieces.push(last);
    if (begin > 0) rules.apart(line[begin]!.node, reason);
    end = begin - 1;
  }
  return { cost: best.at(-1)!.cost, pieces: pieces.reverse().flat() };
}

/** From the first node of a chain, or the one that reads several values, to the last. */
function lineOf<Node>(map: PendingMap<Node>): readonly PendingMap<Node>[] {
  const line = [map];
  for (let first = map; 'input' in first.op && first.parts.length === 1; ) {
    first = first.parts[0]!;
    line.push(first);
  }
  return line.reverse();
}

/** The first node of a line: one of several inputs is a map of its own, or stands alone after their pieces. */
function baseOf<Node>(map: PendingMap<Node>, rules: PartitionRules<Node>): Partition<Node> {
  const parts = 'input' in map.op ? { cost: map.cost, pieces: [map] } : joinOf(map, rules);
  return { ...parts, count: parts.pieces.length, begin: 0 };
}

function joinOf<Node>(map: PendingMap<Node>, rules: PartitionRules<Node>) {
  const reason = reasonAgainst(map, rules);
  if (reason === undefined) return { cost: weightElements(map.conv), pieces: [map] };
  rules.apart(map.node, reason);
  const parts = map.parts.map((part) => cheapest(part, rules));
  const plain = map.parts.reduce((rest, { cost }) => rest - cost, map.cost);
  return {
    cost: parts.reduce((sum, { cost }) => sum + cost, plain),
    pieces: [...parts.flatMap(({ pieces }) => pieces), { value: map.value, node: map.node }],
  };
}

function after<Node>(before: Partition<Node>, piece: Piece<Node>, cost: number, begin: number): Partition<Node> {
  return { cost: before.cost + cost, count: before.count + 1, pieces: [piece], begin };
}

function isLess(a: Partition<unknown>, b: Partition<unknown>, { grow }: { readonly grow: boolean }): boolean {
  if (a.count !== b.count && (grow || a.cost === b.cost)) return a.count < b.count;
  return a.cost < b.cost;
}

/** Why a map is not to be one convolution. */
function reasonAgainst<Node>(map: PendingMap<Node>, rules: PartitionRules<Node>): string | undefined {
  const obstacle = obstacleTo(map, rules);
  if (obstacle !== undefined || rules.grow || weightElements(map.conv) <= map.cost) return obstacle;
  return 'one convolution would cost more than its parts (`--grow` makes it all the same)';
}

/** Why it cannot be one, whatever it costs. */
function obstacleTo<Node>(map: PendingMap<Node>, rules: PartitionRules<Node>): string | undefined {
  if (hasSides(map.frame)) return 'zeros are its last';
  if (!isPracticable(map.conv)) return 'one convolution would hold hardly anything but zeros, or stride too far';
  return rules.obstacle(map);
}
