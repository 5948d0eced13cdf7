import type { Graph, GraphNode } from '../graph';
import { operatorOf } from '../graph/operators';
import { spreadConvolution } from '../graph/operators/conv-transpose2d';
import { DTYPES } from '../tensor/dtype';
import { asFloat32 } from '../tensor/half';
import { Tensor } from '../tensor/tensor';
import { soleReaders } from './sole-readers';

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
  const spreading = graph.nodes.filter(({ op }) => op === 'conv_transpose2d' || op === 'depth_to_space');
  if (spreading.length === 0) return { graph, tensors };
  const made = new Map(tensors);
  const readers = soleReaders(graph);
  const moved = new Map<GraphNode, readonly GraphNode[]>();
  for (const node of spreading) {
    const after = takenAfter(node.id, readers);
    const how = after.length === 0 ? undefined : spreadingOf(node, made);
    if (how === undefined) continue;
    const nodes = [...how.before];
    let [id, wide] = [node.id, how.wide];
    for (const each of after) {
      const before = widened(each, wide, how, made);
      if (before === undefined) break;
      nodes.push(before);
      moved.set(each, []);
      [id, wide] = [each.id, before.id];
    }
    if (id === node.id) continue; // none moves
    nodes.push({ id, op: 'depth_to_space', inputs: [wide], block: how.block, channels_first: how.channelsFirst });
    moved.set(node, nodes);
  }
  if (moved.size === 0) return { graph, tensors };
  return { graph: { ...graph, nodes: graph.nodes.flatMap((node) => moved.get(node) ?? [node]) }, tensors: made };
}

/** The nodes after a value, each the only reader of the one before, that a convolution can take: constants of channels, then a function of each value. */
function takenAfter(value: string, readers: ReadonlyMap<string, GraphNode>): readonly GraphNode[] {
  const found: GraphNode[] = [];
  for (let node = readers.get(value); node !== undefined && node.inputs.length === 1; node = readers.get(node.id)) {
    const isLast = operatorOf(node).epilogue !== undefined;
    if (!isLast && !scalesChannels(node)) break;
    found.push(node);
    if (isLast) break;
  }
  return found;
}

function scalesChannels(node: GraphNode): boolean {
  if (node.op !== 'binary') return node.op === 'batch_norm';
  return ['add', 'sub', 'mul'].includes(node.function) || (node.function === 'div' && node.constant_first !== true);
}

function spreadingOf(node: GraphNode, tensors: Map<string, Tensor>): Spreading | undefined {
  if (node.op === 'depth_to_space') {
    const channels = 0; // as many as its constants are for
    return { channels, block: node.block, channelsFirst: node.channels_first, before: [], wide: node.inputs[0]! };
  }
  if (node.op !== 'conv_transpose2d') return undefined;
  const {
    crop,
    spread,
    weight: kernel,
    bias,
    groups,
    padding,
  } = spreadConvolution(node, (key) => asFloat32(tensors.get(key)!));
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

/** The node of `wide`, the value before it is spread; undefined where its constants are not of channels. */
function widened(
  node: GraphNode,
  wide: string,
  spreading: Spreading,
  tensors: Map<string, Tensor>,
): GraphNode | undefined {
  const moved = { id: `${node.id} wide`, inputs: [wide] };
  const key = (name: string) => `${wide} ${name}`;
  if (node.op === 'batch_norm') {
    const names = [...(node.affine ? ['weight', 'bias'] : []), 'running_mean', 'running_var'];
    for (const name of names) {
      const tensor = tensors.get(`${node.prefix}.${name}`)!;
      tensors.set(key(`${node.prefix}.${name}`), repeated(tensor, spreading));
    }
    return { ...node, ...moved, prefix: key(node.prefix) };
  }
  if (node.op !== 'binary') return { ...node, ...moved } as GraphNode;
  const constant = tensors.get(node.constant!)!;
  if (constant.size === 1) return { ...node, ...moved };
  const axis = constant.shape.length - 3; // of channels
  if (axis < 0 || constant.shape[axis] !== constant.size || (spreading.channels || constant.size) !== constant.size)
    return undefined;
  const wider = repeated(constant, spreading);
  tensors.set(key(node.constant!), new Tensor(wider.dtype, [wider.size, 1, 1], wider.data));
  return { ...node, ...moved, constant: key(node.constant!) };
}

/** A constant of channels for those before they are spread. */
function repeated({ dtype, size, data }: Tensor, { block: [down, across], channelsFirst }: Spreading): Tensor {
  const pixels = down * across;
  const wide = new DTYPES[dtype].array(size * pixels);
  for (let i = 0; i < wide.length; i++) wide[i] = data[channelsFirst ? Math.floor(i / pixels) : i % size]!;
  return new Tensor(dtype, [size * pixels], wide);
}
