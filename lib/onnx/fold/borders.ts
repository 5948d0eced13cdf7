import type { Padding4 } from '../../ops/geometry';
import { elementCount } from '../../tensor/tensor';
import { affineStep } from '../affine';
import { type Analysis, analyse } from '../analysis';
import { hasAttribute, intsOf, isOfOnnx, stringOf } from '../attributes';
import type { Constants } from '../constants';
import type { FixedConstants } from '../fixed-constants';
import type { OnnxModel } from '../model';
import type { Graph, Node } from '../schema/onnx_pb';
import { inferredShapes, numbersOnly, type OpenSizes } from '../value-shapes';
import { numbersOf } from '../values';
import { valuesRead, type Wiring } from '../wiring';
import { liveNodes } from './dead-code';

/** Nodes that put a frame of one value for each channel around a map: zeros, then assignments to its rows and columns, as exporters write them. */
export interface Border {
  /** The map, and the value that is the framed one. */
  readonly input: string;
  readonly output: string;
  readonly padding: Padding4;
  /** Of each channel. */
  readonly fill: readonly number[];
  /** From the Pad to the last assignment, or what turns it back. */
  readonly nodes: readonly Node[];
}

/** Every border of a model, by its last node (see `findBorders`). */
export function bordersOf(model: OnnxModel, wiring: Wiring, fixed: FixedConstants): ReadonlyMap<Node, Border> {
  const { graph } = model.proto;
  if (!assigns(graph)) return new Map();
  return findBorders(graph, analyse(model, fixed, wiring));
}

function assigns(graph: Graph): boolean {
  return graph.node.some(({ opType }) => opType === 'ScatterND');
}

/** Every border of a graph, by its last node. What reads anything between its nodes must read it for their own indices. */
export function findBorders(graph: Graph, { known, fixed, wiring }: Analysis): ReadonlyMap<Node, Border> {
  const borders = new Map<Node, Border>();
  if (!assigns(graph)) return borders;
  const readers = new Map<string, Node[]>();
  for (const node of graph.node) {
    const [value] = node.input;
    if (!CHAIN.includes(node.opType) || !isOfOnnx(node.domain) || !value || node.output.length !== 1) continue;
    const others = readers.get(value);
    if (others === undefined) readers.set(value, [node]);
    else others.push(node);
  }
  let samples: readonly Constants[] | undefined;
  for (const pad of graph.node.filter(({ opType }) => opType === 'Pad')) {
    const step = affineStep(pad, known);
    if (step?.kind !== 'frame' || step.padding.some((side) => side < 0)) continue;
    const nodes = chainAfter(pad, readers);
    if (!nodes.some(({ opType }) => opType === 'ScatterND')) continue;
    samples ??= SAMPLES.map((openSizes) => inferredShapes(graph, wiring, fixed, openSizes));
    const [first, second] = samples.map((sample) => fillOf(nodes, step.padding, sample));
    if (first === undefined || second === undefined || first.join() !== second.join()) continue;
    const last = nodes.at(-1)!;
    const border = { input: step.input, output: last.output[0]!, padding: step.padding, fill: first, nodes };
    if (fixed.budget.spend(graph.node.length) && standsAlone(graph, border)) borders.set(last, border);
  }
  return borders;
}

/**
 * Two images for which places are counted one by one, where a model leaves sizes open: odd ones too, so that what rounds shows itself. Nothing can
 * stand for channels.
 */
const SAMPLES: readonly OpenSizes[] = [
  [2, undefined, 224, 256],
  [3, undefined, 301, 245],
].map((sizes) => (axis) => sizes[axis]);

/** Places of all frames of a border: of two images, as large as any is. */
const MAX_WRITTEN = 1 << 21;

/** What assignments to slices are made of. */
const CHAIN = ['Identity', 'ScatterND', 'Transpose'];

