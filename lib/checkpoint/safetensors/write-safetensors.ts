import { checkOptions } from '../../arguments/check';
import { FUNCTION, membersOf, optional, recordOf } from '../../arguments/schemas';
import { show } from '../../arguments/show';
import { RepfuseError } from '../../errors';
import { throwIfAborted } from '../../native/call';
import { DTYPES } from '../../tensor/dtype';
import type { Tensor } from '../../tensor/tensor';
import { writeNewFile } from '../files/new-file';
import { pathOf } from '../files/source';
import { bytesOf, inTurn, sourcesOf, type TensorSource } from '../tensor-source';
import { WRITE_OPTIONS, type WriteOptions } from '../write-options';

const DATA_ALIGNMENT = 64;
/** As the format says; readers refuse more. */
const MAX_HEADER = 100_000_000;

export interface WriteSafetensorsOptions extends WriteOptions {
  /** Stored as `__metadata__`. */
  readonly metadata?: Readonly<Record<string, string>> | undefined;
  /** Metadata that are known only once all is written. They replace those of `metadata`, value for value of the same length. */
  readonly sealWith?: (() => Promise<Readonly<Record<string, string>>>) | undefined;
}

const OPTIONS = membersOf<WriteSafetensorsOptions>()({
  ...WRITE_OPTIONS,
  metadata: optional(recordOf<string>()),
  sealWith: optional(FUNCTION),
});

/**
 * Writes tensors as a safetensors file: to a temporary file in the same folder, then renamed, so that the name holds a whole file
 * or none. Data begin at a multiple of 64 bytes, each tensor at a multiple of its element size: the widest elements come first,
 * otherwise the order is that of the map. Equal input gives equal bytes. A source is loaded when its turn comes, one ahead of what
 * is being written.
 *
 * @throws ERR_REPFUSE_EXISTS if the file exists and `force` is not set; ERR_REPFUSE_INVALID_ARGUMENT for names or metadata that
 * the format cannot hold; ERR_REPFUSE_FILE; the signal's reason. The temporary file is removed in every case
 */
export async function writeSafetensors(
  file: string | URL,
  tensors: ReadonlyMap<string, Tensor | TensorSource>,
  given: WriteSafetensorsOptions = {},
): Promise<void> {
  const options = checkOptions('writeSafetensors', OPTIONS, given);
  const { metadata = {}, sealWith, signal, onProgress } = options;
  throwIfAborted(signal);
  // Widest elements first: every tensor is then aligned without holes, which the format forbids.
  const ordered = sourcesOf(tensors).sort((a, b) => DTYPES[b.source.dtype].bytes - DTYPES[a.source.dtype].bytes);
  const header = encodeHeader(ordered, metadata);
  const total = ordered.reduce((sum, { source }) => sum + bytesOf(source), header.length);
  const onBytes = (done: number) => onProgress?.({ phase: 'write', done, total });
  await writeNewFile(pathOf(file), { ...options, onBytes }, async (sink) => {
    await sink.write(header);
    await inTurn(
      ordered.map(({ source }) => source),
      ({ data }) => sink.write(new Uint8Array(data.buffer, data.byteOffset, data.byteLength)),
    );
    if (sealWith !== undefined) await sink.rewriteStart(encodeHeader(ordered, { ...metadata, ...(await sealWith()) }));
  });
}

function encodeHeader(
  tensors: readonly { readonly name: string; readonly source: TensorSource }[],
  metadata: Readonly<Record<string, string>>,
): Uint8Array {
  for (const [key, value] of Object.entries(metadata)) {
    if (typeof value !== 'string') {
      throw invalid(`Expected a string for metadata.${key} but received ${show(value)}`);
    }
  }
  let at = 0;
  const entries = tensors.map(({ name, source }) => {
    const { dtype, shape } = source;
    const bytes = bytesOf(source);
    if (name === '__metadata__') throw invalid('Expected a tensor name but received __metadata__, which is reserved');
    const entry = `${JSON.stringify(name)}:${JSON.stringify({ dtype, shape, data_offsets: [at, at + bytes] })}`;
    at += bytes;
    return entry;
  });
  if (Object.keys(metadata).length > 0) entries.unshift(`"__metadata__":${JSON.stringify(metadata)}`);
  const json = Buffer.from(`{${entries.join(',')}}`);
  const padded = Math.ceil((8 + json.length) / DATA_ALIGNMENT) * DATA_ALIGNMENT - 8;
  if (padded > MAX_HEADER) throw invalid(`Expected a header of at most ${MAX_HEADER} bytes but received ${padded}`);
  const header = Buffer.alloc(8 + padded, ' ');
  header.writeBigUInt64LE(BigInt(padded), 0);
  json.copy(header, 8);
  return header;
}

function invalid(message: string): RepfuseError {
  return new RepfuseError('ERR_REPFUSE_INVALID_ARGUMENT', message);
}
