import { type RandomAccess, ReadMeter, readBytes, withFile } from '../checkpoint/files/random-access';
import { inputOf, type Source } from '../checkpoint/files/source';
import { RepfuseError } from '../errors';

/** Protobuf's own limit. */
export const MAX_BYTES = 2 ** 31 - 1;

export interface ModelBytesOptions {
  /** The file, where it is open. */
  readonly source?: RandomAccess | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** All bytes of a model's file. @throws the signal's reason; ERR_REPFUSE_FILE; ERR_REPFUSE_RANGE for one beyond 2 GiB */
export async function modelBytes(from: Source, { source, signal }: ModelBytesOptions = {}): Promise<Uint8Array> {
  if (source === undefined) return await withFile(from, (opened) => modelBytes(from, { source: opened, signal }));
  if (source.size > MAX_BYTES) throw tooLarge(inputOf(from).name, source.size);
  return await readBytes(new ReadMeter(signal, undefined).observe(source), 0, source.size);
}

export function tooLarge(file: string, size: number): RepfuseError {
  return new RepfuseError(
    'ERR_REPFUSE_RANGE',
    `Expected at most ${MAX_BYTES} bytes for the ONNX model ${file} but received ${size}`,
    { file, size },
  );
}
