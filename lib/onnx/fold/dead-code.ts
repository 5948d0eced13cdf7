import { changed } from '../messages';
import type { OnnxModel } from '../model';
import type { Graph, Node } from '../schema/onnx_pb';
import { valuesRead } from '../wiring';

/** The model without nodes none of whose results anybody reads, and without the initializers, inputs and value_info that go with them. */
export function withoutDeadCode(model: OnnxModel): OnnxModel {
  const { graph } = model.proto;
  const node = liveNodes(graph.node, graph);
  const read = new Set([...graph.output.map(({ name }) => name), ...node.flatMap((each) => [...valuesRead(each)])]);
  const made = new Set(node.flatMap(({ output }) => output));
  const gone = new Set(graph.initializer.map(({ name }) => name).filter((name) => !read.has(name)));
  const live = changed(graph, {
    node,
    initializer: graph.initializer.filter(({ name }) => !gone.has(name)),
    input: graph.input.filter(({ name }) => !gone.has(name)), // old files list initializers among them
    valueInfo: graph.valueInfo.filter(({ name }) => made.has(name)),
  });
  return { ...model, proto: changed(model.proto, { graph: live }) };
}

/** The nodes from which a path leads to an output. */
export function liveNodes(nodes: readonly Node[], graph: Graph): Node[] {
  const read = new Set(graph.output.map(({ name }) => name));
  const live: Node[] = [];
  for (const node of [...nodes].reverse()) {
    if (!node.output.some((value) => read.has(value))) continue;
    for (const value of valuesRead(node)) read.add(value);
    live.push(node);
  }
  return live.reverse();
}
