import { create } from '@bufbuild/protobuf';
import { changed } from '../../onnx/messages';
import type { OnnxModel } from '../../onnx/model';
import { type Graph, type Node, NodeSchema } from '../../onnx/schema/onnx_pb';
import { numbersOf } from '../../onnx/values';
import { FreshNames } from '../../onnx/wiring';
import type { Tensor } from '../../tensor/tensor';
import { refused, type Take } from './reader';

/** What reading a model comes to where it knows which branch of an If holds: that branch stands in its place, and the model is read anew. */
export class KnownBranches extends Error {
  constructor(readonly taken: ReadonlyMap<Node, Graph>) {
    super('branches are known');
  }
}

export const BRANCH_OPERATORS: Readonly<Record<string, Take>> = {
  If(reader, node) {
    const taken = branchesTaken(reader.graph, (value) => reader.constant(value));
    if (taken.has(node)) throw new KnownBranches(taken);
    throw refused(
      node,
      reader.isShapeNumber(node.input[0]!)
        ? 'its condition depends on sizes that the model leaves open'
        : 'its condition is known only as it runs',
    );
  },
};

/** The branch that holds of each If of a graph whose condition is known. */
export function branchesTaken(graph: Graph, constant: (value: string) => Tensor | undefined): ReadonlyMap<Node, Graph> {
  const taken = new Map<Node, Graph>();
  for (const node of graph.node) {
    const condition = node.opType === 'If' ? constant(node.input[0] ?? '') : undefined;
    if (condition?.size !== 1) continue;
    const name = numbersOf(condition)[0] === 0 ? 'else_branch' : 'then_branch';
    const branch = node.attribute.find((each) => each.name === name)?.g;
    if (branch?.output.length === node.output.length) taken.set(node, branch);
  }
  return taken;
}

/** The model with branches in place of the nodes that choose them. Their values get names that are free. */
export function withBranches(model: OnnxModel, taken: ReadonlyMap<Node, Graph>): OnnxModel {
  const { graph } = model.proto;
  const names = new FreshNames(graph);
  const node: Node[] = [];
  const initializer = [...graph.initializer];
  const valueInfo = [...graph.valueInfo];
  for (const each of graph.node) {
    const branch = taken.get(each);
    if (branch === undefined) {
      node.push(each);
      continue;
    }
    const prefix = each.name || each.output[0] || 'If';
    const own = new Map([...valuesOf(branch)].map((value) => [value, names.take(`${prefix}.${value}`)]));
    const inside = renamed(branch, own);
    node.push(...inside.node);
    initializer.push(...inside.initializer);
    valueInfo.push(...inside.valueInfo);
    for (const [i, { name }] of inside.output.entries()) {
      const result = each.output[i]!;
      if (result !== '')
        node.push(create(NodeSchema, { opType: 'Identity', name: result, input: [name], output: [result] }));
    }
  }
  return { ...model, proto: changed(model.proto, { graph: changed(graph, { node, initializer, valueInfo }) }) };
}

/** Names of what a graph holds itself. */
function* valuesOf({ node, initializer }: Graph): Generator<string, void, void> {
  for (const { name } of initializer) yield name;
  for (const { output } of node) for (const name of output) if (name !== '') yield name;
}

/** A graph with other names for some values, in the graphs inside it too. */
function renamed(graph: Graph, names: ReadonlyMap<string, string>): Graph {
  const nameOf = (value: string) => names.get(value) ?? value;
  const withName = <T extends { name: string }>(each: T): T =>
    changed(each as object, { name: nameOf(each.name) }) as T;
  return changed(graph, {
    initializer: graph.initializer.map(withName),
    valueInfo: graph.valueInfo.map(withName),
    output: graph.output.map(withName),
    node: graph.node.map((node) =>
      changed(node, {
        input: node.input.map(nameOf),
        output: node.output.map(nameOf),
        attribute: node.attribute.map((attribute) => {
          const { g, graphs } = attribute;
          if (g === undefined && graphs.length === 0) return attribute;
          const inner = (each: Graph) => renamed(each, withoutOwn(names, each));
          return changed(attribute, { graphs: graphs.map(inner), ...(g === undefined ? {} : { g: inner(g) }) });
        }),
      }),
    ),
  });
}

/** The names that are not hidden by a graph's own. */
function withoutOwn(names: ReadonlyMap<string, string>, graph: Graph): ReadonlyMap<string, string> {
  const own = new Set([...valuesOf(graph), ...graph.input.map(({ name }) => name)]);
  return new Map([...names].filter(([name]) => !own.has(name)));
}
