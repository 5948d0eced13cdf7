import type { PickleHost } from '../pickle/pickle-machine';
import { PyData, PyGlobal, PyTuple, type PyValue } from '../pickle/python-values';

/** A numpy type as a pickle describes it. */
export class NumpyType {
  /** `<`, `>`, `|` or `=`. */
  order: PyValue = '=';
  /** Of several fields, or an array itself. */
  structured = false;

  constructor(
    /** `f4`, or the name of a class. */
    readonly name: string,
  ) {}
}

/** A numpy array as a pickle describes it. Nothing in it has been checked yet. */
export class NumpyArray {
  shape: PyValue = null;
  type: PyValue = null;
  fortran: PyValue = false;
  data: PyValue = null;
}

/** A number of numpy: an array without axes, which counts as a weight only among weights. */
export class NumpyScalar extends NumpyArray {}

/** An array whose elements are those of others, one after the other. */
export class PartedArray extends NumpyArray {
  constructor(readonly parts: readonly NumpyArray[]) {
    super();
  }
}

type Construct = (args: readonly PyValue[]) => PyValue | undefined;

const CONSTRUCTORS: ReadonlyMap<string, Construct> = new Map<string, Construct>([
  ...under('numpy', 'multiarray._reconstruct', () => new NumpyArray()),
  ...under('numpy', 'numeric._frombuffer', fromBuffer),
  ['numpy.dtype', typeOf],
  ['_codecs.encode', encode],
]);

/** What only a file of weights of numpy's needs: what stands for a weight there. */
const OF_WEIGHTS: ReadonlyMap<string, Construct> = new Map<string, Construct>([
  ...under('numpy', 'multiarray.scalar', scalar),
  ...['builtins', '__builtin__'].flatMap((module): [string, Construct][] => [
    [`${module}.tuple`, tupleOf],
    [`${module}.bytes`, bytesOf],
    [`${module}.bytearray`, bytesOf],
    [`${module}.eval`, lodTensor],
  ]),
]);

/** numpy's vocabulary: arrays. Nothing is called; what they hold is checked when they are read. */
export const NUMPY_HOST: PickleHost = {
  construct: (name, args) => CONSTRUCTORS.get(name)?.(args),
  persistent: () => undefined,
  build(target, state) {
    const items = state instanceof PyTuple ? state.items : [];
    // The version comes first, since numpy 1.0.
    if (target instanceof NumpyArray) {
      const [shape = null, type = null, fortran = null, data = null] = items.length > 4 ? items.slice(1) : items;
      fill(target, shape, type, fortran, data);
    } else if (target instanceof NumpyType) {
      const [, order, subtype, names] = items;
      target.order = order ?? null;
      target.structured = (subtype ?? null) !== null || (names ?? null) !== null;
    }
  },
};

/** The same for a file that holds nothing but numpy's weights. */
export const NUMPY_FILE_HOST: PickleHost = {
  ...NUMPY_HOST,
  construct: (name, args) => (OF_WEIGHTS.get(name) ?? CONSTRUCTORS.get(name))?.(args),
};

/** numpy 2 renamed its core. */
function under(library: string, name: string, construct: Construct): [string, Construct][] {
  return [
    [`${library}.core.${name}`, construct],
    [`${library}._core.${name}`, construct],
  ];
}

function fill(array: NumpyArray, shape: PyValue, type: PyValue, fortran: PyValue, data: PyValue): NumpyArray {
  return Object.assign(array, { shape, type, fortran, data });
}

/** `(buffer, type, shape, order)`: protocol 5. */
function fromBuffer([data = null, type = null, shape = null, order = 'C']: readonly PyValue[]): PyValue {
  return fill(new NumpyArray(), shape, type, order === 'F', data);
}

function scalar([type = null, data = null]: readonly PyValue[]): PyValue {
  return fill(new NumpyScalar(), new PyTuple([]), type, false, data);
}

function typeOf([name]: readonly PyValue[]): PyValue | undefined {
  if (typeof name === 'string') return new NumpyType(name.replace(/^[|=<>]/, ''));
  return name instanceof PyGlobal ? new NumpyType(name.name) : undefined;
}

/** Bytes as protocol 2 writes them: text of which every character is one. */
function encode([text, encoding]: readonly PyValue[]): PyValue | undefined {
  if (encoding !== 'latin1' && encoding !== 'latin-1') return undefined;
  if (text instanceof PyData) return text;
  return typeof text === 'string' ? latin1(text) : undefined;
}

/** The bytes that a text stands for; undefined where it has other characters. */
export function latin1(text: string): Uint8Array | undefined {
  for (let i = 0; i < text.length; i++) if (text.charCodeAt(i) > 255) return undefined;
  return new Uint8Array(Buffer.from(text, 'latin1'));
}

function bytesOf([content, encoding]: readonly PyValue[]): PyValue | undefined {
  if (content === undefined) return new Uint8Array();
  if (content instanceof Uint8Array || content instanceof PyData) return content;
  return encode([content, encoding ?? null]);
}

/** A tensor of Paddle's is a tuple of its name and its values. */
function tupleOf([content]: readonly PyValue[]): PyValue | undefined {
  if (content instanceof PyTuple) return content;
  return Array.isArray(content) ? new PyTuple(content) : undefined;
}

/** Paddle's static graphs write `eval('data', {'data': array})`, of which this very form is read as the array; nothing is evaluated. */
function lodTensor([expression, names]: readonly PyValue[]): PyValue | undefined {
  const array = expression === 'data' && names instanceof Map && names.size === 1 ? names.get('data') : undefined;
  return array instanceof NumpyArray ? array : undefined;
}
