import { basename, extname } from 'node:path';
import { RepfuseError } from '../errors';
import { DTYPES, type DType } from '../tensor/dtype';
import type { Tensor } from '../tensor/tensor';
import { writeNpz } from './npz/write-npz';
import { numpyDescription } from './numpy/numpy-types';
import { writeSafetensors } from './safetensors/write-safetensors';
import type { TensorSource } from './tensor-source';
import { writeTorch } from './torch/write-torch';
import type { WriteOptions } from './write-options';

export type OutputFormat = 'safetensors' | 'torch' | 'npz';

/** Endings of names, and the format that each tells; the first of a format is the one that is given. */
const FORMATS: ReadonlyMap<string, OutputFormat | 'onnx'> = new Map([
  ['.safetensors', 'safetensors'],
  ['.pth', 'torch'],
  ['.pt', 'torch'],
  ['.npz', 'npz'],
  ['.onnx', 'onnx'],
]);

/** The ending of a name, in small letters; '' where it has none (`epoch_12.5`). */
export function endingOfName(file: string): string {
  const ending = extname(basename(file)).toLowerCase();
  return /^\.\d*$/.test(ending) ? '' : ending;
}

/**
 * The format that the ending of an output's name asks for; undefined for a name without one.
 *
 * @throws ERR_REPFUSE_INVALID_ARGUMENT for an ending that tells no format
 */
export function formatOfName(file: string): OutputFormat | 'onnx' | undefined {
  const ending = endingOfName(file);
  if (ending === '') return undefined;
  const format = FORMATS.get(ending);
  if (format !== undefined) return format;
  const known = [...FORMATS.keys()];
  throw new RepfuseError(
    'ERR_REPFUSE_INVALID_ARGUMENT',
    `Expected a name that ends in ${known.join(', ')} for the output but received ${file} (\`format\` settles it)`,
    { file, ending, known },
  );
}

/** The ending of a format's names. */
export function endingOf(format: OutputFormat | 'onnx'): string {
  return [...FORMATS].find(([, of]) => of === format)![0];
}

/** Whether a format has a place for tensors of a type; for types that are computed with there is always one that has. */
export function canHold(format: OutputFormat, dtype: DType): boolean {
  return format !== 'npz' || DTYPES[dtype].floating || numpyDescription(dtype) !== undefined;
}

/** Writes a state dict in a format without metadata. @throws as the writers */
export async function writeStateDict(
  file: string,
  format: OutputFormat,
  tensors: ReadonlyMap<string, Tensor | TensorSource>,
  options: WriteOptions,
): Promise<void> {
  const write = { safetensors: writeSafetensors, torch: writeTorch, npz: writeNpz }[format];
  await write(file, tensors, options);
}
