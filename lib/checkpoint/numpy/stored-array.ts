import { RepfuseError } from '../../errors';
import { DTYPES } from '../../tensor/dtype';
import { formatShape } from '../../tensor/tensor';
import { type Allocate, allocate, type RandomAccess, readBytes } from '../files/random-access';
import { PyData, PyTuple, type PyValue } from '../pickle/python-values';
import { byteSize, bytesOfStored, MAX_RANK, type StoredTensor } from '../stored-tensor';
import { type ArrayLayout, arrange } from './arrange';
import { latin1, type NumpyArray, NumpyType, PartedArray } from './numpy-pickle';
import { numpyType } from './numpy-types';

/** Bytes of text that are decoded at a time. */
const CHUNK = 1 << 22;

/** What keeps an array from being read as a tensor: its type. Undefined where nothing does. */
export function arrayProblem({ type, data }: NumpyArray): string | undefined {
  if (!(type instanceof NumpyType)) return 'a numpy array without a type';
  if (type.structured || numpyType(type.name) === undefined) return `a numpy array of type ${type.name.slice(0, 40)}`;
  return Array.isArray(data) ? 'a numpy array of Python objects' : undefined;
}

/**
 * What a described array is as a tensor. Its sizes are checked before memory is taken.
 *
 * @param source the file of the pickle, where long strings lie
 * @throws ERR_REPFUSE_FORMAT naming the tensor (`details.tensor`, `details.field`); when it is read, for text that is no bytes
 */
export function storedArray(name: string, array: NumpyArray, source: RandomAccess): StoredTensor {
  const layout = layoutOf(name, array);
  const { dtype, shape } = layout;
  const bytes = byteSize(shape, DTYPES[dtype].bytes);
  if (bytes === undefined) throw bad(name, 'shape', `shape ${formatShape(shape)} is too large`);
  const take =
    array instanceof PartedArray ? joined(name, array, bytes, source) : contentOf(name, array.data, bytes, source);
  return {
    dtype,
    shape,
    exclusive: true,
    read: async (into) => arrange(await take(into ?? allocate), layout),
  };
}

function layoutOf(name: string, { type, shape, fortran }: NumpyArray): ArrayLayout {
  const { name: typeName, order } = type as NumpyType; // as `arrayProblem` has found
  const dims = shape instanceof PyTuple ? shape.items : Array.isArray(shape) ? (shape as PyValue[]) : undefined;
  if (
    dims === undefined ||
    dims.length > MAX_RANK ||
    !dims.every((dim) => Number.isSafeInteger(dim) && (dim as number) >= 0)
  )
    throw bad(name, 'shape', `its shape is no tuple of at most ${MAX_RANK} sizes`);
  return {
    dtype: numpyType(typeName)!,
    shape: dims as number[],
    fortran: fortran === true || fortran === 1,
    bigEndian: order === '>',
  };
}

type Take = (into: Allocate) => Promise<Uint8Array<ArrayBuffer>>;

function joined(name: string, { parts }: PartedArray, bytes: number, source: RandomAccess): Take {
  const tensors = parts.map((part) => storedArray(name, part, source));
  const sum = tensors.reduce((total, part) => total + bytesOfStored(part), 0);
  if (sum !== bytes) throw bad(name, 'data', `its shape takes ${bytes} bytes but its parts have ${sum}`);
  return async (into) => {
    const target = into(bytes);
    let at = 0;
    for (const part of tensors) {
      const { buffer, byteOffset, byteLength } = await part.read();
      target.set(new Uint8Array(buffer, byteOffset, byteLength), at);
      at += byteLength;
    }
    return target;
  };
}

/** Where an array's bytes come from: all of them have to be there. */
function contentOf(name: string, data: PyValue, bytes: number, source: RandomAccess): Take {
  const wrong = (length: number | string) =>
    bad(name, 'data', `its shape takes ${bytes} bytes but the file has ${length}`);
  if (data instanceof PyData) {
    const { offset, length, encoding } = data;
    const fits = encoding === 'bytes' ? length === bytes : length >= bytes && length <= 2 * bytes;
    if (!fits) throw wrong(encoding === 'bytes' ? length : `${length} of text`);
    if (encoding === 'bytes') return (into) => readBytes(source, offset, length, { allocate: into });
    return async (into) => {
      const target = into(bytes);
      const decoded = await decodeText(source, data, target);
      if (decoded !== bytes) throw wrong(decoded === undefined ? 'text that is no bytes' : `${decoded} of text`);
      return target;
    };
  }
  const known = data instanceof Uint8Array ? data : typeof data === 'string' ? bytesOfText(data, bytes) : undefined;
  if (known === undefined) throw bad(name, 'data', 'it has no bytes');
  if (known.length !== bytes) throw wrong(known.length);
  return async (into) => {
    const copy = into(bytes);
    copy.set(known);
    return copy;
  };
}

/** Bytes that a pickle has as text: Latin-1 in the first place, but strings of Python 2 may have been taken for UTF-8. */
function bytesOfText(text: string, bytes: number): Uint8Array | undefined {
  return text.length === bytes ? latin1(text) : Buffer.from(text);
}

/** Decodes UTF-8 text whose characters are bytes. @returns how many; undefined where it is no such text */
async function decodeText(
  source: RandomAccess,
  { offset, length }: PyData,
  into: Uint8Array,
): Promise<number | undefined> {
  let count = 0;
  let lead = 0; // the first byte of a character that takes two
  for (let at = 0; at < length; at += CHUNK) {
    for (const byte of await readBytes(source, offset + at, Math.min(CHUNK, length - at))) {
      if (lead !== 0) {
        if (byte >> 6 !== 2) return undefined;
        into[count++] = (lead << 6) | (byte & 0x3f);
        lead = 0;
      } else if (byte < 0x80) into[count++] = byte;
      else if (byte === 0xc2 || byte === 0xc3) lead = byte;
      else return undefined;
    }
  }
  return lead === 0 ? count : undefined;
}

function bad(tensor: string, field: string, problem: string): RepfuseError {
  return new RepfuseError('ERR_REPFUSE_FORMAT', `Bad array ${JSON.stringify(tensor)}: ${problem}`, { tensor, field });
}
