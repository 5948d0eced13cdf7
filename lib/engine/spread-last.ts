import type { Graph, GraphNode } from '../graph';
import { outputsOf } from '../graph';
import { operatorOf } from '../graph/operators';
import { spreadConvolution } from '../graph/operators/conv-transpose2d';
import { DTYPES } from '../tensor/dtype';
import { toFloat32 } from '../tensor/half';
import { Tensor } from '../tensor/tensor';

/** How a node spreads channels over blocks of pixels. */
interface Spreading {
  /** Channels of its result, and pixels of a block. */
  readonly channels: number;
  readonly block: readonly [number, number];
  /** Of the channels before it: those of one result follow each other; else those of one pixel. */
  readonly channelsFirst: boolean;
  /** What stands before the spreading: nodes that make a value, and its id. */
  readonly before: readonly GraphNode[];
  readonly wide: string;
}

/**
 * A graph in which constants for each channel and a function of each value stand before the node that spreads channels over blocks of pixels (a
 * transposed convolution, as a plain one that is spread; depth to space), where nothing else reads what they are of: the convolution takes them, and
 * writes its result once, where it belongs. The values are the same.
 */
export function spreadLast(
  graph: Graph,
  tensors: ReadonlyMap<string, Tensor>,
): { readonly graph: Graph; readonly tensors: ReadonlyMap<string, Tensor> } {
  const made = new Map(tensors);
  const weight = (key: string): Tensor => {
    const tensor = made.get(key)!;
    return tensor.dtype === 'F32' ? tensor : Tensor.f32(tensor.shape, toFloat32(tensor));
  };
  const readers = new Map<string, GraphNode[]>();
  for (const node of graph.nodes) for (const id of node.inputs) readers.set(id, [...(readers.get(id) ?? []), node]);
  const outputs = new Set(outputsOf(graph));
  const moved = new Map<GraphNode, readonly GraphNode[]>();
  for (const node of graph.nodes) {
    if (!SPREADING.has(node.op)) continue;
    const after = takenAfter(node.id, readers, outputs);
    const spreading = after.length === 0 ? undefined : spreadingOf(node, weight, made);
    if (spreading === undefined) continue;
    const nodes = [...spreading.before];
    let wide = spreading.wide;
    const taken = after.map((each) => widened(each, wide, spreading, made));
    const end = taken.indexOf(undefined);
    const before = taken.slice(0, end < 0 ? taken.length : end) as GraphNode[];
    if (before.length === 0) continue;
    for (const each of before) {
      nodes.push({ ...each, inputs: [wide] } as GraphNode);
      wide = each.id;
    }
    const { block, channelsFirst } = spreading;
    const { id } = after[before.length - 1]!;
    nodes.push({ id, op: 'depth_to_space', inputs: [wide], block, channels_first: channelsFirst });
    moved.set(node, nodes);
    for (const each of after.slice(0, before.length)) moved.set(each, []);
  }
  if (moved.size === 0) return { graph, tensors };
  return { graph: { ...graph, nodes: graph.nodes.flatMap((node) => moved.get(node) ?? [node]) }, tensors: made };
}

const SPREADING: ReadonlySet<GraphNode['op']> = new Set(['conv_transpose2d', 'depth_to_space']);

/** The nodes after a value, each the only reader of the one before, that a convolution can take: constants of channels, then a function of each value. */
function takenAfter(
  value: string,
  readers: ReadonlyMap<string, readonly GraphNode[]>,
  outputs: ReadonlySet<string>,
): readonly GraphNode[] {
  const found: GraphNode[] = [];
  for (let id = value; !outputs.has(id); ) {
    const [node, ...others] = readers.get(id) ?? [];
    if (node === undefined || others.length > 0 || node.inputs.length !== 1) break;
    const isLast = operatorOf(node).epilogue !== undefined;
    if (!isLast && !scalesChannels(node)) break;
    found.push(node);
    if (isLast) break;
    id = node.id;
  }
  return found;
}

function scalesChannels(node: GraphNode): boolean {
  if (node.op !== 'binary') return node.op === 'batch_norm';
  return ['add', 'sub', 'mul'].includes(node.function) || (node.function === 'div' && node.constant_first !== true);
}

function spreadingOf(
  node: GraphNode,
  weight: (key: string) => Tensor,
  tensors: Map<string, Tensor>,
): Spreading | undefined {
  if (node.op === 'depth_to_space') {
    const channels = 0; // as many as its constants are for
    return { channels, block: node.block, channelsFirst: node.channels_first, before: [], wide: node.inputs[0]! };
  }
  if (node.op !== 'conv_transpose2d') return undefined;
  const { crop, spread, weight: kernel, bias, groups, padding } = spreadConvolution(node, weight);
  if (crop.some((side) => side !== 0)) return undefined;
  const wide = `${node.id} wide`;
  const keys = { weight: `${wide}.weight`, bias: bias === null ? null : `${wide}.bias` };
  tensors.set(keys.weight, kernel);
  if (bias !== null) tensors.set(keys.bias!, bias);
  const [down, across, isFirst] = spread.ints as [number, number, number];
  const conv = {
    id: wide,
    op: 'conv2d',
    inputs: node.inputs,
    ...keys,
    stride: [1, 1],
    padding,
    dilation: [1, 1],
    groups,
  };
  return {
    channels: kernel.shape[0]! / (down * across),
    block: [down, across],
    channelsFirst: isFirst !== 0,
    before: [conv as GraphNode],
    wide,
  };
}

/** The node for the value before it is spread; undefined where its constants are not of channels. */
function widened(
  node: GraphNode,
  wide: string,
  spreading: Spreading,
  tensors: Map<string, Tensor>,
): GraphNode | undefined {
  const id = `${node.id} wide`;
  const key = (name: string) => `${wide} ${name}`;
  if (node.op === 'batch_norm') {
    const names = [...(node.affine ? ['weight', 'bias'] : []), 'running_mean', 'running_var'];
    for (const name of names) {
      const tensor = tensors.get(`${node.prefix}.${name}`)!;
      tensors.set(key(`${node.prefix}.${name}`), repeated(tensor, spreading));
    }
    return { ...node, id, prefix: key(node.prefix) };
  }
  if (node.op !== 'binary') return { ...node, id };
  const constant = tensors.get(node.constant!)!;
  if (constant.size === 1) return { ...node, id };
  const axis = constant.shape.length - 3; // of channels
  if (axis < 0 || constant.shape[axis] !== constant.size || (spreading.channels || constant.size) !== constant.size)
    return undefined;
  const wider = repeated(constant, spreading);
  tensors.set(key(node.constant!), new Tensor(wider.dtype, [wider.size, 1, 1], wider.data));
  return { ...node, id, constant: key(node.constant!) };
}

/** A constant of channels for those before they are spread. */
function repeated({ dtype, size, data }: Tensor, { block: [down, across], channelsFirst }: Spreading): Tensor {
  const pixels = down * across;
  const wide = new DTYPES[dtype].array(size * pixels);
  for (let i = 0; i < wide.length; i++) wide[i] = data[channelsFirst ? Math.floor(i / pixels) : i % size]!;
  return new Tensor(dtype, [size * pixels], wide);
}
