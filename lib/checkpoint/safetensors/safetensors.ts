import { RepfuseError } from '../../errors';
import { eventLoopPause } from '../../native/event-loop';
import { DTYPES, type DType, elementsOf, isDType } from '../../tensor/dtype';
import { allocate, type RandomAccess, readBytes } from '../files/random-access';
import { JsonProblem, jsonEntries, parseValue } from '../json-object';
import { MAX_NAME, MAX_TENSORS, type StoredTensor } from '../stored-tensor';

/** Texts beside the tensors: far more than any file has. */
const MAX_METADATA = 1 << 16;
/** As the reference implementation has it. */
const MAX_HEADER = 100_000_000;
/** Types of the format that have several elements in a byte; they are left unread. */
const PACKED: ReadonlyMap<string, number> = new Map([
  ['F4', 4],
  ['F6_E2M3', 6],
  ['F6_E3M2', 6],
]);

/** Where one tensor lies; offsets count from the end of the header. */
export interface SafetensorsEntry {
  readonly name: string;
  /** undefined for one that is not read. */
  readonly dtype: DType | undefined;
  /** As it stands in the file. */
  readonly typeName: string;
  readonly shape: readonly number[];
  readonly begin: number;
  readonly end: number;
}

export interface SafetensorsHeader {
  readonly entries: readonly SafetensorsEntry[];
  readonly metadata: Readonly<Record<string, string>>;
  /** Byte offset of the data. */
  readonly dataStart: number;
}

/**
 * Reads and checks a safetensors header: every size is checked before any memory is taken. Others have their turn meanwhile.
 *
 * @throws ERR_REPFUSE_FORMAT naming the tensor and field (`details.tensor`, `details.field`); the signal's reason
 */
export async function readSafetensorsHeader(
  source: RandomAccess,
  signal?: AbortSignal | undefined,
): Promise<SafetensorsHeader> {
  if (source.size < 8) throw bad(`the file of ${source.size} bytes is too short for a header length`);
  const prefix = new Uint8Array(8);
  await source.read(0, prefix);
  const length = new DataView(prefix.buffer).getBigUint64(0, true);
  if (length > BigInt(MAX_HEADER)) throw bad(`header length ${length} is too large (limit ${MAX_HEADER})`);
  const headerBytes = Number(length);
  if (8 + headerBytes > source.size) {
    const left = source.size - 8;
    throw bad(`truncated: its header takes ${headerBytes} bytes: ${left} are left`, { needed: headerBytes, left });
  }
  const bytes = await readBytes(source, 8, headerBytes);
  const { entries, metadata } = await parseHeader(decodeHeader(bytes), signal);
  const dataStart = 8 + headerBytes;
  checkLayout(entries, source.size - dataStart);
  return { entries, metadata, dataStart };
}

/** The tensors of a safetensors file, in the order of the header. @throws as `readSafetensorsHeader` */
export async function readSafetensors(
  source: RandomAccess,
  signal?: AbortSignal | undefined,
): Promise<{
  readonly tensors: Map<string, StoredTensor>;
  readonly metadata: Readonly<Record<string, string>>;
  /** Those of types that are not read, and what they are. */
  readonly unread: Map<string, string>;
}> {
  const { entries, metadata, dataStart } = await readSafetensorsHeader(source, signal);
  const tensors = new Map<string, StoredTensor>();
  const unread = new Map<string, string>();
  for (const { name, dtype, typeName, shape, begin, end } of entries) {
    if (dtype === undefined) {
      unread.set(name, `a tensor of type ${typeName}`);
      continue;
    }
    const read: StoredTensor['read'] = async (allocate) => {
      const bytes = await readBytes(source, dataStart + begin, end - begin, { allocate });
      return elementsOf(dtype, bytes.buffer, bytes.byteOffset, bytes.length);
    };
    const readNow: StoredTensor['readNow'] = (take = allocate) => {
      if (source.view === undefined) return undefined;
      const bytes = take(end - begin);
      bytes.set(source.view(dataStart + begin, bytes.length));
      return elementsOf(dtype, bytes.buffer, bytes.byteOffset, bytes.length);
    };
    tensors.set(name, { dtype, shape, exclusive: true, read, readNow });
  }
  return { tensors, metadata, unread };
}

function bad(problem: string, details: Record<string, unknown> = {}): RepfuseError {
  return new RepfuseError('ERR_REPFUSE_FORMAT', `Bad safetensors file: ${problem}`, details);
}

function decodeHeader(bytes: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw bad('the header is not UTF-8', { field: 'header' });
  }
}

/** A value of the header for a message: short, however large or deep it is. */
function show(value: unknown): string {
  try {
    return (JSON.stringify(value) ?? 'nothing').slice(0, 80);
  } catch {
    return 'something deeply nested';
  }
}

