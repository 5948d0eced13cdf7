import { RepfuseError } from '../errors';
import { type Graph, inputsOf } from '../graph';
import { shapesForOne } from '../graph/edges';
import { inferShapes } from '../graph/shapes';
import type { Tensor } from '../tensor/tensor';

/** Of values, by id. */
export type Shapes = ReadonlyMap<string, readonly number[]>;

/** Shapes for inputs of one image each; undefined where their other sizes are open. */
export function shapesOfOne(graph: Graph, tensors: ReadonlyMap<string, Tensor>): Shapes | undefined {
  const given = graph.anySize ? undefined : shapesForOne(graph);
  if (given === undefined) return undefined;
  const byName = Object.fromEntries(inputsOf(graph).map(({ id }, i) => [id, given[i]!]));
  try {
    return inferShapes(graph, given.length === 1 ? given[0]! : byName, tensors);
  } catch (error) {
    if (error instanceof RepfuseError) return undefined; // told where the graph runs
    throw error;
  }
}
