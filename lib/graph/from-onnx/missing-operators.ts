import { RepfuseError } from '../../errors';
import { isOfOnnx } from '../../onnx/attributes';
import { canEvaluate, isOfShape } from '../../onnx/evaluation/operators';
import type { Node } from '../../onnx/schema/onnx_pb';

/**
 * That every operator of a model is one that a graph has, so that who reads the error knows all that is missing.
 *
 * @param nodes those that lead to an output, in the order of the model
 * @param inputs names of the model's inputs
 * @param isRead whether a graph can hold a node, as far as its operator tells
 * @throws ERR_REPFUSE_GRAPH naming each other operator, with its domain where that is not ONNX's own, the number of its nodes and the name of the
 *   first
 */
export function expectOperators(
  nodes: readonly Node[],
  inputs: readonly string[],
  isRead: (node: Node) => boolean,
): void {
  const found = new Map<string, Node[]>();
  for (const node of nodesThatRun(nodes, inputs)) {
    if (isRead(node)) continue;
    const name = isOfOnnx(node.domain) ? node.opType : `${node.domain}.${node.opType}`;
    const others = found.get(name);
    if (others === undefined) found.set(name, [node]);
    else others.push(node);
  }
  if (found.size === 0) return;
  const missing = [...found].sort(([, a], [, b]) => b.length - a.length);
  const told = missing.map(([name, [first, ...others]]) => {
    const where = JSON.stringify(first!.name || first!.output[0] || '');
    return others.length === 0 ? `${name} ${where} (1 node)` : `${name} (${others.length + 1} nodes, first ${where})`;
  });
  throw new RepfuseError(
    'ERR_REPFUSE_GRAPH',
    `Expected operators that repfuse runs but the model has ${told.length} ${told.length === 1 ? 'other' : 'others'}: ${told.join(', ')}`,
    { operators: Object.fromEntries(missing.map(([name, { length }]) => [name, length])) },
  );
}

/** Nodes that compute with the inputs' elements: arithmetic on constants and shapes is done as the model is read. */
function nodesThatRun(nodes: readonly Node[], inputs: readonly string[]): readonly Node[] {
  const ofInputs = new Set(inputs);
  return nodes.filter((node) => {
    const readsElements = valuesComputedWith(node).some((value) => ofInputs.has(value));
    if (node.opType === 'Constant' || (canEvaluate(node) && !readsElements)) return false;
    for (const value of node.output) ofInputs.add(value);
    return true;
  });
}

/** Inputs of which a node needs more than shape and type. */
function valuesComputedWith(node: Node): readonly string[] {
  const { opType, input } = node;
  if (isOfShape(node)) return [];
  return opType === 'CastLike' ? input.slice(0, 1) : input;
}
