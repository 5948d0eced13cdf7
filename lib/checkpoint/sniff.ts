import { RepfuseError } from '../errors';
import type { RandomAccess } from './files/random-access';

/** How many bytes the rules look at. */
export const HEAD = 512;

/** What a file is by its first bytes. A zip archive may be torch's or numpy's; an ONNX model is no checkpoint. */
export type Kind = CheckpointKind | 'onnx';
export type CheckpointKind = 'safetensors' | 'index' | 'torch-legacy' | 'zip' | 'pickle';

interface Signature {
  readonly kind: Kind | { readonly unsupported: string };
  readonly matches: (head: Uint8Array, size: number) => boolean;
}

/** The first that matches decides. A name says nothing: `.pth`, `.pt`, `.ckpt` and `.bin` hold any of these. */
const SIGNATURES: readonly Signature[] = [
  // First, because its header length may look like any other format's magic number.
  { kind: 'safetensors', matches: (head, size) => jsonAfterLength(head, '{') && headerLength(head) <= size - 8 },
  { kind: 'zip', matches: startsWith([0x50, 0x4b, 0x03, 0x04]) },
  { kind: 'zip', matches: startsWith([0x50, 0x4b, 0x05, 0x06]) }, // an empty archive
  {
    kind: 'torch-legacy', // a pickle of torch's magic number
    matches: (head) => [0x02, 0x03, 0x04, 0x05].includes(head[1]!) && includes(head.subarray(0, 32), LEGACY_MAGIC),
  },
  { kind: 'pickle', matches: (head) => head[0] === 0x80 && head[1]! >= 2 && head[1]! <= 5 },
  // Protocols 0 and 1 have no mark of their own: a dict, or an OrderedDict.
  { kind: 'pickle', matches: (head) => /^(?:\(d|\}q.\(|ccollections\nOrderedDict\n)/s.test(latin1(head)) },
  { kind: 'index', matches: (head) => /^\s*\{\s*"(?:metadata|weight_map)"\s*:/.test(latin1(head)) },
  { kind: { unsupported: 'an HDF5 file' }, matches: startsWith([0x89, 0x48, 0x44, 0x46, 0x0d, 0x0a, 0x1a, 0x0a]) },
  { kind: { unsupported: 'a NumPy array (.npy), which is no state dict' }, matches: startsWith(ascii('\x93NUMPY')) },
  { kind: { unsupported: 'a GGUF file' }, matches: startsWith(ascii('GGUF')) },
  { kind: { unsupported: 'a gzip file: unpack it first' }, matches: startsWith([0x1f, 0x8b]) },
  {
    kind: { unsupported: 'a tar file: unpack it first' },
    matches: (head) => includes(head.subarray(257, 262), ascii('ustar')),
  },
  {
    kind: { unsupported: 'a git-lfs pointer instead of the file: fetch it with `git lfs pull`' },
    matches: startsWith(ascii('version https://git-lfs')),
  },
  {
    kind: { unsupported: 'an HTML page (a failed download?)' },
    matches: (head) => /^\s*<(?:!doctype|html|head|\?xml)/i.test(String.fromCharCode(...head.subarray(0, 64))),
  },
  // Damaged ones, for the reader to say what is wrong.
  { kind: 'safetensors', matches: (head) => jsonAfterLength(head, '{') },
  { kind: 'safetensors', matches: (head, size) => jsonAfterLength(head, '[') && headerLength(head) <= size - 8 },
  { kind: 'onnx', matches: isOnnx },
];

/** torch's magic number as protocol 2 writes it: LONG1, 10 bytes. */
const LEGACY_MAGIC = [0x8a, 0x0a, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];

/**
 * Tells the format of a file from its first bytes.
 *
 * @throws ERR_REPFUSE_UNSUPPORTED_FORMAT naming a format that is recognised but not read; ERR_REPFUSE_FORMAT for any other
 */
export async function sniff(source: RandomAccess): Promise<Kind> {
  const head = new Uint8Array(Math.min(HEAD, source.size));
  if (head.length > 0) await source.read(0, head);
  return kindOfHead(head, source.size);
}

/**
 * The same from the first bytes themselves, `HEAD` of them or all that there are.
 *
 * @param size of the whole file, in bytes
 */
export function kindOfHead(head: Uint8Array, size: number): Kind {
  if (size === 0) throw new RepfuseError('ERR_REPFUSE_FORMAT', 'Expected a checkpoint but the file is empty');
  const kind = SIGNATURES.find(({ matches }) => matches(head, size))?.kind;
  if (typeof kind === 'string') return kind;
  if (kind !== undefined) throw noCheckpoint(kind.unsupported);
  if (size < 8) {
    throw new RepfuseError('ERR_REPFUSE_FORMAT', `Expected a checkpoint but the file of ${size} bytes is too short`);
  }
  const bytes = [...head.subarray(0, 8)].map((byte) => byte.toString(16).padStart(2, '0')).join(' ');
  throw new RepfuseError(
    'ERR_REPFUSE_FORMAT',
    `Expected a torch, safetensors or npz checkpoint but the format is not recognised (first bytes ${bytes})`,
    { received: bytes },
  );
}

/** What is recognised, and is no checkpoint. */
export function noCheckpoint(received: string): RepfuseError {
  return new RepfuseError(
    'ERR_REPFUSE_UNSUPPORTED_FORMAT',
    `Expected a torch, safetensors or npz checkpoint but received ${received}`,
    { received },
  );
}

function startsWith(prefix: readonly number[]): (head: Uint8Array) => boolean {
  return (head) => prefix.every((byte, i) => head[i] === byte);
}

function ascii(text: string): readonly number[] {
  return [...text].map((char) => char.charCodeAt(0));
}

function latin1(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('latin1');
}

function includes(bytes: Uint8Array, pattern: readonly number[]): boolean {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).includes(Buffer.from(pattern));
}

function headerLength(head: Uint8Array): number {
  return Number(new DataView(head.buffer, head.byteOffset).getBigUint64(0, true));
}

function jsonAfterLength(head: Uint8Array, first: string): boolean {
  return head[8] === first.charCodeAt(0);
}

/** A protobuf ModelProto as exporters write it: field 1 (ir_version, small), then a length-delimited field. */
function isOnnx(head: Uint8Array): boolean {
  return head[0] === 0x08 && head[1]! > 0 && head[1]! < 32 && [0x12, 0x1a, 0x22, 0x32, 0x3a, 0x42].includes(head[2]!);
}
