import { DTYPES } from '../tensor/dtype';
import { floatValues } from '../tensor/half';
import type { Tensor } from '../tensor/tensor';
import { isOfOnnx } from './attributes';
import type { Graph, Node } from './schema/onnx_pb';
import type { ConstantValues } from './values';
import type { Wiring } from './wiring';

/**
 * Arithmetic with constants that runtimes know as part of one operator: the last factor of a GELU, scale and shift of a layer normalization. Taken
 * into a product behind it, it would cost them the operator, and save nothing.
 */
export function nodesOfPatterns(graph: Graph, wiring: Wiring, constants: ConstantValues): ReadonlySet<Node> {
  const found = new Set<Node>();
  for (const node of graph.node) {
    if (!isOfOnnx(node.domain)) continue;
    if (node.opType === 'Erf' || node.opType === 'Tanh') {
      for (const tail of geluTails(node, wiring, constants)) found.add(tail);
    }
    if (node.opType === 'Div' && isNormalized(node, wiring, constants))
      for (const tail of chainOfConstants(node, ['Mul', 'Add'], wiring, constants)) found.add(tail);
  }
  return found;
}

/** x (1 + erf(x / sqrt 2)) 0.5, whichever factor comes last; and that of tanh. */
function geluTails(erf: Node, wiring: Wiring, constants: ConstantValues): readonly Node[] {
  const [plusOne, ...others] = chainOfConstants(erf, ['Add'], wiring, constants);
  const product = plusOne && others.length === 0 ? soleReader(plusOne, wiring) : undefined;
  if (product?.opType !== 'Mul') return [];
  return chainOfConstants(product, ['Mul'], wiring, constants).filter(({ input }) =>
    input.some((value) => isHalf(constants.get(value))),
  );
}

/** (x - mean) / sqrt(variance + eps) */
function isNormalized({ input: [above = '', below = ''] }: Node, wiring: Wiring, constants: ConstantValues): boolean {
  const root = constants.get(below) === undefined ? wiring.producer(below)?.opType : undefined;
  return wiring.producer(above)?.opType === 'Sub' && (root === 'Sqrt' || root === 'Pow');
}

/** The nodes of these operators, each with a constant, that follow one after the other. */
function chainOfConstants(
  node: Node,
  operators: readonly string[],
  wiring: Wiring,
  constants: ConstantValues,
): readonly Node[] {
  const chain: Node[] = [];
  for (const operator of operators) {
    const before = chain.at(-1) ?? node;
    const next = soleReader(before, wiring);
    const other = next?.input.find((value) => value !== before.output[0]);
    if (next?.opType !== operator || other === undefined || constants.get(other) === undefined) break;
    chain.push(next);
  }
  return chain;
}

function isHalf(constant: Tensor | undefined): boolean {
  return constant?.size === 1 && DTYPES[constant.dtype].floating && floatValues(constant)[0] === 0.5;
}

function soleReader({ output: [value = ''] }: Node, wiring: Wiring): Node | undefined {
  return wiring.soleReader(value);
}
