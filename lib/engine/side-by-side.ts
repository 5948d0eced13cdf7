import type { Graph, GraphNode } from '../graph';
import { operatorOf } from '../graph/operators';
import type { Conv2dNode } from '../graph/operators/conv2d';
import { asFloat32 } from '../tensor/half';
import { Tensor } from '../tensor/tensor';
import { sliceOfChannels } from './slice-of-channels';
import { soleReaders } from './sole-readers';

/** Channels that lie together in the engine: fewer take as long. */
const BLOCK = 16;

type Tensors = ReadonlyMap<string, Tensor>;

/**
 * A graph in which convolutions of few channels that read one value by the same window are one (the heads of a detector: boxes, scores, landmarks), and
 * so are the depthwise convolutions and functions of each value right behind them; slices of it are their results. Where the algebra can make a sum or a
 * concatenation of them one, they are left to it. The values are the same.
 */
export function sideBySide(graph: Graph, tensors: Tensors): { readonly graph: Graph; readonly tensors: Tensors } {
  const together = new Map<string, Conv2dNode[]>();
  for (const node of graph.nodes) {
    if (node.op !== 'conv2d' || node.groups !== 1 || channelsOf(node, tensors) >= BLOCK) continue;
    const key = `${node.inputs[0]} ${windowOf(node, tensors)}`;
    together.set(key, [...(together.get(key) ?? []), node]);
  }
  const made = new Map(tensors);
  const replaced = new Map<GraphNode, readonly GraphNode[]>();
  const readers = soleReaders(graph);
  for (const convolutions of together.values()) {
    const channels = convolutions.map((node) => channelsOf(node, tensors));
    const sum = channels.reduce((before, count) => before + count, 0);
    if (Math.ceil(sum / BLOCK) >= convolutions.length) continue;
    const rows = rowsBehind(convolutions, readers, tensors);
    const last = rows.at(-1)!;
    if (last.some(({ id }) => isForAlgebra(readers.get(id)))) continue;
    for (const node of rows.flat()) replaced.set(node, []);
    replaced.set(convolutions[0]!, [...joined(rows, tensors, made), ...slicesOf(last, channels)]);
  }
  if (replaced.size === 0) return { graph, tensors };
  return { graph: { ...graph, nodes: graph.nodes.flatMap((node) => replaced.get(node) ?? [node]) }, tensors: made };
}

function channelsOf({ weight }: Conv2dNode, tensors: Tensors): number {
  return tensors.get(weight)!.shape[0]!;
}

function windowOf({ weight, stride, padding, dilation }: Conv2dNode, tensors: Tensors): string {
  return JSON.stringify([tensors.get(weight)!.shape.slice(2), stride, padding, dilation]);
}

/** The convolutions, then what is behind each of them: alike, and read by nobody else. */
function rowsBehind(
  convolutions: readonly Conv2dNode[],
  readers: ReadonlyMap<string, GraphNode>,
  tensors: Tensors,
): readonly (readonly GraphNode[])[] {
  const rows: (readonly GraphNode[])[] = [convolutions];
  for (;;) {
    const behind = rows.at(-1)!.map(({ id }) => readers.get(id));
    const kinds = new Set(behind.map((node) => node && kindOf(node, tensors)));
    if (kinds.size !== 1 || kinds.has(undefined)) return rows;
    rows.push(behind as GraphNode[]);
  }
}

/** What two nodes have in common that work on channels one by one; undefined of others. */
function kindOf(node: GraphNode, tensors: Tensors): string | undefined {
  if (node.op === 'conv2d') {
    const isDepthwise = node.groups === channelsOf(node, tensors) && tensors.get(node.weight)!.shape[1] === 1;
    return isDepthwise ? windowOf(node, tensors) : undefined;
  }
  const { id, inputs, ...rest } = node;
  return operatorOf(node).epilogue !== undefined && inputs.length === 1 ? JSON.stringify(rest) : undefined;
}

function isForAlgebra(node: GraphNode | undefined): boolean {
  return node !== undefined && (operatorOf(node).affine !== undefined || operatorOf(node).stages !== undefined);
}

/** One node for each row. */
function joined(rows: readonly (readonly GraphNode[])[], tensors: Tensors, made: Map<string, Tensor>): GraphNode[] {
  let input = rows[0]![0]!.inputs[0]!;
  return rows.map((row, place) => {
    const id = joinedId(row);
    const node = { ...row[0]!, id, inputs: [input] } as GraphNode;
    input = id;
    if (node.op !== 'conv2d') return node;
    const convolutions = row as readonly Conv2dNode[];
    const weight = `${id}.weight`;
    made.set(weight, stacked(convolutions.map((each) => asFloat32(tensors.get(each.weight)!))));
    const bias = convolutions.some((each) => each.bias !== null) ? `${id}.bias` : null;
    if (bias !== null) {
      const zeros = (each: Conv2dNode) => Tensor.f32([channelsOf(each, tensors)]);
      made.set(
        bias,
        stacked(convolutions.map((each) => (each.bias === null ? zeros(each) : asFloat32(tensors.get(each.bias)!)))),
      );
    }
    const channels = made.get(weight)!.shape[0]!;
    return { ...node, weight, bias, groups: place === 0 ? 1 : channels }; // those behind are depthwise
  });
}

/** Along the first axis. */
function stacked(parts: readonly Tensor[]): Tensor {
  const channels = parts.reduce((sum, { shape }) => sum + shape[0]!, 0);
  const whole = Tensor.f32([channels, ...parts[0]!.shape.slice(1)]);
  let at = 0;
  for (const { data, size } of parts) {
    (whole.data as Float32Array).set(data as Float32Array, at);
    at += size;
  }
  return whole;
}

function slicesOf(last: readonly GraphNode[], channels: readonly number[]): GraphNode[] {
  const whole = joinedId(last);
  let end = 0;
  return last.map(({ id }, i) => {
    const first = end;
    end += channels[i]!;
    return sliceOfChannels(id, whole, { first, end });
  });
}

function joinedId(row: readonly GraphNode[]): string {
  return row.map(({ id }) => id).join(', ');
}
