import { open, realpath } from 'node:fs/promises';
import { dirname, isAbsolute, relative, resolve, sep } from 'node:path';
import { quote } from '../arguments/show';
import type { Input } from '../checkpoint/files/source';
import { RepfuseError } from '../errors';
import { type Attribute, type Graph, type Tensor, Tensor_Location } from './schema/onnx_pb';

/**
 * Reads the tensors that a graph keeps in other files, and makes them its own. The files must lie in the model's folder, links resolved.
 *
 * @throws ERR_REPFUSE_FORMAT naming model, tensor and field; ERR_REPFUSE_FILE for a file that cannot be read
 */
export async function loadExternalData(graph: Graph, { name: model, path }: Input): Promise<void> {
  const external = [...tensorsOf(graph)].filter(({ dataLocation }) => dataLocation === Tensor_Location.EXTERNAL);
  if (external.length === 0) return;
  if (path === undefined) {
    throw new RepfuseError(
      'ERR_REPFUSE_FILE',
      `Expected the path of an ONNX model whose tensor ${quote(external[0]!.name)} lies in another file but received its bytes alone`,
      { tensor: external[0]!.name },
    );
  }
  const folder = await realpath(dirname(path));
  for (const tensor of external) await loadTensor(tensor, folder, model);
}

/** Of the graph and of the graphs inside its nodes. */
function* tensorsOf(graph: Graph): Generator<Tensor, void, void> {
  yield* graph.initializer;
  for (const { attribute } of graph.node) for (const item of attribute) yield* tensorsOfAttribute(item);
}

function* tensorsOfAttribute({ t, g, tensors, graphs }: Attribute): Generator<Tensor, void, void> {
  if (t !== undefined) yield t;
  yield* tensors;
  for (const graph of g === undefined ? graphs : [g, ...graphs]) yield* tensorsOf(graph);
}

async function loadTensor(tensor: Tensor, folder: string, model: string): Promise<void> {
  const entries = new Map(tensor.externalData.map(({ key, value }) => [key, value]));
  const location = entries.get('location') ?? '';
  const refuse = (field: string, expected: string, received: unknown) =>
    new RepfuseError(
      'ERR_REPFUSE_FORMAT',
      `Expected ${expected} for ${field} of the external data of tensor ${JSON.stringify(tensor.name)} in ${model} but received ${received}`,
      { file: model, tensor: tensor.name, field },
    );
  const path = resolve(folder, location);
  const outside = (target: string) => {
    const way = relative(folder, target);
    return way === '' || way === '..' || way.startsWith(`..${sep}`) || isAbsolute(way);
  };
  if (location === '' || isAbsolute(location) || outside(path))
    throw refuse('location', "a file in the model's folder", JSON.stringify(location));
  const cannotRead = (cause: Error) => {
    throw new RepfuseError(
      'ERR_REPFUSE_FILE',
      `Cannot read ${path}, which holds tensor ${JSON.stringify(tensor.name)} of ${model}: ${cause.message}`,
      { file: path, tensor: tensor.name },
      { cause },
    );
  };
  const real = await realpath(path).catch(cannotRead);
  if (outside(real)) throw refuse('location', "a file in the model's folder", `a link to ${JSON.stringify(real)}`);
  const handle = await open(real, 'r').catch(cannotRead);
  try {
    const { size } = await handle.stat();
    const offset = wholeNumber(entries.get('offset') ?? '0');
    if (offset === undefined || offset > size)
      throw refuse('offset', `at most the ${size} bytes of the file`, entries.get('offset'));
    const length = wholeNumber(entries.get('length') ?? String(size - offset));
    if (length === undefined || length > size - offset)
      throw refuse('length', `at most ${size - offset} bytes`, entries.get('length'));
    const bytes = new Uint8Array(length);
    for (let at = 0; at < length; ) {
      const { bytesRead } = await handle.read(bytes, at, Math.min(length - at, 1 << 24), offset + at).catch(cannotRead);
      if (bytesRead === 0) throw refuse('length', `${length} bytes`, at);
      at += bytesRead;
    }
    tensor.rawData = bytes;
    tensor.dataLocation = Tensor_Location.DEFAULT;
    tensor.externalData = [];
  } finally {
    await handle.close();
  }
}

function wholeNumber(text: string): number | undefined {
  const value = Number(text);
  return /^\d+$/.test(text) && Number.isSafeInteger(value) ? value : undefined;
}
