import { checkOptions } from '../arguments/check';
import { integer, membersOf, optional } from '../arguments/schemas';
import type { NewFileOptions } from '../checkpoint/files/new-file';
import type { RandomAccess } from '../checkpoint/files/random-access';
import { inputOf, pathOf, type Source } from '../checkpoint/files/source';
import { WRITE_OPTIONS } from '../checkpoint/write-options';
import { RepfuseError } from '../errors';
import { throwIfAborted } from '../native/call';
import { modelBytes } from '../onnx/model-bytes';
import type { ReadModel } from './from-onnx/reader';
import { checkModel, type Model } from './model';

export interface ExportOnnxOptions extends NewFileOptions {
  /** Version of ONNX's operators: 14 (which has HardSwish) to 28. Default 17. */
  readonly opset?: number | undefined;
}

const { force, durable, signal } = WRITE_OPTIONS;
const OPTIONS = membersOf<ExportOnnxOptions>()({ force, durable, signal, opset: optional(integer(14, 28)) });

/**
 * Writes a network as an ONNX model that other runtimes read: its inputs as they are, of one image batch any size N, float32. Weights of half types are widened.
 *
 * @throws ERR_REPFUSE_GRAPH where the graph does not tell its input's size; ERR_REPFUSE_INVALID_ARGUMENT; as `writeOnnx`
 */
export async function exportOnnx(file: string | URL, model: Model, options: ExportOnnxOptions = {}): Promise<void> {
  const { graph, tensors } = checkModel(model);
  const { opset = 17, ...rest } = checkOptions('exportOnnx', OPTIONS, options);
  // Its schema takes long to set up, and most networks come without ONNX.
  const { toOnnx } = require('./to-onnx') as typeof import('./to-onnx');
  const { writeOnnx } = require('../onnx') as typeof import('../onnx');
  await writeOnnx(pathOf(file), toOnnx(graph, tensors, opset), rest);
}

/**
 * Reads an ONNX model as a graph with its weights, to be run.
 *
 * @param source the file, where it is open
 * @throws as `readOnnx` and `fromOnnx`
 */
export async function readOnnxModel(
  model: Source,
  { signal, source }: { readonly signal?: AbortSignal | undefined; readonly source?: RandomAccess } = {},
): Promise<ReadModel> {
  const bytes = modelBytes(model, { signal, source });
  bytes.catch(() => {}); // whoever waits for it is told
  // While the file is read.
  const { fromOnnx } = require('./from-onnx/from-onnx') as typeof import('./from-onnx/from-onnx');
  const { FixedConstants, readOnnx } = require('../onnx') as typeof import('../onnx');
  const read = await readOnnx(model, { signal, bytes });
  try {
    const fixed = new FixedConstants(read.proto.graph);
    await fixed.prepare(signal);
    return fromOnnx(read, fixed);
  } catch (error) {
    throwIfAborted(signal);
    if (!(error instanceof RepfuseError)) throw error;
    const file = inputOf(model).name;
    throw new RepfuseError(error.code, `${file}: ${error.message}`, { ...error.details, file }, { cause: error });
  }
}
