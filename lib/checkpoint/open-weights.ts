import { RepfuseError } from '../errors';
import { explainCut } from './cut-archive';
import { spendingLimit } from './expansion';
import type { RandomAccess } from './files/random-access';
import { flatWeights } from './flat-weights';
import { isNpz, npzTensors } from './npz/npz';
import { NumpyArray } from './numpy/numpy-pickle';
import { joinParts } from './paddle';
import { unpickleFile } from './pickle/unpickle-file';
import { pickledWeights } from './pickled-weights';
import { readSafetensors } from './safetensors/safetensors';
import { openShards } from './shards';
import { showValue } from './show-value';
import { type CheckpointKind, type Kind, noCheckpoint, sniff } from './sniff';
import { openTorchLegacy } from './torch/torch-legacy';
import { BARE_HOST, UnsupportedTensor } from './torch/torch-pickle';
import { openTorchZip } from './torch/torch-zip';
import type { OpenOptions, Weights } from './weights';

/** Bytes of a bare pickle beside its long strings, which stay in the file. */
const MAX_PICKLE = 1 << 28;

type Opener = (source: RandomAccess, options: OpenOptions) => Promise<Weights>;

const OPENERS: Readonly<Record<CheckpointKind, Opener>> = {
  async safetensors(source, { keyPath, signal }) {
    const { tensors, metadata, unread } = await readSafetensors(source, signal);
    return flatWeights('safetensors', tensors, keyPath, { metadata, unread });
  },
  index: (source, options) => openShards(source, options, openShard),
  'torch-legacy': async (source, options) =>
    pickledWeights('torch-legacy', await openTorchLegacy(source, options.signal), options),
  async zip(source, options) {
    const { openZip } = require('./zip/zip') as typeof import('./zip/zip'); // with zlib, which takes long to load
    const zip = await openZip(source, options.signal).catch(async (error) => {
      throw (error instanceof RepfuseError && (await explainCut(source, options))) || error;
    });
    if (isNpz(zip)) {
      const { tensors, unread } = await npzTensors(zip);
      return flatWeights('npz', tensors, options.keyPath, { unread });
    }
    return pickledWeights('torch-zip', await openTorchZip(zip, source.size, options.signal), options);
  },
  pickle: openPickle,
};

/** Finds the weights in a file. @throws ERR_REPFUSE_UNSUPPORTED_FORMAT for an ONNX model; the errors of the formats */
export async function openWeights(source: RandomAccess, kind: Kind, options: OpenOptions): Promise<Weights> {
  if (kind === 'onnx') throw noCheckpoint('an ONNX model, which holds a graph and no state dict');
  return await OPENERS[kind](source, options);
}

/** A part of a checkpoint, by its content. */
async function openShard(source: RandomAccess, options: OpenOptions): Promise<Weights> {
  const kind = await sniff(source);
  if (kind !== 'index') return await openWeights(source, kind, options);
  throw new RepfuseError('ERR_REPFUSE_FORMAT', 'it is an index itself, not a part of a checkpoint');
}

/** A pickle without any container: arrays of numpy, as PaddlePaddle and Detectron2 save weights. */
async function openPickle(source: RandomAccess, options: OpenOptions): Promise<Weights> {
  let weights = 0;
  const host = {
    ...BARE_HOST,
    construct(...call: Parameters<typeof BARE_HOST.construct>) {
      const made = BARE_HOST.construct(...call);
      if (made instanceof NumpyArray || made instanceof UnsupportedTensor) weights++;
      return made;
    },
  };
  const { value } = await unpickleFile(source, host, { limit: MAX_PICKLE, signal: options.signal });
  if (weights === 0) {
    const what = showValue(value);
    throw new RepfuseError(
      'ERR_REPFUSE_UNSUPPORTED_FORMAT',
      `Expected a torch, safetensors, npz or pickled numpy checkpoint but received a bare pickle of ${what}, without tensors of torch or arrays`,
      { received: what },
    );
  }
  const storages = {
    sizeOf: () => undefined,
    read: () => Promise.reject(new Error('a bare pickle has no storages')),
    readInto: () => Promise.reject(new Error('a bare pickle has no storages')),
    reserve: spendingLimit(source.size),
  };
  return pickledWeights('pickle', { root: joinParts(value), storages, pickle: source }, options);
}
