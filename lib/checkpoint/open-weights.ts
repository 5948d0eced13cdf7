import { RepfuseError } from '../errors';
import { describe } from './describe';
import { type RandomAccess, readBytes } from './files/random-access';
import { flatWeights } from './flat-weights';
import { isNpz, npzTensors } from './npz/npz';
import { unpickle } from './pickle/pickle';
import { readSafetensors } from './safetensors/safetensors';
import { openSafetensorsIndex } from './safetensors/safetensors-index';
import { type CheckpointKind, type Kind, noCheckpoint } from './sniff';
import { openTorchLegacy } from './torch/torch-legacy';
import { TORCH_HOST } from './torch/torch-pickle';
import { torchWeights } from './torch/torch-weights';
import { openTorchZip } from './torch/torch-zip';
import type { OpenOptions, Weights } from './weights';
import { openZip } from './zip/zip';

type Opener = (source: RandomAccess, options: OpenOptions) => Promise<Weights>;

/** A bare pickle holds no tensors of torch's: a larger one need not be read to say so. */
const MAX_BARE_PICKLE = 1 << 26;

const OPENERS: Readonly<Record<CheckpointKind, Opener>> = {
  async safetensors(source, { keyPath }) {
    const { tensors, metadata } = await readSafetensors(source);
    return flatWeights('safetensors', tensors, keyPath, { metadata });
  },
  'safetensors-index': openSafetensorsIndex,
  'torch-legacy': async (source, options) => torchWeights('torch-legacy', await openTorchLegacy(source), options),
  async zip(source, options) {
    const zip = await openZip(source);
    if (isNpz(zip)) return flatWeights('npz', await npzTensors(zip), options.keyPath);
    return torchWeights('torch-zip', await openTorchZip(zip, source.size), options);
  },
  pickle: refusePickle,
};

/** Finds the weights in a file. @throws ERR_REPFUSE_UNSUPPORTED_FORMAT for an ONNX model; the errors of the formats */
export async function openWeights(source: RandomAccess, kind: Kind, options: OpenOptions): Promise<Weights> {
  if (kind === 'onnx') throw noCheckpoint('an ONNX model, which holds a graph and no state dict');
  return await OPENERS[kind](source, options);
}

/** Looks into a bare pickle only to say what it is, or what it tried to call. */
async function refusePickle(source: RandomAccess): Promise<never> {
  const what =
    source.size > MAX_BARE_PICKLE ? 'data' : describe(unpickle(await readBytes(source, 0, source.size), TORCH_HOST));
  throw new RepfuseError(
    'ERR_REPFUSE_UNSUPPORTED_FORMAT',
    `Expected a torch, safetensors or npz checkpoint but received a bare pickle of ${what}, without tensors of torch`,
    { received: what },
  );
}
