import { RepfuseError } from '../../errors';
import { DTYPES, type DType, elementsOf } from '../../tensor/dtype';
import { Tensor } from '../../tensor/tensor';
import { type RandomAccess, readBytes } from '../files/random-access';
import type { ArrayLayout } from '../numpy/arrange';
import { numpyDescription, numpyType } from '../numpy/numpy-types';
import { byteSize, MAX_RANK } from '../stored-tensor';

/** NumPy's own limit is 10,000 unless told otherwise. */
const MAX_HEADER = 1 << 16;
const MAGIC = '\x93NUMPY';
/** Types that are computed with. */
const PLAIN: readonly DType[] = ['F64', 'F32', 'F16', 'I64', 'I32', 'I16', 'I8', 'U8', 'BOOL'];

/** Whether a file begins as a `.npy` file does. */
export async function isNpy(source: RandomAccess): Promise<boolean> {
  return latin1(await readBytes(source, 0, Math.min(MAGIC.length, source.size))) === MAGIC;
}

/** What stands before the data of an array. */
export interface NpyHeader extends Omit<ArrayLayout, 'dtype'> {
  /** numpy's description of the type, as it stands there. */
  readonly descr: string;
  /** undefined for a type that is not known. */
  readonly dtype: DType | undefined;
  readonly dataStart: number;
}

/**
 * Reads a NumPy array (`.npy`, format versions 1 to 3): little endian, C order, a plain number type. Every size is checked before
 * memory is taken.
 *
 * @throws ERR_REPFUSE_FORMAT for a damaged file, ERR_REPFUSE_UNSUPPORTED_FORMAT for another type or order; `details.field` names what is wrong
 */
export async function readNpy(source: RandomAccess): Promise<Tensor> {
  const { dtype, descr, fortran, bigEndian, shape, dataStart } = await readNpyHeader(source);
  if (fortran) throw unsupported('fortran_order', 'an array in Fortran order: save numpy.ascontiguousarray(a)');
  if (dtype === undefined || bigEndian || !PLAIN.includes(dtype))
    throw unsupported(
      'descr',
      `an array of type ${descr.slice(0, 40)}: save a.astype('<f4') or another plain number type`,
    );
  const { buffer, length } = await readBytes(source, dataStart, source.size - dataStart);
  return new Tensor(dtype, shape, elementsOf(dtype, buffer, 0, length));
}

/**
 * Reads what stands before the data of an array, which takes the rest of the file.
 *
 * @throws ERR_REPFUSE_FORMAT for a damaged file, ERR_REPFUSE_UNSUPPORTED_FORMAT for a newer version
 */
export async function readNpyHeader(source: RandomAccess): Promise<NpyHeader> {
  const { header, dataStart } = await readHeader(source);
  const { descr, fortran, shape } = parseHeader(header);
  const type = /^'([<>|=]?)([a-z]\d+)'$/.exec(descr);
  const dtype = type === null ? undefined : numpyType(type[2]!);
  const rest = { descr, shape, fortran, bigEndian: type?.[1] === '>', dataStart };
  if (dtype === undefined) return { ...rest, dtype };
  const length = byteSize(shape, DTYPES[dtype].bytes) ?? Number.POSITIVE_INFINITY;
  const left = source.size - dataStart;
  if (length !== left) {
    const problem = length > left ? 'truncated' : `${left - length} trailing bytes`;
    throw bad('shape', `${problem}: shape (${shape.join(', ')}) of ${dtype} takes ${length} bytes of ${left}`);
  }
  return { ...rest, dtype };
}

/** The header of a `.npy` file (version 1), padded so that the data begin at a multiple of 64 bytes; undefined for a type that numpy lacks. */
export function npyHeader(dtype: DType, shape: readonly number[]): Uint8Array | undefined {
  const descr = numpyDescription(dtype);
  if (descr === undefined) return undefined;
  const tuple = shape.length === 1 ? `(${shape[0]},)` : `(${shape.join(', ')})`;
  const text = `{'descr': '${descr}', 'fortran_order': False, 'shape': ${tuple}, }`;
  const length = Math.ceil((10 + text.length + 1) / 64) * 64 - 10;
  const header = Buffer.from(`${MAGIC}\x01\x00..${text.padEnd(length - 1)}\n`, 'latin1');
  header.writeUInt16LE(length, 8);
  return header;
}

async function readHeader(source: RandomAccess): Promise<{ header: string; dataStart: number }> {
  const start = await readBytes(source, 0, Math.min(12, source.size));
  if (start.length < 12 || latin1(start.subarray(0, 6)) !== MAGIC)
    throw bad('magic', 'it does not begin as a .npy file');
  const version = start[6]!;
  if (version < 1 || version > 3) {
    throw unsupported('version', `a .npy file of version ${version}.${start[7]}, newer than 3.0`);
  }
  const view = new DataView(start.buffer);
  const headerStart = version === 1 ? 10 : 12;
  const length = version === 1 ? view.getUint16(8, true) : view.getUint32(8, true);
  if (length > MAX_HEADER) throw bad('header', `header of ${length} bytes is too large (limit ${MAX_HEADER})`);
  return { header: latin1(await readBytes(source, headerStart, length)), dataStart: headerStart + length };
}

/** The header is the text of a Python dict with exactly three keys, in any order. */
function parseHeader(text: string): Pick<NpyHeader, 'descr' | 'fortran' | 'shape'> {
  const entry = /\s*'(descr|fortran_order|shape)'\s*:\s*('[^']*'|True|False|\([\d\sL,]*\)|\[.*\])\s*(,|(?=\}))/y;
  const fields = new Map<string, string>();
  const open = /^\s*\{/.exec(text);
  let at = open === null ? -1 : open[0].length;
  while (at >= 0) {
    entry.lastIndex = at;
    const match = entry.exec(text);
    if (match === null) break;
    if (fields.has(match[1]!)) throw bad('header', `duplicate key ${match[1]} in the header`);
    fields.set(match[1]!, match[2]!);
    at = entry.lastIndex;
  }
  const [descr, order, shape] = ['descr', 'fortran_order', 'shape'].map((key) => fields.get(key));
  if (descr === undefined || order === undefined || shape === undefined || !/^\s*\}\s*$/.test(text.slice(at))) {
    throw bad('header', `header ${JSON.stringify(text.slice(0, 80))} is no dict of descr, fortran_order and shape`);
  }
  return { descr, fortran: order === 'True', shape: parseShape(shape) };
}

function parseShape(text: string): readonly number[] {
  const inner = text.slice(1, -1).trim();
  const items = inner === '' ? [] : inner.replace(/,$/, '').split(',');
  const shape = items.map((item) => (/^\s*\d+L?\s*$/.test(item) ? Number.parseInt(item, 10) : Number.NaN));
  if (shape.length > MAX_RANK || !shape.every(Number.isSafeInteger)) {
    throw bad('shape', `shape ${text.slice(0, 80)} is no tuple of sizes`);
  }
  return shape;
}

function latin1(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('latin1');
}

function bad(field: string, problem: string): RepfuseError {
  return new RepfuseError('ERR_REPFUSE_FORMAT', `Bad .npy file: ${problem}`, { field });
}

function unsupported(field: string, what: string): RepfuseError {
  return new RepfuseError('ERR_REPFUSE_UNSUPPORTED_FORMAT', `Expected a plain .npy array but received ${what}`, {
    field,
  });
}
