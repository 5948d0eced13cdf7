import { RepfuseError } from '../../errors';
import { canEvaluate, isOfShape } from '../../onnx/evaluation/operators';
import type { Node } from '../../onnx/schema/onnx_pb';

/**
 * That every operator of a model is one that a graph has, so that who reads the error knows all that is missing.
 *
 * @param nodes those that lead to an output, in the order of the model
 * @param inputs names of the model's inputs
 * @param missing what a graph has not of a node, by name, as far as its operator tells; undefined where it can hold it
 * @throws ERR_REPFUSE_GRAPH naming all that is missing, with the number of its nodes and the name of the first
 */
export function expectOperators(
  nodes: readonly Node[],
  inputs: readonly string[],
  missing: (node: Node) => string | undefined,
): void {
  const found = new Map<string, Node[]>();
  const running = nodesThatRun(nodes, inputs);
  const count = (node: Node) => {
    const name = missing(node);
    if (name === undefined) return;
    const others = found.get(name);
    if (others === undefined) found.set(name, [node]);
    else others.push(node);
  };
  running.forEach(count);
  // Which branch of an If holds may show as the model is read: it is no reason by itself.
  const inside = running.flatMap((node) => (node.opType === 'If' ? [...nodesInBranches(node)] : []));
  if (found.size > 0) inside.filter((node) => !canEvaluate(node)).forEach(count);
  if (found.size === 0) return;
  const byCount = [...found].sort(([, a], [, b]) => b.length - a.length);
  const told = byCount.map(([name, [first, ...others]]) => {
    const where = JSON.stringify(first!.name || first!.output[0] || '');
    return others.length === 0 ? `${name} ${where} (1 node)` : `${name} (${others.length + 1} nodes, first ${where})`;
  });
  throw new RepfuseError(
    'ERR_REPFUSE_GRAPH',
    `Expected operators that repfuse runs but the model has ${told.length} ${told.length === 1 ? 'other' : 'others'}: ${told.join(', ')}`,
    { operators: Object.fromEntries(byCount.map(([name, { length }]) => [name, length])) },
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

/** The nodes of both branches of an If, and of those inside them. */
function* nodesInBranches(node: Node): Generator<Node, void, void> {
  for (const { g } of node.attribute) {
    for (const each of g?.node ?? []) {
      yield each;
      if (each.opType === 'If') yield* nodesInBranches(each);
    }
  }
}
