import { create } from '@bufbuild/protobuf';
import { fromBranch } from '../../algebra';
import type { Stage } from '../../ops';
import type { FloatType } from '../../tensor/round';
import type { Tensor } from '../../tensor/tensor';
import { analyse } from '../analysis';
import { describeNode } from '../attributes';
import type { FixedConstants } from '../fixed-constants';
import { changed } from '../messages';
import type { OnnxModel } from '../model';
import { type Node, NodeSchema } from '../schema/onnx_pb';
import { protoOf } from '../values';
import { FreshNames } from '../wiring';
import { type Chain, ChainFinder } from './chains';
import { fuseWeights } from './fuse-weights';
import { type Product, productOf } from './products';
import type { Folded, FoldedRegion, FoldOptions } from './report';

/**
 * BatchNormalizations, and arithmetic with a constant for each feature, become part of the weights of a Gemm or MatMul before or behind them, and of
 * a ConvTranspose or Conv before them: also through nodes that write features in another shape. Float64 inside, rounded once.
 *
 * @throws as `foldGraph`
 */
export async function foldLinear(model: OnnxModel, fixed: FixedConstants, options: FoldOptions): Promise<Folded> {
  const { graph } = model.proto;
  const analysis = analyse(model, fixed);
  const chains = new ChainFinder(analysis, graph.node);
  const names = new FreshNames(graph);
  const initializer = [...graph.initializer];
  const replaced = new Map<Node, readonly Node[]>();
  const renamed = new Map<string, string>(); // values within chains, whose shape somebody may read
  const folded: FoldedRegion[] = [];
  for (const node of graph.node) {
    const product = productOf(node, analysis.constants);
    if (product === undefined) continue;
    if (typeof product === 'string') {
      const batchNorm = chains.batchNormAfter(node);
      if (batchNorm !== undefined) chains.kept.set(batchNorm, product);
      continue;
    }
    const chain = chains.around(node, product, (each) => replaced.has(each));
    if (!pays(node, product, chain)) continue;
    const last = chain.nodes.at(-1)!;
    if (!fixed.budget.spend(4 * product.weight.size)) {
      for (const each of chain.absorbed)
        chains.kept.set(each, 'its weights are beyond the budget of a model of this size');
      continue;
    }
    const stages = [...chain.before, kernelOf(product), ...product.stages, ...chain.after];
    const channels = product.weight.shape[1]! * product.groups;
    const make = () => fromBranch({ name: describeNode(node), stages }, { channels });
    const { weight, bias } = await fuseWeights(make, last, product.weight.dtype as FloatType | 'F64', options);
    const output = last.output[0]!;
    const name = names.take(`${last.name || output}_fused`);
    const add = (role: string, tensor: Tensor) => {
      initializer.push(protoOf(names.take(`${name}.${role}`), tensor));
      return initializer.at(-1)!.name;
    };
    const shifts = stages.some(({ kind }) => kind === 'bias' || kind === 'batch_norm');
    const constants = [add('weight', product.restore(weight)), ...(shifts ? [add('bias', bias)] : [])];
    const isMatrix = analysis.constants.shapes.get(node.input[0]!)?.length === 2;
    rewire(chain, node, output, names, renamed, replaced, (input, made) =>
      writeProduct(node, name, [input, ...constants], made, isMatrix, names),
    );
    const from = chain.nodes.filter((each) => each === node || chain.absorbed.has(each)).map(describeNode);
    folded.push({ node: name, output, from, kernel: product.kernel, groups: product.groups });
  }
  const kept = [...chains.kept].flatMap(([node, reason]) =>
    replaced.has(node) ? [] : [{ node: describeNode(node), reason }],
  );
  if (folded.length === 0) return { model, folded, kept };
  const node = graph.node.flatMap((each) => replaced.get(each) ?? [withNames(each, renamed)]);
  return {
    model: { ...model, proto: changed(model.proto, { graph: changed(graph, { node, initializer }) }) },
    folded,
    kept,
  };
}

/** Whether a chain leaves less to do: a bias behind a MatMul stays an Add. A Conv of images alone is left to `foldConvolutions`. */
function pays({ opType }: Node, { rank }: Product, { nodes, absorbed }: Chain): boolean {
  if (absorbed.size === 0) return false;
  if (opType === 'Conv' && rank === 4 && nodes.length === absorbed.size + 1) return false;
  return (
    opType !== 'MatMul' || [...absorbed].some((each) => ['BatchNormalization', 'Mul', 'Div'].includes(each.opType))
  );
}

function kernelOf({ weight, groups }: Product): Stage {
  return { kind: 'conv2d', weight, stride: [1, 1], padding: [0, 0, 0, 0], dilation: [1, 1], groups };
}

/** The product with other constants; that of more than matrices has its bias added. */
function writeProduct(
  node: Node,
  name: string,
  input: readonly string[],
  output: string,
  isMatrix: boolean,
  names: FreshNames,
): readonly Node[] {
  const attribute = node.attribute.filter((each) => each.name !== 'alpha' && each.name !== 'beta');
  const [source, weight, bias] = input as [string, string, string?];
  if (node.opType !== 'MatMul' || bias === undefined || isMatrix) {
    const opType = node.opType === 'MatMul' && bias !== undefined ? 'Gemm' : node.opType;
    return [changed(node, { name, opType, attribute, input: [...input], output: [output] })];
  }
  const product = names.take(`${name}.product`);
  return [
    changed(node, { name: product, input: [source, weight], output: [product] }),
    create(NodeSchema, { opType: 'Add', name, input: [product, bias], output: [output] }),
  ];
}

/** The nodes of a chain without those that became part of its product, each in its place, and the chain's last value under its name. */
function rewire(
  { nodes, absorbed, source }: Chain,
  product: Node,
  output: string,
  names: FreshNames,
  renamed: Map<string, string>,
  replaced: Map<Node, readonly Node[]>,
  write: (input: string, output: string) => readonly Node[],
): void {
  const lastLeft = nodes.findLastIndex((each) => !absorbed.has(each));
  let value = source;
  for (const [i, node] of nodes.entries()) {
    const [own = ''] = node.output;
    if (absorbed.has(node)) replaced.set(node, []);
    else {
      const input = value;
      value = i === lastLeft ? output : names.take(`${own}_fused`);
      const moved = () => [changed(node, { input: [input, ...node.input.slice(1)], output: [value] })];
      replaced.set(node, node === product ? write(input, value) : moved());
    }
    renamed.set(own, value);
  }
}

function withNames(node: Node, renamed: ReadonlyMap<string, string>): Node {
  if (!node.input.some((name) => renamed.has(name))) return node;
  return changed(node, { input: node.input.map((name) => renamed.get(name) ?? name) });
}
