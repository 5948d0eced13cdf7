import { optional, type Schema, TEXT, unchecked } from '../arguments/schemas';
import type { Checkpoint } from '../checkpoint/state-dict';
import { RepfuseError } from '../errors';
import { type Graph, parseGraph, readGraphMetadata } from '../graph';
import type { NetName } from './architecture';
import { netGraph } from './nets';

export interface GraphOptions {
  /** The network's graph in training form, as parsed JSON. Default: the one in the file's metadata, if any. */
  readonly graph?: unknown;
  /** In place of a graph: the name of the network (one of `NET_NAMES`), under the authors' or timm's key names. */
  readonly arch?: NetName | undefined;
}

/** Schemas of `GraphOptions`: a graph is parsed, a name looked up, when it is used. */
export const GRAPH_OPTIONS = { graph: unchecked<unknown>(), arch: optional(TEXT as Schema<NetName>) } as const;

/**
 * The graph of a checkpoint's network, where it or the options have one.
 *
 * @throws ERR_REPFUSE_GRAPH; ERR_REPFUSE_KEY if the checkpoint is not of the network that `arch` names; ERR_REPFUSE_INVALID_ARGUMENT
 */
export function graphFor({ tensors, metadata }: Checkpoint, { graph, arch }: GraphOptions): Graph | undefined {
  if (graph !== undefined && arch !== undefined) {
    throw new RepfuseError('ERR_REPFUSE_INVALID_ARGUMENT', 'Expected either graph or arch but received both');
  }
  if (arch !== undefined) return netGraph(arch, tensors);
  return graph === undefined ? readGraphMetadata(metadata) : parseGraph(graph);
}
