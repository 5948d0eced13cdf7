import { RepfuseError } from '../../errors';
import { type RandomAccess, readBytes } from '../files/random-access';
import { flatWeights } from '../flat-weights';
import type { SkippedEntry } from '../state-dict';
import type { StoredTensor } from '../stored-tensor';
import type { OpenOptions, Weights } from '../weights';
import { readSafetensors } from './safetensors';

const MAX_INDEX = 100_000_000;
const MAX_SHARDS = 4096;

/**
 * Opens a sharded checkpoint by its index (`model.safetensors.index.json`): `weight_map` names the file of each tensor. The files lie
 * in the index's own folder, whatever it says.
 *
 * @throws ERR_REPFUSE_FORMAT for an index that is none, or a tensor that its file lacks; ERR_REPFUSE_FILE for a shard that is missing;
 *   the errors of safetensors files, naming the shard (`details.shard`)
 */
export async function openSafetensorsIndex(
  source: RandomAccess,
  { keyPath, openBeside }: OpenOptions,
): Promise<Weights> {
  const { map, metadata } = await readIndex(source);
  const shards = new Map<string, ReadonlyMap<string, StoredTensor>>();
  const skipped: SkippedEntry[] = [];
  for (const shard of new Set(map.values())) {
    const { tensors } = await openShard(shard, openBeside);
    shards.set(shard, tensors);
    for (const [name, { dtype }] of tensors) {
      if (map.get(name) !== shard)
        skipped.push({ path: `${shard}: ${name}`, what: `tensor ${dtype} that the index does not name` });
    }
  }
  const tensors = new Map<string, StoredTensor>();
  for (const [name, shard] of map) {
    const tensor = shards.get(shard)!.get(name);
    if (tensor === undefined)
      throw bad(`tensor ${JSON.stringify(name)} is missing in ${shard}`, { tensor: name, shard });
    tensors.set(name, tensor);
  }
  return flatWeights('safetensors-index', tensors, keyPath, { metadata, skipped });
}

async function readIndex(
  source: RandomAccess,
): Promise<{ readonly map: ReadonlyMap<string, string>; readonly metadata: Readonly<Record<string, string>> }> {
  if (source.size > MAX_INDEX) throw bad(`${source.size} bytes are too many (limit ${MAX_INDEX})`, { field: 'size' });
  let parsed: unknown;
  try {
    const text = new TextDecoder('utf-8', { fatal: true }).decode(await readBytes(source, 0, source.size));
    parsed = JSON.parse(text);
  } catch (error) {
    if (error instanceof RepfuseError) throw error;
    throw bad(`it is no JSON (${(error as Error).message})`, { field: 'index' });
  }
  const { weight_map: weightMap, metadata = {} } = (parsed ?? {}) as Record<string, unknown>;
  if (typeof weightMap !== 'object' || weightMap === null || Array.isArray(weightMap))
    throw bad('weight_map is no object', { field: 'weight_map' });
  const map = new Map<string, string>();
  for (const [name, shard] of Object.entries(weightMap)) {
    if (typeof shard !== 'string' || !isPlainName(shard)) {
      throw bad(`tensor ${JSON.stringify(name)}: ${JSON.stringify(shard)} is no file name of the index's own folder`, {
        tensor: name,
        field: 'weight_map',
      });
    }
    map.set(name, shard);
  }
  const count = new Set(map.values()).size;
  if (count === 0 || count > MAX_SHARDS) throw bad(`${count} files (limit ${MAX_SHARDS})`, { field: 'weight_map' });
  const texts = Object.entries(metadata as object).filter(
    (entry): entry is [string, string] => typeof entry[1] === 'string',
  );
  return { map, metadata: Object.fromEntries(texts) };
}

/** Nothing that leads out of the folder. */
function isPlainName(name: string): boolean {
  return name !== '' && name !== '.' && name !== '..' && !/[/\\\0:]/.test(name);
}

async function openShard(shard: string, openBeside: OpenOptions['openBeside']) {
  try {
    return await readSafetensors(await openBeside(shard));
  } catch (error) {
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
  return new RepfuseError('ERR_REPFUSE_FORMAT', `Bad index of safetensors files: ${problem}`, details);
}
