import { checkOptions, expectNone } from '../arguments/check';
import { membersOf } from '../arguments/schemas';
import type { Source } from '../checkpoint/files/source';
import { READ_OPTIONS, type ReadCheckpointOptions, withInput } from '../checkpoint/read-checkpoint';
import { RepfuseError } from '../errors';
import { type Model, readOnnxModel } from '../graph';
import { GRAPH_OPTIONS, type GraphOptions, graphFor } from '../nets/graph-for';

export interface ReadModelOptions extends GraphOptions, ReadCheckpointOptions {}

const OPTIONS = membersOf<ReadModelOptions>()({ ...READ_OPTIONS, ...GRAPH_OPTIONS });

/**
 * Reads a network to run: a model file (safetensors with its graph, as `convert` writes it with `graph` or `arch`), or any checkpoint, in
 * either form, together with its graph or the name of its network; or an ONNX model of the operators that a graph has.
 *
 * @throws the errors of `readCheckpoint`; ERR_REPFUSE_GRAPH if there is no graph, or a malformed one; ERR_REPFUSE_KEY if the checkpoint is
 *   not of the network that `arch` names
 */
export async function readModel(file: Source, given: ReadModelOptions = {}): Promise<Model> {
  const { graph, arch, ...options } = checkOptions('readModel', OPTIONS, given);
  return await withInput(file, options, async (input) => {
    const { name } = input;
    if (input.kind === 'onnx') {
      const { keyPath, prefix } = options;
      expectNone({ graph, arch, keyPath, prefix }, `${name}, an ONNX model, which tells all itself`, name);
      return await readOnnxModel(file, { signal: options.signal, source: input.source });
    }
    const opened = await input.checkpoint();
    await opened.load(opened.tensors.keys());
    opened.meter.finish();
    const found = graphFor(opened.checkpoint, { graph, arch });
    if (found !== undefined) return { graph: found, tensors: opened.tensors };
    throw noGraph(name);
  });
}

function noGraph(file: string): RepfuseError {
  return new RepfuseError(
    'ERR_REPFUSE_GRAPH',
    `Expected a model file but ${file} holds no graph: name its network (\`arch\`, \`graph\`), or write a model file with convert`,
    { file },
  );
}
