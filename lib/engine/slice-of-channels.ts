import type { GraphNode } from '../graph';

interface Channels {
  readonly first: number;
  /** The one behind the last. Default: of all. */
  readonly end?: number;
  readonly step?: number;
}

/** The node of some of an image's channels. */
export function sliceOfChannels(id: string, image: string, { first, end = ALL, step = 1 }: Channels): GraphNode {
  const [starts, ends, steps] = [
    [0, first, 0, 0],
    [ALL, end, ALL, ALL],
    [1, step, 1, 1],
  ];
  return { id, op: 'slice', inputs: [image], starts, ends, steps } as GraphNode;
}

/** Beyond all that a slice is of. */
const ALL = 2 ** 31 - 1;