function chainAfter(pad: Node, readers: ReadonlyMap<string, readonly Node[]>): readonly Node[] {
  const nodes = [pad];
  for (;;) {
    const next = readers.get(nodes.at(-1)!.output[0]!) ?? [];
    if (next.length !== 1) return nodes;
    nodes.push(next[0]!);
  }
}

/** The value of each channel's frame, where the nodes write all of the frame, nothing else, and one value for each channel. */
function fillOf(nodes: readonly Node[], padding: Padding4, sample: Constants): number[] | undefined {
  const shape = numbersOnly(sample.shapes.get(nodes[0]!.output[0]!));
  if (shape?.length !== 4) return undefined;
  const written = new Map<number, number>(); // by place
  let perm = [0, 1, 2, 3]; // axes of the map as those of the value at hand
  for (const node of nodes.slice(1)) {
    if (node.opType === 'Transpose') {
      const turned = intsOf(node, 'perm') ?? [3, 2, 1, 0];
      perm = turned.map((axis) => perm[axis]!);
    }
    if (node.opType === 'ScatterND' && !assign(node, written, shape, perm, sample)) return undefined;
  }
  if (perm.some((axis, i) => axis !== i)) return undefined;
  const [images, channels, height, width] = shape as [number, number, number, number];
  const [top, left, bottom, right] = padding;
  const inner = Math.max(0, height - top - bottom) * Math.max(0, width - left - right);
  if (written.size === 0 || written.size !== images * channels * (height * width - inner)) return undefined;
  const fill = Array.from({ length: channels }, (_, c) => written.get(c * height * width)!);
  for (const [place, value] of written) {
    const [y, x] = [Math.floor(place / width) % height, place % width];
    const isInside = y >= top && y < height - bottom && x >= left && x < width - right;
    if (isInside || !Object.is(value, fill[Math.floor(place / height / width) % channels])) return undefined;
  }
  return fill.some(Number.isNaN) ? undefined : fill;
}

/** Writes the updates of a ScatterND whose input is the map with its axes turned. False where they are not known. */
function assign(
  node: Node,
  written: Map<number, number>,
  shape: readonly number[],
  perm: readonly number[],
  sample: Constants,
): boolean {
  const [, indices, updates] = node.input.map((value) => sample.get(value));
  if (indices === undefined || updates === undefined) return false;
  if (hasAttribute(node, 'reduction') && stringOf(node, 'reduction', 'none') !== 'none') return false;
  const depth = indices.shape.at(-1) ?? 0;
  const turned = perm.map((axis) => shape[axis]!);
  const strides = perm.map((axis) => elementCount(shape.slice(axis + 1)));
  const inner = turned.slice(depth);
  const count = elementCount(inner);
  const elements = elementCount(shape);
  if (depth < 1 || depth > 4 || indices.size > MAX_WRITTEN || written.size + updates.size > MAX_WRITTEN) return false;
  const places = numbersOf(indices);
  const values = numbersOf(updates);
  if (values.length !== (places.length / depth) * count) return false;
  for (let i = 0; i < values.length; i++) {
    const tuple = Math.floor(i / count);
    let place = 0;
    for (let axis = 0; axis < depth; axis++) {
      const index = places[tuple * depth + axis]!;
      place += (index < 0 ? index + turned[axis]! : index) * strides[axis]!;
    }
    let rest = i % count;
    for (let axis = inner.length - 1; axis >= 0; axis--) {
      place += (rest % inner[axis]!) * strides[depth + axis]!;
      rest = Math.floor(rest / inner[axis]!);
    }
    if (!(place >= 0 && place < elements)) return false;
    written.set(place, values[i]!);
  }
  return true;
}

/** Whether without its nodes nobody reads what lies between them. */
function standsAlone(graph: Graph, { nodes, output }: Border): boolean {
  const gone = new Set(nodes);
  const inner = new Set(nodes.flatMap((node) => node.output).filter((value) => value !== output));
  const live = liveNodes(
    graph.node.filter((node) => !gone.has(node)),
    graph,
  );
  return !live.some((node) => [...valuesRead(node)].some((value) => inner.has(value)));
}
