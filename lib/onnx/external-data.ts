import { promises } from 'node:fs';
import { dirname, isAbsolute, relative, resolve, sep } from 'node:path';
import { quote } from '../arguments/show';
import { ReadMeter, readBytes, withFile } from '../checkpoint/files/random-access';
import type { Input } from '../checkpoint/files/source';
import { RepfuseError } from '../errors';
import { throwIfAborted } from '../native/call';
import { DTYPES } from '../tensor/dtype';
import { boundedCount } from '../tensor/shape-rules';
import { type Attribute, type Graph, type Tensor, Tensor_Location } from './schema/onnx_pb';
import { dtypeOf } from './values';

/**
 * Reads the tensors that a graph keeps in other files, and makes them its own: regular files of the model's folder, links resolved. A range that
 * several tensors refer to is read once, and is theirs together.
 *
 * @returns how many there are
 * @throws ERR_REPFUSE_FORMAT naming model, tensor and field; ERR_REPFUSE_FILE for a file that cannot be read; the signal's reason
 */
export async function loadExternalData(
  graph: Graph,
  { name: model, path }: Input,
  signal?: AbortSignal,
): Promise<number> {
  const external = [...tensorsOf(graph)].filter(({ dataLocation }) => dataLocation === Tensor_Location.EXTERNAL);
  if (external.length === 0) return 0;
  if (path === undefined) {
    throw new RepfuseError(
      'ERR_REPFUSE_FILE',
      `Expected the path of an ONNX model whose tensor ${quote(external[0]!.name)} lies in another file but received its bytes alone`,
      { tensor: external[0]!.name },
    );
  }
  const folder = await promises.realpath(dirname(path));
  const files = new Map<string, Promise<string>>(); // by location
  const tensors = new Map<string, Tensor[]>(); // by file
  for (const tensor of external) {
    throwIfAborted(signal);
    const location = entryOf(tensor, 'location') ?? '';
    const file = files.get(location) ?? fileOf(location, tensor, folder, model);
    files.set(location, file);
    const others = tensors.get(await file);
    if (others === undefined) tensors.set(await file, [tensor]);
    else others.push(tensor);
  }
  for (const [file, its] of tensors) await loadFile(file, its, model, signal);
  return external.length;
}

/** The tensors of a graph and of the graphs inside its nodes. */
export function* tensorsOf(graph: Graph): Generator<Tensor, void, void> {
  yield* graph.initializer;
  for (const { attribute } of graph.node) for (const item of attribute) yield* tensorsOfAttribute(item);
}

function* tensorsOfAttribute({ t, g, tensors, graphs }: Attribute): Generator<Tensor, void, void> {
  if (t !== undefined) yield t;
  yield* tensors;
  for (const graph of g === undefined ? graphs : [g, ...graphs]) yield* tensorsOf(graph);
}

/** A range of a file, and the tensors whose bytes it is. */
interface Range {
  readonly offset: number;
  readonly length: number;
  readonly tensors: Tensor[];
}

async function loadFile(file: string, tensors: readonly Tensor[], model: string, signal: AbortSignal | undefined) {
  try {
    await withFile(file, async (opened) => {
      const source = new ReadMeter(signal, undefined).observe(opened);
      for (const range of rangesOf(tensors, source.size, model)) {
        const bytes = await readBytes(source, range.offset, range.length);
        for (const tensor of range.tensors)
          Object.assign(tensor, { rawData: bytes, dataLocation: Tensor_Location.DEFAULT, externalData: [] });
      }
    });
  } catch (error) {
    if (!(error instanceof RepfuseError) || error.code !== 'ERR_REPFUSE_FILE') throw error;
    throw cannotRead(file, tensors[0]!, model, error);
  }
}

/** The ranges of a file of that size, each once. Those that overlap without being the same would multiply it in memory: they are refused. */
function rangesOf(tensors: readonly Tensor[], size: number, model: string): Iterable<Range> {
  const ranges = new Map<string, Range>();
  let total = 0;
  for (const tensor of tensors) {
    const { offset, length } = rangeOf(tensor, size, model);
    const known = ranges.get(`${offset} ${length}`);
    if (known !== undefined) {
      known.tensors.push(tensor);
      continue;
    }
    total += length;
    if (total > size) throw refused(tensor, model, 'length', `ranges that do not overlap in ${size} bytes`, length);
    ranges.set(`${offset} ${length}`, { offset, length, tensors: [tensor] });
  }
  return ranges.values();
}

function rangeOf(tensor: Tensor, size: number, model: string): { offset: number; length: number } {
  const given = entryOf(tensor, 'offset') ?? '0';
  const offset = wholeNumber(given);
  if (offset === undefined || offset > size)
    throw refused(tensor, model, 'offset', `at most the ${size} bytes of the file`, given);
  const needed = bytesOf(tensor, model);
  const asked = entryOf(tensor, 'length') ?? String(needed ?? size - offset);
  const length = wholeNumber(asked);
  if (length === undefined || length > size - offset)
    throw refused(tensor, model, 'length', `at most ${size - offset} bytes`, asked);
  if (needed !== undefined && needed !== length)
    throw refused(tensor, model, 'length', `the ${needed} bytes of its dims`, length);
  return { offset, length };
}

/** The bytes that the dims of a tensor ask for; undefined for a type that repfuse does not know. */
function bytesOf(tensor: Tensor, model: string): number | undefined {
  const dtype = dtypeOf(tensor.dataType);
  if (dtype === undefined) return undefined;
  const count = boundedCount(tensor.dims.map(Number), Number.MAX_SAFE_INTEGER / 8);
  if (count === undefined) throw refused(tensor, model, 'dims', 'sizes of at least 0', `${tensor.dims.length} axes`);
  return count * DTYPES[dtype].bytes;
}

/** The file that a location names, links resolved. */
async function fileOf(location: string, tensor: Tensor, folder: string, model: string): Promise<string> {
  const path = resolve(folder, location);
  const isOutside = (target: string) => {
    const way = relative(folder, target);
    return way === '' || way === '..' || way.startsWith(`..${sep}`) || isAbsolute(way);
  };
  const expected = "a file in the model's folder";
  if (location === '' || isAbsolute(location) || isOutside(path))
    throw refused(tensor, model, 'location', expected, quote(location));
  const real = await promises.realpath(path).catch((cause) => {
    throw cannotRead(path, tensor, model, cause);
  });
  if (isOutside(real)) throw refused(tensor, model, 'location', expected, `a link to ${quote(real)}`);
  return real;
}

function entryOf({ externalData }: Tensor, name: string): string | undefined {
  return externalData.find(({ key }) => key === name)?.value;
}

function cannotRead(path: string, { name }: Tensor, model: string, cause: Error): RepfuseError {
  return new RepfuseError(
    'ERR_REPFUSE_FILE',
    `Cannot read ${path}, which holds tensor ${quote(name)} of ${model}: ${cause.message}`,
    { file: path, tensor: name },
    { cause },
  );
}

function refused({ name }: Tensor, model: string, field: string, expected: string, received: unknown): RepfuseError {
  return new RepfuseError(
    'ERR_REPFUSE_FORMAT',
    `Expected ${expected} for ${field} of the external data of tensor ${quote(name)} in ${model} but received ${received}`,
    { file: model, tensor: name, field },
  );
}

function wholeNumber(text: string): number | undefined {
  const value = Number(text);
  return /^\d+$/.test(text) && Number.isSafeInteger(value) ? value : undefined;
}
