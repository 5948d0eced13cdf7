import { types } from 'node:util';
import { printable } from '../printable';

const SHOWN_CHARACTERS = 60;
const SHOWN_ITEMS = 8;
/** A text in quotes, cut at a length, with nothing in it that a terminal would act on. */
export function quote(text: string, longest = SHOWN_CHARACTERS): string {
  const cut = text.length <= longest ? text : `${text.slice(0, longest)}...`;
  return printable(JSON.stringify(cut));
}

/** A value in a few words, whatever it is: never what a buffer holds. Throws nothing, even where looking at the value does. */
export function show(value: unknown): string {
  try {
    return describe(value);
  } catch {
    return 'an object that cannot be looked at';
  }
}

function describe(value: unknown): string {
  switch (typeof value) {
    case 'string':
      return quote(value);
    case 'bigint':
      return value < 10n ** 20n && value > -(10n ** 20n) ? `${value}n` : 'a huge bigint';
    case 'symbol':
      return `the symbol ${quote(value.description ?? '')}`;
    case 'function':
      return 'a function';
    case 'object':
      return value === null ? 'null' : describeObject(value);
    default:
      return String(value);
  }
}

function describeObject(value: object): string {
  if (types.isProxy(value)) return 'a Proxy';
  if (Array.isArray(value)) return describeArray(value);
  if (types.isTypedArray(value)) return `${value[Symbol.toStringTag]} of ${value.length} elements`;
  if (types.isAnyArrayBuffer(value)) return `ArrayBuffer of ${value.byteLength} bytes`;
  if (types.isMap(value)) return `a Map of ${value.size}`;
  if (types.isSet(value)) return `a Set of ${value.size}`;
  for (const [name, is] of Object.entries(KINDS)) if (is(value)) return name;
  if (isTensorLike(value)) return describeTensor(value);
  const name = Object.getPrototypeOf(value) === null ? 'Object' : classOf(value);
  if (name === 'Object') return Object.keys(value).length === 0 ? 'an empty object' : 'an object';
  return name === undefined ? 'an object' : `an object of class ${name}`;
}

const KINDS: Readonly<Record<string, (value: object) => boolean>> = {
  'a Date': types.isDate,
  'an Error': types.isNativeError,
  'a Promise': types.isPromise,
  'a regular expression': types.isRegExp,
  'a DataView': types.isDataView,
};

function describeArray(items: readonly unknown[]): string {
  const simple = items.every((item) => ['number', 'string', 'boolean', 'undefined'].includes(typeof item));
  if (items.length > SHOWN_ITEMS || !simple) return `an array of ${items.length}`;
  return `[${items.map(describe).join(', ')}]`;
}

/** Its class is in another room, and may be that of another copy of this package. */
function isTensorLike(value: object): value is TensorLike {
  const { dtype, shape } = value as { dtype?: unknown; shape?: unknown };
  return typeof dtype === 'string' && /^[A-Z0-9_]{2,12}$/.test(dtype) && Array.isArray(shape) && 'data' in value;
}

interface TensorLike {
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly data: unknown;
}

function describeTensor({ dtype, shape, data }: TensorLike): string {
  const count = shape.reduce((product, dim) => product * dim, 1);
  const isWhole = types.isTypedArray(data) && data.length === count;
  return `Tensor ${describeArray(shape)} ${dtype.toLowerCase()}${isWhole ? '' : ' whose elements are gone (its buffer was detached or resized)'}`;
}

function classOf(value: object): string | undefined {
  const name = Object.getPrototypeOf(value)?.constructor?.name;
  return typeof name === 'string' && /^[A-Za-z]\w{0,40}$/.test(name) ? name : undefined;
}
