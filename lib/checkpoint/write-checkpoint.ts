import { DTYPES, type DType } from '../tensor/dtype';
import type { Tensor } from '../tensor/tensor';
import type { NewFileOptions } from './files/new-file';
import { writeNpz } from './npz/write-npz';
import { numpyDescription } from './numpy/numpy-types';
import { writeSafetensors } from './safetensors/write-safetensors';
import type { TensorSource } from './tensor-source';
import { writeTorch } from './torch/write-torch';

export type OutputFormat = 'safetensors' | 'torch' | 'npz';

export interface WriteOptions extends NewFileOptions {
  readonly onProgress?: ((progress: { phase: 'write'; done: number; total: number }) => void) | undefined;
}

/** The format that a name asks for: `.pth` and `.pt` torch, `.npz` numpy, anything else safetensors. */
export function formatOfName(file: string): OutputFormat {
  if (/\.(pth|pt)$/i.test(file)) return 'torch';
  return /\.npz$/i.test(file) ? 'npz' : 'safetensors';
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
