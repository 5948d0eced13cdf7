import { intOf, isOfOnnx } from '../attributes';
import { changed } from '../messages';
import type { OnnxModel } from '../model';
import type { Node } from '../schema/onnx_pb';
import { isFramed } from '../windows';
import { FreshNames, Wiring } from '../wiring';
import { isProduct } from './products';

/**
 * A model in which BatchNormalizations before an average pooling stand behind it, where a convolution or matrix reads what it makes and can take them:
 * an average of pixels that are scaled and shifted alike is the scaled and shifted average. Those that a convolution before them takes stay. The
 * given model where there is nothing to do.
 */
export function normsBehindPools(model: OnnxModel): OnnxModel {
  const { graph } = model.proto;
  const wiring = new Wiring(graph);
  const names = new FreshNames(graph);
  const replaced = new Map<Node, readonly Node[]>();
  for (const norm of graph.node) {
    const pool = poolBehind(norm, wiring);
    if (pool === undefined) continue;
    const [source = '', ...parameters] = norm.input;
    const average = names.take(`${source}.average`);
    replaced.set(norm, []);
    replaced.set(pool, [
      changed(pool, { input: [source], output: [average] }),
      changed(norm, { input: [average, ...parameters], output: pool.output }),
    ]);
  }
  if (replaced.size === 0) return model;
  const node = graph.node.flatMap((each) => replaced.get(each) ?? [each]);
  return { ...model, proto: changed(model.proto, { graph: changed(graph, { node }) }) };
}

function poolBehind(norm: Node, wiring: Wiring): Node | undefined {
  const [source = ''] = norm.input;
  if (norm.opType !== 'BatchNormalization' || !isOne(norm)) return undefined;
  const isTaken = wiring.hasOneReader(source) && isProduct(wiring.producer(source));
  const pool = isTaken ? undefined : wiring.soleReader(norm.output[0]!);
  if (pool === undefined || !isOne(pool) || !averagesPixels(pool)) return undefined;
  const reader = wiring.soleReader(pool.output[0]!);
  return reader !== undefined && takesInput(reader) ? pool : undefined;
}

function isOne({ domain, output }: Node): boolean {
  return isOfOnnx(domain) && output.length === 1;
}

/** Whether no zeros of a frame count. */
function averagesPixels(pool: Node): boolean {
  if (pool.opType === 'GlobalAveragePool') return true;
  return pool.opType === 'AveragePool' && (intOf(pool, 'count_include_pad', 0) === 0 || !isFramed(pool));
}

function takesInput(node: Node): boolean {
  return isOfOnnx(node.domain) && (node.opType === 'Flatten' || (node.opType === 'Conv' && !isFramed(node)));
}
