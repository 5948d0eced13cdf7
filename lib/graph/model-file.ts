import { checkArgument } from '../arguments/check';
import { membersOf, optional, TEXT } from '../arguments/schemas';
import { RepfuseError } from '../errors';
import type { Graph } from './graph';
import { parseGraph } from './parse';

/** The key of safetensors `__metadata__` under which a model file holds its graph. */
export const GRAPH_METADATA_KEY = 'repfuse';

/** `__metadata__` entries that make a safetensors file a model file. @throws ERR_REPFUSE_GRAPH */
export function graphMetadata(graph: Graph): Record<string, string> {
  return { [GRAPH_METADATA_KEY]: JSON.stringify(parseGraph(graph)) };
}

const METADATA = membersOf<{ readonly [GRAPH_METADATA_KEY]?: string }>()({ [GRAPH_METADATA_KEY]: optional(TEXT) });

/** The graph in a file's metadata, if it has one. @throws ERR_REPFUSE_GRAPH */
export function readGraphMetadata(metadata: Readonly<Record<string, string>>): Graph | undefined {
  const text = checkArgument('metadata', METADATA, metadata)[GRAPH_METADATA_KEY];
  return text === undefined ? undefined : parseGraphText(text, `metadata ${GRAPH_METADATA_KEY}`);
}

/** A graph in JSON text. @throws ERR_REPFUSE_GRAPH naming `source` if it is not JSON */
export function parseGraphText(text: string, source: string): Graph {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (cause) {
    throw new RepfuseError(
      'ERR_REPFUSE_GRAPH',
      `Expected JSON for ${source} but received ${(cause as Error).message}`,
      { source },
      { cause },
    );
  }
  return parseGraph(json);
}
