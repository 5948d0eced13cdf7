import { RepfuseError } from '../errors';
import { describeNode } from './attributes';
import type { Graph } from './schema/onnx_pb';
import { valuesRead } from './wiring';

/**
 * That every value is made once, and before it is read, as the format demands: what walks a graph relies on it.
 *
 * @throws ERR_REPFUSE_GRAPH naming file, node and value
 */
export function checkOrder(graph: Graph, file: string): void {
  const made = new Set(graph.input.map(({ name }) => name));
  const initializers = new Set<string>();
  for (const { name } of graph.initializer) {
    if (initializers.has(name)) {
      const message = `Expected one initializer of each name in ${file} but received more of ${JSON.stringify(name)}`;
      throw new RepfuseError('ERR_REPFUSE_GRAPH', message, { file, value: name });
    }
    initializers.add(name);
    made.add(name);
  }
  const inner = new Set(
    graph.node.flatMap(({ attribute }) => attribute.flatMap(({ g, graphs }) => innerNames(g, graphs))),
  );
  for (const node of graph.node) {
    const refuse = (expected: string, value: string) =>
      new RepfuseError(
        'ERR_REPFUSE_GRAPH',
        `Expected ${expected} in ${file} but ${describeNode(node)} has ${JSON.stringify(value)}`,
        { file, node: node.name, value },
      );
    for (const value of valuesRead(node))
      if (!made.has(value) && !inner.has(value)) throw refuse('inputs that earlier nodes make', value);
    for (const value of node.output) {
      if (value === '') continue;
      if (made.has(value)) throw refuse('values that are made once', value);
      made.add(value);
    }
  }
}

/** Values that graphs inside nodes make for themselves. */
function innerNames(graph: Graph | undefined, graphs: readonly Graph[]): string[] {
  return (graph === undefined ? graphs : [graph, ...graphs]).flatMap(({ node, input, initializer }) => [
    ...[...input, ...initializer].map(({ name }) => name),
    ...node.flatMap((each) => [...each.output, ...each.attribute.flatMap((item) => innerNames(item.g, item.graphs))]),
  ]);
}
