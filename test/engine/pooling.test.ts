import { Engine } from '../../lib/engine';
import type { Graph, GraphNode } from '../../lib/graph';
import { Tensor } from '../../lib/tensor/tensor';
import { type Float64Image, imageOf, pixelOf } from '../support/float64-image';
import { availableIsas, withIsa } from '../support/isa';
import { Random } from '../support/random';

// Windows of every kind beside their definition: those of one row that all lie in the map, and those at its edges.

const random = new Random(11);
const CHANNELS = 20;
const WINDOWS = [
  { kernel: [2, 2], stride: [2, 2], padding: [0, 0, 0, 0] },
  { kernel: [3, 3], stride: [2, 2], padding: [1, 1, 1, 1] },
  { kernel: [3, 3], stride: [1, 1], padding: [1, 1, 1, 1] },
  { kernel: [5, 5], stride: [1, 1], padding: [2, 2, 2, 2] },
  { kernel: [3, 2], stride: [2, 3], padding: [0, 1, 2, 0], ceil_mode: true },
  { kernel: [2, 3], stride: [1, 2], padding: [1, 0, 0, 2], dilation: [2, 3] },
  { kernel: [7, 4], stride: [3, 3], padding: [3, 2, 3, 2], ceil_mode: true },
  { kernel: [9, 13], stride: [1, 1], padding: [4, 6, 4, 6] },
] as const;
interface Window {
  readonly kernel: readonly [number, number];
  readonly stride: readonly [number, number];
  readonly padding: readonly number[];
  readonly dilation?: readonly [number, number];
  readonly ceil_mode?: boolean;
}
const SIZES = [
  [9, 31],
  [6, 5],
] as const;
const nodes = WINDOWS.flatMap((window, i): GraphNode[] =>
  i === 5
    ? [{ id: `max${i}`, op: 'max_pool2d', inputs: ['x'], ...window }]
    : [
        { id: `max${i}`, op: 'max_pool2d', inputs: ['x'], ...window },
        { id: `mean${i}`, op: 'avg_pool2d', inputs: ['x'], ...window, count_include_pad: i % 2 === 0 },
      ],
);

/** The values that each window of an axis reads, and how many places it has in the padded map. */
function windowsOf(size: number, axis: 0 | 1, { kernel, stride, padding, dilation, ceil_mode = false }: Window) {
  const reach = (kernel[axis] - 1) * (dilation?.[axis] ?? 1) + 1;
  const [before, after] = [padding[axis]!, padding[axis + 2]!];
  const free = size + before + after - reach;
  let count = Math[ceil_mode ? 'ceil' : 'floor'](free / stride[axis]) + 1;
  if (ceil_mode && (count - 1) * stride[axis] >= size + before) count--;
  return Array.from({ length: count }, (_, i) => {
    const places = Array.from(
      { length: kernel[axis] },
      (_, k) => i * stride[axis] - before + k * (dilation?.[axis] ?? 1),
    );
    const padded = places.filter((place) => place < size + after);
    return { inside: padded.filter((place) => place >= 0 && place < size), padded: padded.length };
  });
}

function expected(node: GraphNode, x: Float64Image): Float64Image {
  const window = node as unknown as Window;
  const [n, c, height, width] = x.shape;
  const [rows, columns] = [windowsOf(height, 0, window), windowsOf(width, 1, window)];
  return imageOf([n, c, rows.length, columns.length], (i, channel, y, z) => {
    const [down, across] = [rows[y]!, columns[z]!];
    const values = down.inside.flatMap((u) => across.inside.map((v) => pixelOf(x, i, channel, u, v)));
    if (node.op === 'max_pool2d') return Math.max(...values);
    const count = 'count_include_pad' in node && node.count_include_pad ? down.padded * across.padded : values.length;
    return values.reduce((sum, value) => sum + value, 0) / count;
  });
}

describe.each(availableIsas())('%s', (isa) => {
  test.each(SIZES)('windows on %i x %i', async (height, width) => {
    const isFit = (node: GraphNode) => {
      const window = node as unknown as Window;
      return [height, width].every((size, axis) => windowsOf(size, axis as 0 | 1, window).length > 0);
    };
    const fitting = nodes.filter(isFit);
    const outputs = fitting.map(({ id }) => id);
    const graph = { input: 'x', output: outputs[0]!, outputs, inputShape: [CHANNELS, height, width], nodes: fitting };
    const data = random.floats(2 * CHANNELS * height * width);
    // Not finite in one place of some channels only.
    for (const [i, value] of [Number.NaN, Infinity, -Infinity].entries())
      data[(2 * i + 1) * height * width + 7] = value;
    const x = Tensor.f32([2, CHANNELS, height, width], data);
    const image = { shape: [2, CHANNELS, height, width] as const, data: Float64Array.from(data) };
    await withIsa(isa, async () => {
      await using engine = await Engine.create({ graph: graph as unknown as Graph, tensors: new Map() });
      const results = await engine.runAll({ x });
      for (const node of fitting) {
        const want = expected(node, image);
        const got = results.get(node.id)!;
        expect(got.shape).toEqual(want.shape);
        const isClose = (value: number, i: number) =>
          Object.is(got.data[i], value) ||
          (node.op === 'avg_pool2d' && Math.abs(Number(got.data[i]) - value) <= 2 ** -22);
        expect([...want.data].findIndex((value, i) => !isClose(value, i))).toBe(-1);
      }
    });
  });
});
