import { checkOptions } from '../../arguments/check';
import { membersOf } from '../../arguments/schemas';
import { RepfuseError } from '../../errors';
import type { Tensor } from '../../tensor/tensor';
import { writeNewFile } from '../files/new-file';
import { pathOf } from '../files/source';
import { bytesOf, inTurn, sourcesOf, type TensorSource } from '../tensor-source';
import { torchName } from '../torch/torch-pickle';
import { WRITE_OPTIONS, type WriteOptions } from '../write-options';
import { ZipWriter } from '../zip/zip-writer';
import { npyHeader } from './npy';

const ALIGNMENT = 64;

const OPTIONS = membersOf<WriteOptions>()(WRITE_OPTIONS);

/**
 * Writes tensors as `numpy.savez` does: one `.npy` entry each, stored. Order and names are those of the map; equal input gives equal bytes.
 *
 * @throws ERR_REPFUSE_INVALID_ARGUMENT for bfloat16 and float8, which numpy does not have; as `writeNewFile`
 */
export async function writeNpz(
  target: string | URL,
  tensors: ReadonlyMap<string, Tensor | TensorSource>,
  given: WriteOptions = {},
): Promise<void> {
  const options = checkOptions('writeNpz', OPTIONS, given);
  const file = pathOf(target);
  const sources = sourcesOf(tensors);
  const headers = sources.map(({ name, source: { dtype, shape } }) => {
    const header = npyHeader(dtype, shape);
    if (header !== undefined) return header;
    throw new RepfuseError(
      'ERR_REPFUSE_INVALID_ARGUMENT',
      `Expected a type that numpy has for ${JSON.stringify(name)} in ${file} but received ${torchName(dtype)}: choose f32 or f16, or another format`,
      { file, tensor: name },
    );
  });
  const total = sources.reduce((sum, { source }, i) => sum + bytesOf(source) + headers[i]!.length, 0);
  const onBytes = (done: number) => options.onProgress?.({ phase: 'write', done: Math.min(done, total), total });
  await writeNewFile(file, { ...options, onBytes }, async (sink) => {
    const zip = new ZipWriter(sink, ALIGNMENT);
    await inTurn(
      sources.map(({ source }) => source),
      ({ data }, i) =>
        zip.add(`${sources[i]!.name}.npy`, headers[i]!, new Uint8Array(data.buffer, data.byteOffset, data.byteLength)),
    );
    await zip.finish();
  });
}
