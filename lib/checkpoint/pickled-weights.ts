import { RepfuseError } from '../errors';
import type { RandomAccess } from './files/random-access';
import { findStateDict } from './find-state-dict';
import { NumpyArray } from './numpy/numpy-pickle';
import { arrayProblem, storedArray } from './numpy/stored-array';
import type { PyValue } from './pickle/python-values';
import { showValue } from './show-value';
import type { CheckpointFormat } from './state-dict';
import { bytesOfStored, type StoredTensor } from './stored-tensor';
import { TorchStorage, type TorchTensor, torchDType, UnsupportedTensor } from './torch/torch-pickle';
import { badTensor, type StorageReader, storedTensors } from './torch/torch-tensor';
import type { OpenOptions, Weights } from './weights';

/** What was pickled, and where the elements of its tensors lie. */
export interface PickledFile {
  /** Usually a dict. */
  readonly root: PyValue;
  readonly storages: StorageReader;
  /** The pickle itself, which holds long strings. */
  readonly pickle: RandomAccess;
}

type Described = TorchTensor | NumpyArray;

/**
 * The weights of a pickled object: tensors of torch and arrays of numpy. Tensors of types that are not known are no hindrance for the
 * others: they stay unread.
 *
 * @throws ERR_REPFUSE_UNSUPPORTED_FORMAT where none is read, or one is damaged; the errors of `findStateDict`, `storedTensors` and `storedArray`
 */
export function pickledWeights(
  format: CheckpointFormat,
  { root, storages, pickle }: PickledFile,
  { keyPath }: OpenOptions,
): Weights {
  const { tensors: found, ...about } = findStateDict(root, keyPath);
  const tensors = new Map<string, Described>();
  const unread = new Map<string, string>();
  for (const [name, tensor] of found) {
    const problem = whyUnread(tensor);
    if (problem === undefined) tensors.set(name, tensor as Described);
    else if (tensor instanceof UnsupportedTensor && tensor.damaged) throw unsupported(name, problem);
    else unread.set(name, problem);
  }
  const [first] = unread;
  if (tensors.size === 0 && first !== undefined) throw unsupported(...first);
  return {
    ...about,
    format,
    metadata: {},
    names: [...tensors.keys()],
    unread,
    whatIs: (name) => showValue(tensors.get(name)!),
    store(names) {
      const torch = new Map<string, TorchTensor>();
      const stored = new Map<string, StoredTensor>();
      for (const name of names) {
        const tensor = tensors.get(name)!;
        if (!(tensor instanceof NumpyArray)) torch.set(name, tensor);
        else {
          const array = storedArray(name, tensor, pickle);
          if (!storages.reserve(bytesOfStored(array)))
            throw badTensor(
              name,
              'data',
              'the arrays of this file have the same bytes too often, and are too large for it',
            );
          stored.set(name, array);
        }
      }
      for (const [name, tensor] of storedTensors(torch, storages)) stored.set(name, tensor);
      return new Map(names.map((name) => [name, stored.get(name)!]));
    },
  };
}

/** Why a tensor stays unread, or undefined. */
function whyUnread(tensor: Described | UnsupportedTensor): string | undefined {
  if (tensor instanceof UnsupportedTensor) return tensor.kind;
  if (tensor instanceof NumpyArray) return arrayProblem(tensor);
  const { dtype, name } = torchDType(tensor);
  if (!(tensor.storage instanceof TorchStorage)) return undefined; // damaged, as reading it will tell
  return dtype === undefined ? `a tensor of type ${name.slice(0, 60)}` : undefined;
}

function unsupported(name: string, what: string): RepfuseError {
  return new RepfuseError(
    'ERR_REPFUSE_UNSUPPORTED_FORMAT',
    `Tensor ${JSON.stringify(name)} is ${what}, which is not supported`,
    { tensor: name, received: what },
  );
}
