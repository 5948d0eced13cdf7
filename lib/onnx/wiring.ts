import type { Graph, Node } from './schema/onnx_pb';

/** Who makes and who reads each value of a graph. */
export class Wiring {
  private readonly producers = new Map<string, Node>();
  private readonly readers = new Map<string, { count: number; last: Node }>();
  readonly outputs: ReadonlySet<string>;

  constructor(graph: Graph) {
    this.outputs = new Set(graph.output.map(({ name }) => name));
    for (const node of graph.node) {
      for (const value of node.output) if (value !== '') this.producers.set(value, node);
      for (const value of valuesRead(node)) this.readers.set(value, { count: this.readersOf(value) + 1, last: node });
    }
  }

  producer(value: string): Node | undefined {
    return this.producers.get(value);
  }

  /** Inputs of nodes that are the value, graphs inside nodes included. */
  readersOf(value: string): number {
    return this.readers.get(value)?.count ?? 0;
  }

  /** The node that reads a value, if one input of one node does, and nobody outside. */
  soleReader(value: string): Node | undefined {
    return this.hasOneReader(value) ? this.readers.get(value)!.last : undefined;
  }

  /** One input of one node reads it, and nobody outside. */
  hasOneReader(value: string): boolean {
    return this.readersOf(value) === 1 && !this.outputs.has(value);
  }
}

/** The values that a node reads, those of the graphs inside it among them. */
export function* valuesRead({ input, attribute }: Node): Generator<string, void, void> {
  for (const value of input) if (value !== '') yield value;
  for (const { g, graphs } of attribute) {
    for (const graph of g === undefined ? graphs : [g, ...graphs]) {
      // Names of its own may hide outer ones: counting those too only keeps a value from being folded away.
      for (const node of graph.node) yield* valuesRead(node);
      for (const { name } of graph.output) yield name;
    }
  }
}

/** Names that are free. */
export class FreshNames {
  private readonly taken: Set<string>;
  private readonly last = new Map<string, number>();

  constructor({ node, input, initializer, output }: Graph) {
    this.taken = new Set([...input, ...output, ...initializer].map(({ name }) => name));
    for (const each of node) for (const name of [each.name, ...each.output, ...valuesRead(each)]) this.taken.add(name);
  }

  /** `wanted`, or with the first number that makes it new. */
  take(wanted: string): string {
    let name = wanted;
    let number = this.last.get(wanted) ?? 0;
    while (this.taken.has(name)) name = `${wanted}_${++number}`;
    this.last.set(wanted, number);
    this.taken.add(name);
    return name;
  }
}
