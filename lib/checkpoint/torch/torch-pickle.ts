import { DTYPES, type DType } from '../../tensor/dtype';
import { NUMPY_FILE_HOST, NUMPY_HOST } from '../numpy/numpy-pickle';
import type { PickleHost } from '../pickle/pickle-machine';
import { PyGlobal, PyTuple, type PyValue } from '../pickle/python-values';

/** A record of raw bytes beside the pickle. */
export class TorchStorage {
  constructor(
    /** Class in the file, such as `torch.FloatStorage`. */
    readonly className: string,
    readonly key: string,
    /** Elements, as the pickle claims; the legacy format has no other place for it. */
    readonly count: PyValue = null,
    /** First element, where the storage is a view of another (files of torch 0.3 and before). */
    readonly begin: PyValue = 0,
  ) {}
}

/** A tensor as the pickle describes it: a strided window on a storage. Nothing in it has been checked yet. */
export class TorchTensor {
  constructor(
    readonly storage: PyValue,
    readonly offset: PyValue,
    readonly size: PyValue,
    readonly stride: PyValue,
    /** Set where the storage has no type of its own (`_rebuild_tensor_v3`). */
    readonly dtype: PyValue = null,
  ) {}
}

/** A kind of tensor that this package does not read (quantised, sparse, on the meta device). */
export class UnsupportedTensor {
  constructor(
    readonly kind: string,
    /** Made by a known function from arguments that it does not take. */
    readonly damaged = false,
  ) {}
}

const STORAGES: Readonly<Record<string, DType>> = {
  DoubleStorage: 'F64',
  FloatStorage: 'F32',
  HalfStorage: 'F16',
  BFloat16Storage: 'BF16',
  LongStorage: 'I64',
  IntStorage: 'I32',
  ShortStorage: 'I16',
  CharStorage: 'I8',
  ByteStorage: 'U8',
  BoolStorage: 'BOOL',
  ComplexFloatStorage: 'C64',
};

const DTYPE_NAMES: Readonly<Record<string, DType>> = {
  float64: 'F64',
  float32: 'F32',
  float16: 'F16',
  bfloat16: 'BF16',
  int64: 'I64',
  int32: 'I32',
  int16: 'I16',
  int8: 'I8',
  uint8: 'U8',
  bool: 'BOOL',
  uint16: 'U16',
  uint32: 'U32',
  uint64: 'U64',
  complex64: 'C64',
  float8_e4m3fn: 'F8_E4M3',
  float8_e5m2: 'F8_E5M2',
  float8_e8m0fnu: 'F8_E8M0',
  float8_e4m3fnuz: 'F8_E4M3FNUZ',
  float8_e5m2fnuz: 'F8_E5M2FNUZ',
};

/** What torch calls a type (`torch.float32`, without its module). */
export function torchName(dtype: DType): string {
  return Object.keys(DTYPE_NAMES).find((name) => DTYPE_NAMES[name] === dtype)!;
}

/** The class of a type's storages; undefined for one that has none of its own. */
export function storageClass(dtype: DType): string | undefined {
  return Object.keys(STORAGES).find((name) => STORAGES[name] === dtype);
}

/** Bytes of an element of a storage class, also of those whose tensors are not read; undefined for one that is not known. */
export function storageWidth(className: string): number | undefined {
  const name = className.replace(/^torch\.(?:cuda\.)?/, '');
  const dtype = lookUp(STORAGES, name);
  return dtype === undefined ? OTHER_WIDTHS.get(name) : DTYPES[dtype].bytes;
}

/** Bytes of a storage, as the pickle claims; undefined where it says none. */
export function storageBytes(storage: TorchStorage | undefined): number | undefined {
  const width = storage === undefined ? undefined : storageWidth(storage.className);
  const { count } = storage ?? {};
  return width === undefined || !Number.isSafeInteger(count) || (count as number) < 0
    ? undefined
    : (count as number) * width;
}

const OTHER_WIDTHS: ReadonlyMap<string, number> = new Map([
  ['ComplexDoubleStorage', 16],
  ['QInt8Storage', 1],
  ['QUInt8Storage', 1],
  ['QInt32Storage', 4],
  ['QUInt4x2Storage', 1],
  ['QUInt2x4Storage', 1],
  ['UntypedStorage', 1],
  ['storage.UntypedStorage', 1],
]);

/** The dtype of a tensor, or undefined with the name that stands in the file. */
export function torchDType(tensor: TorchTensor): { dtype: DType | undefined; name: string } {
  if (tensor.dtype instanceof PyGlobal) {
    const name = tensor.dtype.name;
    return { dtype: lookUp(DTYPE_NAMES, name.replace(/^torch\./, '')), name };
  }
  const name = tensor.storage instanceof TorchStorage ? tensor.storage.className : 'no storage';
  return { dtype: lookUp(STORAGES, name.replace(/^torch\.(?:cuda\.)?/, '')), name };
}

function lookUp(table: Readonly<Record<string, DType>>, name: string): DType | undefined {
  return Object.hasOwn(table, name) ? table[name] : undefined;
}

