import { isOfOnnx } from '../attributes';
import { changed } from '../messages';
import type { OnnxModel } from '../model';
import type { Node } from '../schema/onnx_pb';
import { valuesRead } from '../wiring';

/**
 * A model in which a Shape of what a BatchNormalization reads is the Shape of what it makes: the same numbers, but the BatchNormalization is the
 * only one left to read the value, and can become part of the convolution before it. SAME padding of open sizes is written so: each convolution
 * is asked for its size. The given model where there is nothing to do.
 */
export function askSizesBehindNorms(model: OnnxModel): OnnxModel {
  const { graph } = model.proto;
  const outputs = new Set(graph.output.map(({ name }) => name));
  const producers = new Map(graph.node.flatMap((node) => node.output.map((value) => [value, node] as const)));
  const readers = new Map<string, Node[]>();
  for (const node of graph.node) for (const value of valuesRead(node)) append(readers, value, node);

  const shapes = new Map<Node, Node>();
  const norms = new Map<Node, Node[]>(); // those that move forward, to stand before the Shapes: behind which node
  const moved = new Set<Node>();
  for (const norm of graph.node) {
    if (norm.opType !== 'BatchNormalization' || !isOfOnnx(norm.domain) || norm.output.length !== 1) continue;
    const [value = '', ...parameters] = norm.input;
    const before = producers.get(value);
    const others = readers.get(value)?.filter((node) => node !== norm) ?? [];
    if (before === undefined || outputs.has(value) || parameters.some((name) => producers.has(name))) continue;
    if (others.length === 0 || !others.every(isShape)) continue;
    append(norms, before, norm);
    moved.add(norm);
    for (const shape of others) shapes.set(shape, changed(shape, { input: [norm.output[0]!] }));
  }
  if (moved.size === 0) return model;
  const node = graph.node.flatMap((each) =>
    moved.has(each) ? [] : [shapes.get(each) ?? each, ...(norms.get(each) ?? [])],
  );
  return { ...model, proto: changed(model.proto, { graph: changed(graph, { node }) }) };
}

function isShape({ opType, domain }: Node): boolean {
  return opType === 'Shape' && isOfOnnx(domain);
}

function append<Key>(lists: Map<Key, Node[]>, key: Key, node: Node): void {
  const list = lists.get(key);
  if (list === undefined) lists.set(key, [node]);
  else list.push(node);
}