/** The entries of a header, checked one by one. */
async function parseHeader(
  text: string,
  signal: AbortSignal | undefined,
): Promise<Omit<SafetensorsHeader, 'dataStart'>> {
  if (!text.startsWith('{')) throw bad('the header is no JSON object', { field: 'header' });
  const pause = eventLoopPause(signal);
  const entries: SafetensorsEntry[] = [];
  let metadata: SafetensorsHeader['metadata'] = {};
  try {
    for (const [name, value] of jsonEntries(text)) {
      if (name === '__metadata__') metadata = await parseMetadata(value, pause);
      else entries.push(checkEntry(name, parseValue(value)));
      if (entries.length > MAX_TENSORS) throw bad(`more than ${MAX_TENSORS} tensors`, { field: 'header' });
      await pause();
    }
  } catch (cause) {
    if (!(cause instanceof JsonProblem)) throw cause;
    const { duplicate, message } = cause;
    if (duplicate !== undefined) throw bad(`duplicate name ${show(duplicate)} in the header`, { tensor: duplicate });
    throw bad(`the header is not JSON (${message})`, { field: 'header' });
  }
  return { entries, metadata };
}

async function parseMetadata(
  text: string,
  pause: () => Promise<void> | undefined,
): Promise<Readonly<Record<string, string>>> {
  if (!text.startsWith('{')) throw bad('__metadata__ is no object', { field: '__metadata__' });
  const texts: [string, string][] = [];
  for (const [key, value] of jsonEntries(text.trimEnd())) {
    const item = parseValue(value);
    if (typeof item !== 'string') throw bad(`__metadata__ entry ${show(key)} is no string`, { field: '__metadata__' });
    texts.push([key, item]);
    if (texts.length > MAX_METADATA)
      throw bad(`__metadata__ has more than ${MAX_METADATA} entries`, { field: '__metadata__' });
    await pause();
  }
  return Object.fromEntries(texts);
}

function isSize(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

function checkEntry(name: string, value: unknown): SafetensorsEntry {
  const field = (problem: string, which: string) =>
    bad(`tensor ${show(name)}: ${problem}`, { tensor: name, field: which });
  if (typeof value !== 'object' || value === null) throw field('its entry is no object', 'entry');
  const { dtype, shape, data_offsets: offsets } = value as Record<string, unknown>;
  const bits = typeof dtype !== 'string' ? undefined : isDType(dtype) ? 8 * DTYPES[dtype].bytes : PACKED.get(dtype);
  if (typeof dtype !== 'string' || bits === undefined) throw field(`dtype ${show(dtype)} is not supported`, 'dtype');
  if (!Array.isArray(shape) || !shape.every(isSize))
    throw field(`shape ${show(shape)} is not a list of sizes (negative or not whole)`, 'shape');
  if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every(isSize) || offsets[0]! > offsets[1]!) {
    throw field(`offsets ${show(offsets)} are not a range (negative, not whole or reversed)`, 'data_offsets');
  }
  if (name.length > MAX_NAME) throw field(`its name has ${name.length} characters (limit ${MAX_NAME})`, 'name');
  const [begin, end] = offsets as [number, number];
  const bytes = shape.reduce((product: number, dim: number) => product * dim, bits) / 8;
  if (bytes !== end - begin)
    throw field(
      `shape ${show(shape)} of ${dtype} has a size of ${bytes} bytes but the offsets span ${end - begin}`,
      'shape',
    );
  return { name, dtype: isDType(dtype) ? dtype : undefined, typeName: dtype, shape, begin, end };
}

/** Tensors must cover the data section exactly: no overlap, no hole, nothing beyond, nothing left. */
function checkLayout(entries: readonly SafetensorsEntry[], dataBytes: number): void {
  let at = 0;
  for (const { name, begin, end } of [...entries].sort((a, b) => a.begin - b.begin || a.end - b.end)) {
    if (begin < at)
      throw bad(`tensor ${show(name)}: offset ${begin} makes it overlap the one before`, {
        tensor: name,
        field: 'data_offsets',
      });
    if (begin > at)
      throw bad(`tensor ${show(name)}: a hole of ${begin - at} bytes before its offset ${begin}`, {
        tensor: name,
        field: 'data_offsets',
      });
    if (end > dataBytes)
      throw bad(
        `truncated: tensor ${show(name)} ends at byte ${end} of ${dataBytes} (out of bounds): it takes ${end - begin} bytes, ${Math.max(dataBytes - begin, 0)} are left`,
        { tensor: name, field: 'data_offsets', needed: end - begin, left: Math.max(dataBytes - begin, 0) },
      );
    at = end;
  }
  if (at !== dataBytes) throw bad(`${dataBytes - at} trailing bytes after the last tensor`, { offset: at });
}
