import { type ReadCheckpointOptions, readCheckpoint } from '../checkpoint/read-checkpoint';
import { isOnnxFile } from '../checkpoint/sniff';
import { RepfuseError } from '../errors';
import { readOnnxModel } from '../graph';
import { type GraphOptions, graphFor } from '../nets/graph-for';
import type { Model } from './engine';

export interface ReadModelOptions extends GraphOptions, ReadCheckpointOptions {}

/**
 * Reads a network to run: a model file (safetensors with its graph, as `convert` writes it with `graph` or `arch`), or any checkpoint, in
 * either form, together with its graph or the name of its network; or an ONNX model of the operators that a graph has.
 *
 * @throws the errors of `readCheckpoint`; ERR_REPFUSE_GRAPH if there is no graph, or a malformed one; ERR_REPFUSE_KEY if the checkpoint is
 *   not of the network that `arch` names
 */
export async function readModel(file: string, { graph, arch, ...options }: ReadModelOptions = {}): Promise<Model> {
  if (await isOnnxFile(file)) {
    if (graph !== undefined || arch !== undefined)
      throw new RepfuseError(
        'ERR_REPFUSE_INVALID_ARGUMENT',
        `Expected neither graph nor arch for the ONNX model ${file}`,
        { file },
      );
    return await readOnnxModel(file);
  }
  const checkpoint = await readCheckpoint(file, options);
  const found = graphFor(checkpoint, { graph, arch });
  if (found !== undefined) return { graph: found, tensors: checkpoint.tensors };
  throw new RepfuseError(
    'ERR_REPFUSE_GRAPH',
    `Expected a model file but ${file} holds no graph: name its network (\`arch\`, \`graph\`), or write a model file with convert`,
    { file },
  );
}