/** What torch's own constructors mean as data. */
const CONSTRUCTORS: ReadonlyMap<string, (args: readonly PyValue[]) => PyValue | undefined> = new Map([
  ['torch._utils._rebuild_tensor', strided],
  ['torch._utils._rebuild_tensor_v2', strided],
  ['torch._utils._rebuild_tensor_v3', (args) => strided(args, args[6])],
  ['torch._utils._rebuild_parameter', first],
  ['torch._utils._rebuild_parameter_with_state', first],
  ['torch.nn.parameter.Parameter', first],
  ['torch._tensor._rebuild_from_type_v2', rebuildFromType],
  ['torch._utils._rebuild_qtensor', () => new UnsupportedTensor('a quantised tensor')],
  ['torch._utils._rebuild_sparse_tensor', () => new UnsupportedTensor('a sparse tensor')],
  ['torch.Size', (args) => (args[0] instanceof PyTuple ? args[0] : undefined)],
  ['collections.OrderedDict', mapOf],
  ['collections.defaultdict', () => new Map()],
  ['collections.Counter', mapOf],
  ['builtins.set', setOf],
  ['__builtin__.set', setOf],
  ['builtins.frozenset', setOf],
  ['__builtin__.frozenset', setOf],
] satisfies [string, (args: readonly PyValue[]) => PyValue | undefined][]);

const TENSOR_BUILDER = /^torch\.(?:_utils|_tensor)\._rebuild_/;

/** Teaches the pickle machine torch's vocabulary. */
export const TORCH_HOST: PickleHost = {
  ...NUMPY_HOST,
  construct: (name, args) =>
    CONSTRUCTORS.get(name)?.(args) ??
    NUMPY_HOST.construct(name, args) ??
    // Never an inert object: a weight must not vanish among the things that are skipped.
    (TENSOR_BUILDER.test(name)
      ? new UnsupportedTensor(`a tensor built by ${name}`, CONSTRUCTORS.has(name))
      : undefined),

  /** `('storage', class, key, location, number of elements[, view])` */
  persistent(id) {
    if (!(id instanceof PyTuple)) return undefined;
    const [tag, type, key, , count = null, view = null] = id.items;
    if (tag !== 'storage' || !(type instanceof PyGlobal) || typeof key !== 'string') return undefined;
    const begin = view instanceof PyTuple ? (view.items[1] ?? null) : 0;
    return new TorchStorage(type.name, key, count, begin);
  },
};

/** torch's vocabulary; what is said of each storage is noted. */
export function noting(described: Map<string, TorchStorage>): PickleHost {
  return {
    ...TORCH_HOST,
    persistent(id) {
      const storage = TORCH_HOST.persistent(id);
      if (storage instanceof TorchStorage) described.set(storage.key, storage);
      return storage;
    },
  };
}

/** The vocabulary of a pickle that is no file of torch's: numpy's arrays; tensors of torch have their elements elsewhere. */
export const BARE_HOST: PickleHost = {
  ...TORCH_HOST,
  construct: (name, args) =>
    NUMPY_FILE_HOST.construct(name, args) ??
    (TENSOR_BUILDER.test(name)
      ? new UnsupportedTensor('a tensor of torch that pickle wrote without torch.save')
      : TORCH_HOST.construct(name, args)),
};

/** A parameter is its tensor. */
function first(args: readonly PyValue[]): PyValue | undefined {
  return args[0];
}

function strided([storage, offset, size, stride]: readonly PyValue[], dtype: PyValue = null): PyValue | undefined {
  if (storage === undefined || offset === undefined || size === undefined || stride === undefined) return undefined;
  return new TorchTensor(storage, offset, size, stride, dtype);
}

/** `(function, class, arguments, state)`: a tensor with Python attributes, which carry no weights. */
function rebuildFromType([callable, , args]: readonly PyValue[]): PyValue | undefined {
  if (!(callable instanceof PyGlobal && args instanceof PyTuple)) return undefined;
  // Not itself again: a pickle can nest that as deep as it likes.
  if (!TENSOR_BUILDER.test(callable.name) || callable.name.endsWith('_rebuild_from_type_v2')) return undefined;
  return CONSTRUCTORS.get(callable.name)?.(args.items);
}

/** Empty, from a dict, or from a sequence of pairs. */
function mapOf([content]: readonly PyValue[]): PyValue | undefined {
  if (content === undefined) return new Map();
  if (content instanceof Map) return new Map(content);
  const pairs = Array.isArray(content) ? content : content instanceof PyTuple ? content.items : undefined;
  if (pairs === undefined) return undefined;
  const map = new Map<PyValue, PyValue>();
  for (const pair of pairs) {
    const [key, value] = Array.isArray(pair) ? pair : pair instanceof PyTuple ? pair.items : [];
    if (key === undefined || value === undefined) return undefined;
    map.set(key, value);
  }
  return map;
}

function setOf([content]: readonly PyValue[]): PyValue | undefined {
  if (content === undefined) return new Set();
  return Array.isArray(content) || content instanceof Set ? new Set(content) : undefined;
}
