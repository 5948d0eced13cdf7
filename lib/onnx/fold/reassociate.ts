import { create } from '@bufbuild/protobuf';
import { affineStep, type Known } from '../affine';
import { isOfOnnx } from '../attributes';
import { changed } from '../messages';
import type { OnnxModel } from '../model';
import { type Node, NodeSchema } from '../schema/onnx_pb';
import { FreshNames, type Wiring } from '../wiring';

/**
 * A model in whose trees of sums the terms that are affine maps of one value stand together: (conv(x) + y) + conv'(x) as (conv(x) + conv'(x)) + y.
 * The given one where they do already. The sums are the same but for the order of rounding.
 */
export function reassociateSums(model: OnnxModel, wiring: Wiring, known: Known): OnnxModel {
  const { graph } = model.proto;
  const isSum = (node: Node | undefined): node is Node =>
    node !== undefined && isSumOfValues(node) && affineStep(node, known) === undefined;
  const isInner = (value: string) => wiring.hasOneReader(value) && isSum(wiring.producer(value));
  const names = new FreshNames(graph);
  const replaced = new Map<Node, readonly Node[]>(); // the inner nodes of a tree by nothing, its root by new ones
  for (const root of graph.node) {
    if (!isSum(root) || isSum(wiring.soleReader(root.output[0]!))) continue;
    const inner: Node[] = [];
    const leaves: string[] = [];
    for (const open = [...root.input].reverse(); open.length > 0; ) {
      const value = open.pop()!;
      if (!isInner(value)) leaves.push(value);
      else {
        inner.push(wiring.producer(value)!);
        for (const term of [...inner.at(-1)!.input].reverse()) open.push(term);
      }
    }
    const groups = new Map<string, string[]>();
    for (const leaf of leaves) {
      const source = sourceOf(leaf, wiring, known);
      const group = groups.get(source);
      if (group === undefined) groups.set(source, [leaf]);
      else group.push(leaf);
    }
    if (inner.length === 0 || groups.size < 2 || ![...groups.values()].some((group) => group.length > 1)) continue;
    const sums: Node[] = [];
    const add = (inputs: readonly string[], output: string) => {
      const name = names.take(`${root.name || output}_terms`);
      sums.push(
        create(NodeSchema, { opType: inputs.length === 2 ? 'Add' : 'Sum', name, input: [...inputs], output: [output] }),
      );
      return output;
    };
    const terms = [...groups.values()].map((group) =>
      group.length === 1 ? group[0]! : add(group, names.take(`${root.output[0]}_terms`)),
    );
    add(terms, root.output[0]!);
    for (const node of inner) replaced.set(node, []);
    replaced.set(root, sums);
  }
  if (replaced.size === 0) return model;
  const node = graph.node.flatMap((each) => replaced.get(each) ?? [each]);
  return { ...model, proto: changed(model.proto, { graph: changed(graph, { node }) }) };
}

/** A sum as the format has it: no term is left out, and an Add has two. */
export function isSumOfValues({ opType, domain, input, output }: Node): boolean {
  const hasItsTerms = (opType === 'Add' && input.length === 2) || (opType === 'Sum' && input.length > 0);
  return hasItsTerms && isOfOnnx(domain) && !input.includes('') && output.length === 1 && output[0] !== '';
}

/** The value of which another is an affine map, as far as nobody else reads what lies between. */
function sourceOf(value: string, wiring: Wiring, known: Known): string {
  let source = value;
  for (;;) {
    const node = wiring.producer(source);
    const step = node === undefined || !wiring.hasOneReader(source) ? undefined : affineStep(node, known);
    if (step === undefined || step.kind === 'refused') return source;
    source = step.input;
  }
}
