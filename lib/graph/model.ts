import { checkArgument } from '../arguments/check';
import { membersOf, unchecked } from '../arguments/schemas';
import { checkTensors } from '../tensor/schemas';
import type { Tensor } from '../tensor/tensor';
import type { Graph } from './graph';
import { parseGraph } from './parse';

/** A network and its weights, as `readModel` gives them. */
export interface Model {
  readonly graph: Graph;
  readonly tensors: ReadonlyMap<string, Tensor>;
}

/** What the members are made of is looked at by what parses them. */
const MODEL = membersOf<Model>()({ graph: unchecked<Graph>(), tensors: unchecked<Model['tensors']>() });

/** A network from outside, its graph parsed. @throws ERR_REPFUSE_GRAPH, ERR_REPFUSE_INVALID_ARGUMENT */
export function checkModel(model: Model): Model {
  const { graph, tensors } = checkArgument('model', MODEL, model);
  return { graph: parseGraph(graph), tensors: checkTensors('tensors', tensors) };
}
