import { RepfuseError } from '../errors';
import { OpenSize, product, type Sizes } from '../sizes/size';
import { DTYPES } from '../tensor/dtype';
import { formatShape, type Tensor } from '../tensor/tensor';
import { bindShapes, expectMultiples, expectShapes, type InputShapes } from './edges';
import { type Graph, type GraphNode, inputsOf, nodeKeys, outputsOf } from './graph';
import { withSizes } from './open-sizes';
import { operatorOf } from './operators';
import { MAX_RANK } from './operators/fields';
import { type Inputs, nodeError, type Shape, ShapeMismatch } from './operators/operator';

/** Largest result of a node: a file can ask for any size by its paddings, so the size is checked before memory is taken. */
const MAX_ELEMENTS = 2 ** 31 - 1;

/**
 * Shape of every node's result, by id, for inputs of `inputShapes` (of one input its shape, else by name). Every tensor that a node reads is
 * checked against it: there, floating-point, of the right shape. An image whose size fits nowhere is refused with the multiple that fits. Of a result whose size the data tell it is the largest that it can have;
 * what is behind such a result has none.
 *
 * @throws ERR_REPFUSE_GRAPH naming the node whose weights are missing or whose input does not fit; ERR_REPFUSE_SHAPE where a shape is not
 *   what the graph's `inputs` say; ERR_REPFUSE_INVALID_ARGUMENT naming the input without a shape
 */
export function inferShapes(
  open: Graph,
  inputShapes: InputShapes,
  tensors: ReadonlyMap<string, Pick<Tensor, 'dtype' | 'shape'>>,
): Map<string, Shape> {
  const given = bindShapes(open, inputShapes);
  for (const shape of given) {
    if (shape.every((size) => Number.isSafeInteger(size) && size > 0)) continue;
    throw new RepfuseError(
      'ERR_REPFUSE_SHAPE',
      `Expected positive integers for the input's shape but received ${formatShape(shape)}`,
    );
  }
  if (open.inputs !== undefined) expectShapes(open, given);
  try {
    return shapesOf(withSizes(open, inputShapes), given, tensors);
  } catch (error) {
    if (error instanceof RepfuseError && error.code === 'ERR_REPFUSE_GRAPH') expectMultiples(open, given);
    throw error;
  }
}

/** Of a graph whose sizes are known. */
function shapesOf(
  graph: Graph,
  given: readonly Shape[],
  tensors: ReadonlyMap<string, Pick<Tensor, 'dtype' | 'shape'>>,
): Map<string, Shape> {
  const shapes = new Map(inputsOf(graph).map(({ id }, i) => [id, given[i]!]));
  const behind = new Set<string>(); // results of a size that the data tell
  for (const node of graph.nodes) {
    if (node.inputs.some((id) => behind.has(id))) {
      expectTensors(node, tensors);
      behind.add(node.id);
      continue;
    }
    shapes.set(node.id, nodeShape(node, shapes, tensors));
    if (operatorOf(node).dataAxis?.(node) !== undefined) behind.add(node.id);
  }
  const unknown = outputsOf(graph).find((id) => !shapes.has(id) && !behind.has(id));
  if (unknown !== undefined)
    throw new RepfuseError('ERR_REPFUSE_GRAPH', `Expected the id of a node for output but received ${unknown}`);
  return shapes;
}

/** Multiply-accumulates of one run, convolutions and linear layers counted. */
export function countMacs(
  graph: Graph,
  shapes: ReadonlyMap<string, Shape>,
  tensors: ReadonlyMap<string, Pick<Tensor, 'dtype' | 'shape'>>,
): number {
  return graph.nodes.reduce((sum, node) => {
    const [input = []] = node.inputs.map((id) => shapes.get(id)!);
    const result = shapes.get(node.id);
    if (result === undefined) return sum; // of a size that only a run tells
    const macs = operatorOf(node).macs?.(node, input, result, (key) => tensors.get(key)!.shape);
    return sum + (macs ?? 0);
  }, 0);
}

/** Shape of a node's result, checked as `inferShapes` does. */
export function nodeShape(
  node: GraphNode,
  shapes: ReadonlyMap<string, Shape>,
  tensors: ReadonlyMap<string, Pick<Tensor, 'dtype' | 'shape'>>,
): Shape;
/** The same of inputs whose sizes are open. */
export function nodeShape(
  node: GraphNode,
  shapes: ReadonlyMap<string, Sizes>,
  tensors: ReadonlyMap<string, Pick<Tensor, 'dtype' | 'shape'>>,
): Sizes;
export function nodeShape(
  node: GraphNode,
  shapes: ReadonlyMap<string, Sizes>,
  tensors: ReadonlyMap<string, Pick<Tensor, 'dtype' | 'shape'>>,
): Sizes {
  expectTensors(node, tensors);
  const inputs = node.inputs.map((id) => {
    const shape = shapes.get(id);
    if (shape === undefined) throw nodeError(node, `its input ${id} does not come before it`);
    return shape;
  });
  const shape = shapeOf(node, inputs as unknown as Inputs<Sizes>, (key) => tensors.get(key)!.shape);
  const count = product(shape);
  if (typeof count === 'number' && count > MAX_ELEMENTS) {
    throw nodeError(node, `its result ${formatShape(shape)} would hold more than ${MAX_ELEMENTS} values`);
  }
  return shape;
}

/** @throws ERR_REPFUSE_GRAPH unless every tensor that a node reads is there, and floating-point */
export function expectTensors(node: GraphNode, tensors: ReadonlyMap<string, Pick<Tensor, 'dtype'>>): void {
  for (const key of nodeKeys(node)) {
    const tensor = tensors.get(key);
    if (tensor === undefined) throw nodeError(node, `its tensor ${key} is missing`);
    if (!DTYPES[tensor.dtype].floating)
      throw nodeError(node, `its tensor ${key} is ${tensor.dtype}, not floating-point`);
  }
}

function shapeOf(node: GraphNode, inputs: Inputs<Sizes>, keyShape: (key: string) => Shape): Sizes {
  try {
    const shape = operatorOf(node).shape(node, inputs, keyShape);
    if (inputs.length === 0) return shape; // a constant of the state dict, as it is
    if (shape.length > MAX_RANK) throw new ShapeMismatch(`its result would have more than ${MAX_RANK} axes`);
    const mayBeEmpty = inputs.some((input) => input.includes(0)); // as only a size that the data tell can be
    if (shape.some((size) => !(size instanceof OpenSize || size >= (mayBeEmpty ? 0 : 1))))
      throw new ShapeMismatch(`nothing remains of its input ${formatShape(inputs[0])}`);
    return shape;
  } catch (error) {
    throw error instanceof ShapeMismatch ? nodeError(node, error.message) : error;
  }
}
