import { RepfuseError } from '../../errors';
import { evaluateValues, type Graph, type GraphNode } from '../../graph';
import { operatorOf } from '../../graph/operators';
import { toFloat32 } from '../../tensor/half';
import { Tensor } from '../../tensor/tensor';

export interface Network {
  readonly graph: Graph;
  readonly tensors: ReadonlyMap<string, Tensor>;
}

interface RunOptions {
  readonly threads?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * The sum of magnitudes of the terms of every result of an affine network: what it makes of |x| when all its weights, shifts and means count by their
 * magnitude. Rounding errors are small against that, whatever cancels.
 *
 * @throws ERR_REPFUSE_GRAPH naming a node that is not affine
 */
export async function magnitudesOf({ graph, tensors }: Network, input: Tensor, run: RunOptions): Promise<Tensor> {
  const magnitudes = new Map<string, Tensor>();
  for (const [key, tensor] of tensors) {
    const sign = key.endsWith('.running_mean') ? -1 : 1; // x - mean
    const isVariance = key.endsWith('.running_var');
    const values = toFloat32(tensor).map((value) => (isVariance ? value : sign * Math.abs(value)));
    magnitudes.set(key, Tensor.f32(tensor.shape, values));
  }
  const nodes = graph.nodes.map(magnitudeOf);
  const x = Tensor.f32(input.shape, (input.data as Float32Array).map(Math.abs));
  const { output } = graph;
  return (await evaluateValues({ ...graph, nodes }, magnitudes, x, [output], run)).get(output)!;
}

/** Most operators that round one after the other. */
export function depthOf({ input, output, nodes }: Graph): number {
  const depths = new Map([[input, 0]]);
  for (const node of nodes) depths.set(node.id, 1 + Math.max(0, ...node.inputs.map((id) => depths.get(id)!)));
  return depths.get(output)!;
}

function magnitudeOf(node: GraphNode): GraphNode {
  const magnitude = operatorOf(node).magnitude?.(node);
  if (magnitude !== undefined) return magnitude;
  throw new RepfuseError('ERR_REPFUSE_GRAPH', `Node ${node.id} (${node.op}) is no affine map`, { node: node.id });
}
