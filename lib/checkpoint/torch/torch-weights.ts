import { RepfuseError } from '../../errors';
import { describe } from '../describe';
import { type FoundStateDict, findStateDict } from '../find-state-dict';
import type { CheckpointFormat } from '../state-dict';
import type { OpenOptions, Weights } from '../weights';
import { type TorchTensor, UnsupportedTensor } from './torch-pickle';
import { storedTensors } from './torch-tensor';
import type { TorchFile } from './torch-zip';

/** The weights of a torch file of either format. @throws the errors of `findStateDict` and `storedTensors` */
export function torchWeights(
  format: CheckpointFormat,
  { root, storages }: TorchFile,
  { keyPath }: OpenOptions,
): Weights {
  const { tensors, ...found } = findStateDict(root, keyPath);
  return {
    ...found,
    format,
    metadata: {},
    names: [...tensors.keys()],
    describe: (name) => describe(tensors.get(name)!),
    store: (names) => storedTensors(new Map(names.map((name) => [name, supported(name, tensors)])), storages),
  };
}

/** @throws ERR_REPFUSE_UNSUPPORTED_FORMAT for a tensor that is no strided one */
function supported(name: string, tensors: FoundStateDict['tensors']): TorchTensor {
  const described = tensors.get(name)!;
  if (!(described instanceof UnsupportedTensor)) return described;
  throw new RepfuseError(
    'ERR_REPFUSE_UNSUPPORTED_FORMAT',
    `Tensor ${JSON.stringify(name)} is ${described.kind}, which is not supported`,
    { tensor: name, received: described.kind },
  );
}
