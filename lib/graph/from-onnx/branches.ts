import { create } from '@bufbuild/protobuf';
import { changed } from '../../onnx/messages';
import type { OnnxModel } from '../../onnx/model';
import { type Graph, type Node, NodeSchema } from '../../onnx/schema/onnx_pb';
import { numbersOf } from '../../onnx/values';
import { FreshNames } from '../../onnx/wiring';
import { areSame } from '../../sizes/size';
import type { Tensor } from '../../tensor/tensor';
import { type Reader, refused, type Take } from './reader';

/** The branch of an If that stands in its place; or both, of which a choice between their results is made as the network runs. */
export type Taken = Graph | 'both';

/** What reading a model comes to where it knows what stands in the place of an If: the model is then read anew. */
export class KnownBranches extends Error {
  constructor(readonly taken: ReadonlyMap<Node, Taken>) {
    super('branches are known');
  }
}

export const BRANCH_OPERATORS: Readonly<Record<string, Take>> = {
  If(reader, node) {
    if (node.input.length === CHOICE) {
      takeChoice(reader, node);
      return;
    }
    const taken = branchesTaken(reader.graph, (value) => reader.constant(value));
    if (taken.has(node)) throw new KnownBranches(taken);
    if (reader.isShapeNumber(node.input[0]!))
      throw refused(node, 'its condition depends on sizes that the model leaves open');
    if (NAMES.some((name) => branchOf(node, name) === undefined)) throw refused(node, 'it has not two branches');
    throw new KnownBranches(new Map<Node, Taken>([...taken, [node, 'both']]));
  },
};

/** Inputs of what is left of an If of both branches: its condition and the two results. */
const CHOICE = 3;
const NAMES = ['then_branch', 'else_branch'] as const;

function branchOf(node: Node, name: (typeof NAMES)[number]): Graph | undefined {
  const branch = node.attribute.find((each) => each.name === name)?.g;
  return branch?.output.length === node.output.length ? branch : undefined;
}

/** One of two results of one shape. */
function takeChoice(reader: Reader, node: Node): void {
  const [condition, yes, no] = node.input as [string, string, string];
  if (!areSame(reader.sizes(yes), reader.sizes(no)))
    throw refused(node, 'which shape its result has is known only as it runs');
  if (reader.sizes(condition).some((size) => size !== 1)) throw refused(node, 'its condition is not one element');
  const id = node.output[0]!;
  const isWide = reader.rank(condition) > reader.rank(yes);
  const own = isWide ? `${id}.condition` : condition;
  if (isWide)
    reader.push({ id: own, op: 'squeeze', inputs: [condition], axes: [...Array(reader.rank(condition)).keys()] });
  reader.push({ id, op: 'where', inputs: [own, yes, no] });
}

/** The branch that holds of each If of a graph whose condition is known. */
export function branchesTaken(graph: Graph, constant: (value: string) => Tensor | undefined): ReadonlyMap<Node, Graph> {
  const taken = new Map<Node, Graph>();
  for (const node of graph.node) {
    const condition = node.opType === 'If' ? constant(node.input[0] ?? '') : undefined;
    if (condition?.size !== 1) continue;
    const branch = branchOf(node, numbersOf(condition)[0] === 0 ? 'else_branch' : 'then_branch');
    if (branch !== undefined) taken.set(node, branch);
  }
  return taken;
}

/** The model with branches in place of the nodes that choose them. Their values get names that are free. */
export function withBranches(model: OnnxModel, taken: ReadonlyMap<Node, Taken>): OnnxModel {
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
    const branches = branch === 'both' ? NAMES.map((name) => branchOf(each, name)!) : [branch];
    const results = branches.map((graph) => {
      const own = new Map([...valuesOf(graph)].map((value) => [value, names.take(`${prefix}.${value}`)]));
      const inside = renamed(graph, own);
      node.push(...inside.node);
      initializer.push(...inside.initializer);
      valueInfo.push(...inside.valueInfo);
      return inside.output.map(({ name }) => name);
    });
    for (const [i, result] of each.output.entries()) {
      const made = results.map((list) => list[i]!);
      const parts = { name: prefix, output: [result] };
      if (result === '') continue;
      if (branch === 'both')
        node.push(create(NodeSchema, { ...parts, opType: 'If', input: [each.input[0]!, ...made] }));
      else node.push(create(NodeSchema, { ...parts, opType: 'Identity', input: made }));
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
