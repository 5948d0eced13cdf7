import { describeNode, intOf, isOfOnnx } from '../attributes';
import type { FixedConstants } from '../fixed-constants';
import { changed } from '../messages';
import type { OnnxModel } from '../model';
import type { Node } from '../schema/onnx_pb';
import { protoOf } from '../values';
import { FreshNames, Wiring } from '../wiring';
import type { Folded, FoldedRegion } from './report';

/** Operators with a weight, and in which input it is. */
const PRODUCTS: Readonly<Record<string, number>> = { Conv: 1, ConvTranspose: 1, Gemm: 1 };

/**
 * Weights that nodes compute of constants alone (standardised, turned, scaled by a mask) are what they compute, where that is not larger than what
 * it is computed of.
 */
export function computeWeights(model: OnnxModel, fixed: FixedConstants): Folded {
  const { graph } = model.proto;
  const wiring = new Wiring(graph);
  const names = new FreshNames(graph);
  const initializer = [...graph.initializer];
  const known = new Map<string, string>();
  const folded: FoldedRegion[] = [];

  /** The initializer of a computed value. */
  const nameOf = (value: string): string | undefined => {
    const producer = wiring.producer(value);
    const isComputed = producer !== undefined && producer.opType !== 'Constant' && producer.opType !== 'Identity';
    if (!isComputed || known.has(value) || !fixed.has(value)) return known.get(value);
    const tensor = fixed.get(value);
    const most = Math.max(...producer.input.map((name) => (name === '' ? 0 : (fixed.get(name)?.bytes ?? 0))));
    if (tensor === undefined || tensor.bytes > most) return undefined;
    const name = names.take(`${value}_computed`);
    initializer.push(protoOf(name, tensor));
    known.set(value, name);
    return name;
  };

  const node = graph.node.map((each) => {
    const place = isOfOnnx(each.domain) && Object.hasOwn(PRODUCTS, each.opType) ? PRODUCTS[each.opType]! : undefined;
    const value = place === undefined ? undefined : each.input[place];
    const weight = value ? nameOf(value) : undefined;
    if (weight === undefined) return each;
    const shape = fixed.shapeOf(value!) ?? [];
    const [height = 1, width = 1] = each.opType === 'Gemm' ? [] : shape.slice(2);
    const from = [...makersOf(value!, wiring), each].map(describeNode);
    const output = each.output[0]!;
    folded.push({ node: each.name, output, from, kernel: [height, width], groups: intOf(each, 'group', 1) });
    return changed(each, { input: each.input.map((name) => (name === value ? weight : name)) });
  });
  if (folded.length === 0) return { model, folded, kept: [] };
  return {
    model: { ...model, proto: changed(model.proto, { graph: changed(graph, { node, initializer }) }) },
    folded,
    kept: [],
  };
}

/** The nodes that compute a value, first to last. */
function makersOf(value: string, wiring: Wiring): readonly Node[] {
  const found = new Set<Node>();
  for (const open = [value]; open.length > 0; ) {
    const node = wiring.producer(open.pop()!);
    if (node === undefined || found.has(node)) continue;
    found.add(node);
    open.push(...node.input);
  }
  return [...found].reverse();
}
