import { RepfuseError } from '../../errors';
import { DTYPES, type DType, isDType } from '../../tensor/dtype';
import { type RandomAccess, readBytes } from '../files/random-access';
import type { StoredTensor } from '../stored-tensor';

const MAX_HEADER = 100_000_000;
/** Objects and lists in a header: three a tensor are needed, and each costs far more memory than text. */
const MAX_VALUES = 1 << 22;

/** Where one tensor lies; offsets count from the end of the header. */
export interface SafetensorsEntry {
  readonly name: string;
  readonly dtype: DType;
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
 * Reads and checks a safetensors header: every size is checked before any memory is taken.
 *
 * @throws ERR_REPFUSE_FORMAT naming the tensor and field (`details.tensor`, `details.field`)
 */
export async function readSafetensorsHeader(source: RandomAccess): Promise<SafetensorsHeader> {
  if (source.size < 8) throw bad(`the file of ${source.size} bytes is too short for a header length`);
  const prefix = new Uint8Array(8);
  await source.read(0, prefix);
  const length = new DataView(prefix.buffer).getBigUint64(0, true);
  if (length > BigInt(MAX_HEADER)) throw bad(`header length ${length} is too large (limit ${MAX_HEADER})`);
  const headerBytes = Number(length);
  if (8 + headerBytes > source.size) throw bad(`truncated: header of ${headerBytes} bytes in a file of ${source.size}`);
  const bytes = await readBytes(source, 8, headerBytes);
  const header = parseHeader(decodeHeader(bytes));
  const dataStart = 8 + headerBytes;
  const metadata = checkMetadata(header.__metadata__);
  const entries = Object.keys(header)
    .filter((name) => name !== '__metadata__')
    .map((name) => checkEntry(name, header[name]));
  checkLayout(entries, source.size - dataStart);
  return { entries, metadata, dataStart };
}

/** The tensors of a safetensors file, in the order of the header. @throws as `readSafetensorsHeader` */
export async function readSafetensors(
  source: RandomAccess,
): Promise<{ readonly tensors: Map<string, StoredTensor>; readonly metadata: Readonly<Record<string, string>> }> {
  const { entries, metadata, dataStart } = await readSafetensorsHeader(source);
  const tensors = new Map<string, StoredTensor>();
  for (const { name, dtype, shape, begin, end } of entries) {
    const { array, bytes: width } = DTYPES[dtype];
    const read: StoredTensor['read'] = async (allocate) => {
      const bytes = await readBytes(source, dataStart + begin, end - begin, { allocate });
      return new array(bytes.buffer, bytes.byteOffset, bytes.length / width);
    };
    tensors.set(name, { dtype, shape, exclusive: true, read });
  }
  return { tensors, metadata };
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

/** JSON.parse keeps the last of two equal names in silence, and gives `__proto__` a meaning; both are handled here. */
function parseHeader(text: string): Record<string, unknown> {
  if (!text.startsWith('{')) throw bad('the header is no JSON object', { field: 'header' });
  const duplicate = duplicateKey(text);
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch (cause) {
    throw new RepfuseError(
      'ERR_REPFUSE_FORMAT',
      `Bad safetensors file: the header is not JSON (${(cause as Error).message})`,
      { field: 'header' },
      { cause },
    );
  }
  if (duplicate !== undefined) throw bad(`duplicate name ${show(duplicate)} in the header`, { tensor: duplicate });
  // JSON.parse makes __proto__ an own property, so copying entries keeps it a mere name.
  return Object.assign(Object.create(null), Object.fromEntries(Object.entries(parsed as object)));
}

/** The first key that an object of a JSON text has twice; undefined also for text that is not JSON. */
function duplicateKey(text: string): string | undefined {
  /** Keys of the objects around the cursor; undefined for a list. */
  const open: (Set<string> | undefined)[] = [];
  let values = 0;
  let expectKey = false;
  for (let i = 0; i < text.length; i++) {
    const c = text[i]!;
    if (c === '"') {
      let end = i + 1;
      while (end < text.length && text[end] !== '"') end += text[end] === '\\' ? 2 : 1;
      if (expectKey) {
        const key = parseString(text.slice(i, end + 1));
        const keys = open.at(-1);
        if (key === undefined || keys?.has(key)) return key;
        keys?.add(key);
        expectKey = false;
      }
      i = end;
    } else if (c === '{' || c === '[') {
      open.push(c === '{' ? new Set() : undefined);
      expectKey = c === '{';
      if (++values > MAX_VALUES) throw bad(`more than ${MAX_VALUES} values in the header`, { field: 'header' });
    } else if (c === '}' || c === ']') {
      open.pop();
    } else if (c === ',') {
      expectKey = open.at(-1) !== undefined;
    }
  }
  return undefined;
}

function parseString(literal: string): string | undefined {
  try {
    return JSON.parse(literal);
  } catch {
    return undefined;
  }
}

function checkMetadata(value: unknown): Readonly<Record<string, string>> {
  if (value === undefined) return {};
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw bad('__metadata__ is no object', { field: '__metadata__' });
  for (const [key, item] of Object.entries(value)) {
    if (typeof item !== 'string') throw bad(`__metadata__ entry ${show(key)} is no string`, { field: '__metadata__' });
  }
  return value as Record<string, string>;
}

function isSize(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

function checkEntry(name: string, value: unknown): SafetensorsEntry {
  const field = (problem: string, which: string) =>
    bad(`tensor ${show(name)}: ${problem}`, { tensor: name, field: which });
  if (typeof value !== 'object' || value === null) throw field('its entry is no object', 'entry');
  const { dtype, shape, data_offsets: offsets } = value as Record<string, unknown>;
  if (typeof dtype !== 'string' || !isDType(dtype)) throw field(`dtype ${show(dtype)} is not supported`, 'dtype');
  if (!Array.isArray(shape) || !shape.every(isSize))
    throw field(`shape ${show(shape)} is not a list of sizes (negative or not whole)`, 'shape');
  if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every(isSize) || offsets[0]! > offsets[1]!) {
    throw field(`offsets ${show(offsets)} are not a range (negative, not whole or reversed)`, 'data_offsets');
  }
  const [begin, end] = offsets as [number, number];
  const bytes = shape.reduce((product: number, dim: number) => product * dim, DTYPES[dtype].bytes);
  if (bytes !== end - begin)
    throw field(
      `shape ${show(shape)} of ${dtype} has a size of ${bytes} bytes but the offsets span ${end - begin}`,
      'shape',
    );
  return { name, dtype, shape, begin, end };
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
      throw bad(`truncated: tensor ${show(name)} ends at byte ${end} of ${dataBytes} (out of bounds)`, {
        tensor: name,
        field: 'data_offsets',
      });
    at = end;
  }
  if (at !== dataBytes) throw bad(`${dataBytes - at} trailing bytes after the last tensor`, { offset: at });
}
