import { withFile } from '../checkpoint/files/random-access';
import { isNpy, readNpy } from '../checkpoint/npz/npy';
import { naming, readCheckpoint } from '../checkpoint/read-checkpoint';
import { RepfuseError } from '../errors';
import { DTYPES } from '../tensor/dtype';
import { toFloat32 } from '../tensor/half';
import { Tensor } from '../tensor/tensor';

/** Images [N, C, H, W] of a file, as float32: a NumPy array, or a tensor of a checkpoint. */
export async function readImages(file: string, name: string | undefined): Promise<Tensor> {
  const array = await withFile(file, async (source) =>
    (await isNpy(source)) ? await readNpy(source) : undefined,
  ).catch((error) => {
    throw error instanceof RepfuseError ? naming(file, error) : error;
  });
  const tensor = array ?? pick((await readCheckpoint(file)).tensors, name, file);
  if (tensor.dtype === 'I64')
    throw new RepfuseError('ERR_REPFUSE_INVALID_ARGUMENT', `Expected images in ${file} but received I64`, { file });
  const { floating } = DTYPES[tensor.dtype];
  return Tensor.f32(tensor.shape, floating ? toFloat32(tensor) : Float32Array.from(tensor.data as Uint8Array));
}

function pick(tensors: ReadonlyMap<string, Tensor>, name: string | undefined, file: string): Tensor {
  const found =
    name !== undefined ? tensors.get(name) : tensors.size === 1 ? [...tensors.values()][0] : tensors.get('input');
  if (found !== undefined) return found;
  throw new RepfuseError(
    'ERR_REPFUSE_KEY',
    `Expected a tensor ${name ?? 'input'} in ${file} but it holds ${[...tensors.keys()].join(', ')} (choose with \`tensor\`)`,
    { file },
  );
}
