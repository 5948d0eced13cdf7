import { withFile } from '../checkpoint/files/random-access';
import { isNpy, readNpy } from '../checkpoint/npz/npy';
import { naming, readCheckpoint } from '../checkpoint/read-checkpoint';
import { RepfuseError } from '../errors';
import type { Graph, InputTensors } from '../graph';
import { DTYPES } from '../tensor/dtype';
import { toFloat32 } from '../tensor/half';
import { Tensor } from '../tensor/tensor';

/** Images [N, C, H, W] of a file, as float32: a NumPy array, or a tensor of a checkpoint. */
export async function readImages(file: string, name: string | undefined): Promise<Tensor> {
  const array = await readArray(file);
  const tensor = array ?? pick((await readCheckpoint(file)).tensors, name, file);
  if (tensor.dtype === 'I64')
    throw new RepfuseError('ERR_REPFUSE_INVALID_ARGUMENT', `Expected images in ${file} but received I64`, { file });
  const { floating } = DTYPES[tensor.dtype];
  return Tensor.f32(tensor.shape, floating ? toFloat32(tensor) : Float32Array.from(tensor.data as Uint8Array));
}

/**
 * What a network takes, of a file, in the types that it holds: of one input a NumPy array or a tensor of a checkpoint, of several the
 * checkpoint's tensors by the inputs' names.
 */
export async function readInputs(graph: Graph, file: string, name: string | undefined): Promise<InputTensors> {
  if (graph.inputs === undefined) return readImages(file, name);
  const array = await readArray(file);
  if (array !== undefined) return array;
  const { tensors } = await readCheckpoint(file);
  return graph.inputs.length === 1 ? pick(tensors, name, file, graph.input) : tensors;
}

async function readArray(file: string): Promise<Tensor | undefined> {
  return withFile(file, async (source) => ((await isNpy(source)) ? await readNpy(source) : undefined)).catch(
    (error) => {
      throw error instanceof RepfuseError ? naming(file, error) : error;
    },
  );
}

function pick(
  tensors: ReadonlyMap<string, Tensor>,
  name: string | undefined,
  file: string,
  otherwise = 'input',
): Tensor {
  const found =
    name !== undefined ? tensors.get(name) : tensors.size === 1 ? [...tensors.values()][0] : tensors.get(otherwise);
  if (found !== undefined) return found;
  throw new RepfuseError(
    'ERR_REPFUSE_KEY',
    `Expected a tensor ${name ?? otherwise} in ${file} but it holds ${[...tensors.keys()].join(', ')} (choose with \`tensor\`)`,
    { file },
  );
}
