import { fromBinary } from '@bufbuild/protobuf';
import { type NewFileOptions, writeNewFile } from '../checkpoint/files/new-file';
import { inputOf, type Source } from '../checkpoint/files/source';
import { RepfuseError } from '../errors';
import { DTYPES } from '../tensor/dtype';
import { checkArity } from './arity';
import { checkOrder } from './check';
import { encodeModel, lengthOf } from './encode';
import { loadExternalData, tensorsOf } from './external-data';
import { MESSAGE, messageSize } from './message-size';
import { MAX_BYTES, type ModelBytesOptions, modelBytes, tooLarge } from './model-bytes';
import { type Graph, type Model, ModelSchema } from './schema/onnx_pb';
import { dtypeOf } from './values';

/** The operator sets whose meaning is known. */
const OLDEST_OPSET = 7;
const NEWEST_OPSET = 28;

/** What its nodes, attributes and lists may take: some hundred thousand nodes. */
const MAX_MEMORY = 2 ** 28;

/** An ONNX model as it stands in its file: whatever is not known is kept. */
export interface OnnxModel {
  readonly proto: Model & { graph: Graph };
  /** Version of the operator set of the default domain. */
  readonly opset: number;
  /** Tensors that its file kept in other files, if it was read from one. */
  readonly external?: number;
}

/**
 * Reads a model, with the tensors that it keeps in other files of its folder.
 *
 * @param options.bytes those of the file, where they are being read
 * @throws the signal's reason; ERR_REPFUSE_FILE; ERR_REPFUSE_FORMAT naming the file; ERR_REPFUSE_GRAPH for nodes in an impossible order; ERR_REPFUSE_UNSUPPORTED_FORMAT for an operator set that is too old or too new
 */
export async function readOnnx(
  from: Source,
  { bytes: read, ...options }: ModelBytesOptions & { readonly bytes?: Promise<Uint8Array> } = {},
): Promise<OnnxModel> {
  const input = inputOf(from);
  const bytes = await (read ?? modelBytes(from, options));
  const model = parseOnnx(bytes, input.name);
  alignWeights(model.proto.graph, bytes);
  return { ...model, external: await loadExternalData(model.proto.graph, input, options.signal) };
}

/**
 * A model from its bytes, which it refers to: leave them as they are.
 *
 * @param file named in errors
 * @throws as `readOnnx`
 */
export function parseOnnx(bytes: Uint8Array, file = 'the ONNX model'): OnnxModel {
  const proto = decode(bytes, file);
  if (proto.graph === undefined || proto.irVersion < 3n) {
    throw new RepfuseError(
      'ERR_REPFUSE_FORMAT',
      `Expected an ONNX model with a graph (IR version 3 or later) for ${file} but received ${proto.graph === undefined ? 'none' : `IR version ${proto.irVersion}`}`,
      { file },
    );
  }
  const opset = Number(proto.opsetImport.find(({ domain }) => domain === '' || domain === 'ai.onnx')?.version ?? 1n);
  if (opset < OLDEST_OPSET || opset > NEWEST_OPSET) {
    throw new RepfuseError(
      'ERR_REPFUSE_UNSUPPORTED_FORMAT',
      `Expected ONNX operators of version ${OLDEST_OPSET} to ${NEWEST_OPSET} for ${file} but received ${opset}`,
      { file, opset },
    );
  }
  checkOrder(proto.graph, file);
  checkArity(proto.graph, opset, file);
  return { proto: proto as OnnxModel['proto'], opset };
}

/** Weights whose tag and length take at least as much as they may be moved. */
const MOVED = 1 << 14;

/**
 * Moves large weights within the model's own bytes to where arrays of their type can lie: over the end of what stood before them, their tag
 * and length, which have been read. Else every one that is looked at would be copied.
 */
function alignWeights(graph: Graph, bytes: Uint8Array): void {
  for (const tensor of graph.initializer) {
    const { rawData } = tensor;
    const dtype = dtypeOf(tensor.dataType);
    if (dtype === undefined || rawData.length < MOVED || rawData.buffer !== bytes.buffer) continue;
    const begin = rawData.byteOffset;
    const distance = begin % DTYPES[dtype].bytes;
    if (distance === 0 || distance > LENGTH_AND_TAG) continue;
    new Uint8Array(bytes.buffer).copyWithin(begin - distance, begin, begin + rawData.length);
    tensor.rawData = new Uint8Array(bytes.buffer, begin - distance, rawData.length);
  }
}

/** Bytes that the tag and the length of a field of `MOVED` bytes take at least. */
const LENGTH_AND_TAG = 4;

function decode(bytes: Uint8Array, file: string): Model {
  const size = messageSize(bytes, ModelSchema, MAX_MEMORY);
  if (size > MAX_MEMORY) {
    throw new RepfuseError(
      'ERR_REPFUSE_RANGE',
      `Expected an ONNX model of at most some ${Math.round(MAX_MEMORY / MESSAGE)} nodes, attributes and entries for ${file} but its ${bytes.length} bytes hold more`,
      { file, size: bytes.length },
    );
  }
  try {
    return fromBinary(ModelSchema, bytes);
  } catch (cause) {
    throw new RepfuseError(
      'ERR_REPFUSE_FORMAT',
      `Expected an ONNX model for ${file} but its protobuf is damaged: ${(cause as Error).message}`,
      { file },
      { cause },
    );
  }
}

/**
 * Writes a model, with all its tensors in the one file.
 *
 * @throws ERR_REPFUSE_EXISTS, ERR_REPFUSE_FILE; ERR_REPFUSE_RANGE beyond the 2 GiB that protobuf can hold; the signal's reason
 */
export async function writeOnnx(
  file: string,
  { proto, opset }: OnnxModel,
  options: NewFileOptions = {},
): Promise<void> {
  // Tensors may lie in one memory, in the file each has its own.
  const data = [...tensorsOf(proto.graph)].reduce((sum, { rawData }) => sum + rawData.length, 0);
  if (data > MAX_BYTES) throw tooLarge(file, data);
  // What is written can be read.
  checkOrder(proto.graph, file);
  checkArity(proto.graph, opset, file);
  const parts = encodeModel(proto);
  const length = lengthOf(parts);
  if (length > MAX_BYTES) throw tooLarge(file, length);
  await writeNewFile(file, options, async (sink) => {
    for (const part of parts) await sink.write(part);
  });
}
