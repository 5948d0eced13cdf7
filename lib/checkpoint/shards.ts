import { RepfuseError } from '../errors';
import { throwIfAborted } from '../native/call';
import { eventLoopPause } from '../native/event-loop';
import { type RandomAccess, readBytes } from './files/random-access';
import { flatWeights } from './flat-weights';
import { JsonProblem, jsonEntries, parseValue } from './json-object';
import type { SkippedEntry } from './state-dict';
import type { StoredTensor } from './stored-tensor';
import type { OpenOptions, Weights } from './weights';

const MAX_INDEX = 100_000_000;
const MAX_SHARDS = 4096;

/**
 * Opens a sharded checkpoint by its index (`model.safetensors.index.json`, `pytorch_model.bin.index.json`): `weight_map` names the file
 * of each tensor. The files lie in the index's own folder, whatever it says, and are told apart by their content.
 *
 * @param openShard opens one of them
 * @throws ERR_REPFUSE_FORMAT for an index that is none, or a tensor that its file lacks; ERR_REPFUSE_FILE for a shard that is missing;
 *   the errors of the shards' format, naming the shard (`details.shard`)
 */
export async function openShards(
  source: RandomAccess,
  { keyPath, openBeside, signal }: OpenOptions,
  openShard: (source: RandomAccess, options: OpenOptions) => Promise<Weights>,
): Promise<Weights> {
  const { map, metadata } = await readIndex(source, signal);
  const named = new Map<string, string[]>();
  for (const shard of map.values()) named.set(shard, []);
  for (const [name, shard] of map) named.get(shard)!.push(name);
  const stored = new Map<string, StoredTensor>();
  const unread = new Map<string, string>();
  const skipped: SkippedEntry[] = [];
  let format: Weights['format'] = 'safetensors-index';
  for (const [shard, names] of named) {
    await inShard(shard, signal, async () => {
      const weights = await openShard(await openBeside(shard), { openBeside, signal });
      if (weights.format !== 'safetensors') format = 'torch-index';
      const there = new Set(weights.names);
      const missing = names.find((name) => !there.has(name) && !weights.unread.has(name));
      if (missing !== undefined) {
        throw bad(`tensor ${JSON.stringify(missing)} is missing`, { tensor: missing });
      }
      for (const [name, tensor] of weights.store(names.filter((name) => there.has(name)))) stored.set(name, tensor);
      for (const name of names) if (!there.has(name)) unread.set(name, weights.unread.get(name)!);
      for (const name of there)
        if (map.get(name) !== shard)
          skipped.push({ path: `${shard}: ${name}`, what: `${weights.whatIs(name)} that the index does not name` });
      for (const { path, what } of weights.skipped) skipped.push({ path: `${shard}: ${path}`, what });
    });
  }
  const tensors = new Map(
    [...map.keys()].flatMap((name) => {
      const tensor = stored.get(name);
      return tensor === undefined ? [] : [[name, tensor] as const];
    }),
  );
  return flatWeights(format, tensors, keyPath, { metadata, skipped, unread });
}

async function readIndex(
  source: RandomAccess,
  signal: AbortSignal | undefined,
): Promise<{ readonly map: ReadonlyMap<string, string>; readonly metadata: Readonly<Record<string, string>> }> {
  if (source.size > MAX_INDEX) throw bad(`${source.size} bytes are too many (limit ${MAX_INDEX})`, { field: 'size' });
  try {
    return await parseIndex(decode(await readBytes(source, 0, source.size)), signal);
  } catch (error) {
    if (!(error instanceof JsonProblem)) throw error;
    const { duplicate, message } = error;
    if (duplicate === undefined) throw bad(`it is no JSON (${message})`, { field: 'index' });
    throw bad(`duplicate name ${JSON.stringify(duplicate)}`, { tensor: duplicate });
  }
}

async function parseIndex(text: string, signal: AbortSignal | undefined) {
  const pause = eventLoopPause(signal);
  const fields = new Map(jsonEntries(text));
  const weightMap = fields.get('weight_map');
  if (!weightMap?.startsWith('{')) throw bad('weight_map is no object', { field: 'weight_map' });
  const map = new Map<string, string>();
  for (const [name, value] of jsonEntries(weightMap)) {
    const shard = parseValue(value);
    if (typeof shard !== 'string' || !isPlainName(shard)) {
      throw bad(`tensor ${JSON.stringify(name)}: ${JSON.stringify(shard)} is no file name of the index's own folder`, {
        tensor: name,
        field: 'weight_map',
      });
    }
    map.set(name, shard);
    await pause();
  }
  const count = new Set(map.values()).size;
  if (count === 0 || count > MAX_SHARDS) throw bad(`${count} files (limit ${MAX_SHARDS})`, { field: 'weight_map' });
  const metadata = fields.get('metadata');
  const texts = metadata?.startsWith('{')
    ? [...jsonEntries(metadata)].map(([name, value]) => [name, parseValue(value)])
    : [];
  return {
    map,
    metadata: Object.fromEntries(texts.filter(([, value]) => typeof value === 'string')) as Record<string, string>,
  };
}

function decode(bytes: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes).trim();
  } catch {
    throw new JsonProblem('it is not UTF-8');
  }
}

/** Nothing that leads out of the folder. */
function isPlainName(name: string): boolean {
  return name !== '' && name !== '.' && name !== '..' && !/[/\\\0:]/.test(name);
}

async function inShard(shard: string, signal: AbortSignal | undefined, body: () => Promise<void>): Promise<void> {
  try {
    await body();
  } catch (error) {
    throwIfAborted(signal);
    if (!(error instanceof RepfuseError)) throw error;
    throw new RepfuseError(
      error.code,
      `shard ${shard}: ${error.message}`,
      { ...error.details, shard },
      { cause: error.cause },
    );
  }
}

function bad(problem: string, details: Record<string, unknown>): RepfuseError {
  return new RepfuseError('ERR_REPFUSE_FORMAT', `Bad index of a checkpoint: ${problem}`, details);
}
