import { formatShape } from '../tensor/tensor';
import { NumpyArray, NumpyType } from './numpy/numpy-pickle';
import { PyData, PyFloat, PyGlobal, PyObject, PyTuple, type PyValue } from './pickle/python-values';
import { shorten } from './shorten';
import { TorchStorage, TorchTensor, torchDType, UnsupportedTensor } from './torch/torch-pickle';

/** What a value of a pickle is, in a few words: `dict of 3`, `number 12`, `argparse.Namespace (not executed)`. */
export function showValue(value: PyValue): string {
  if (value === null) return 'None';
  if (typeof value === 'string') return `string ${JSON.stringify(shorten(value))}`;
  if (typeof value === 'boolean') return value ? 'True' : 'False';
  if (typeof value === 'number') return `number ${value}`;
  if (typeof value === 'bigint') return value.toString(16).length > 40 ? 'a huge number' : `number ${value}`;
  if (value instanceof PyFloat) return `number ${value.value}`;
  if (value instanceof TorchTensor) return describeTensor(value);
  if (value instanceof NumpyArray) return `numpy array${shapeText(value.shape)}`;
  if (value instanceof NumpyType) return `numpy type ${shorten(value.name)}`;
  if (value instanceof PyData)
    return value.encoding === 'utf8' ? `text of ${value.length} bytes` : `${value.length} bytes`;
  if (value instanceof UnsupportedTensor) return value.kind;
  if (value instanceof TorchStorage) return `storage ${shorten(value.className)}`;
  if (value instanceof PyGlobal) return `name ${shorten(value.name)}`;
  if (value instanceof PyObject) return `${shorten(className(value))} (not executed)`;
  if (value instanceof PyTuple) return `tuple of ${value.items.length}`;
  if (Array.isArray(value)) return `list of ${value.length}`;
  if (value instanceof Map) return `dict of ${value.size}`;
  if (value instanceof Set) return `set of ${value.size}`;
  if (value instanceof Uint8Array) return `${value.length} bytes`;
  return 'an object';
}

/** The class of an inert object; protocols 0 and 1 hide it in the arguments of a helper. */
export function className(value: PyObject): string {
  const [first] = value.args;
  return value.className === 'copyreg._reconstructor' || value.className === 'copy_reg._reconstructor'
    ? first instanceof PyGlobal
      ? first.name
      : value.className
    : value.className;
}

function describeTensor(tensor: TorchTensor): string {
  const { dtype, name } = torchDType(tensor);
  return `tensor ${dtype ?? shorten(name)}${shapeText(tensor.size)}`;
}

function shapeText(size: PyValue): string {
  const dims = size instanceof PyTuple ? size.items.filter((dim) => typeof dim === 'number') : [];
  return ` ${dims.length > 8 ? `of ${dims.length} axes` : formatShape(dims)}`;
}
