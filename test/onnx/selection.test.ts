import { Engine } from '../../lib/engine';
import { fromOnnx } from '../../lib/graph/from-onnx/from-onnx';
import { toOnnx } from '../../lib/graph/to-onnx';
import { Tensor } from '../../lib/tensor/tensor';
import { model, node } from '../support/onnx-model';
import { Random } from '../support/random';

const whole = (...values: number[]) => new Tensor('I64', [values.length], BigInt64Array.from(values, BigInt));

async function runAll(read: ReturnType<typeof model>, inputs: Record<string, Tensor>) {
  await using engine = await Engine.create(fromOnnx(read));
  return engine.runAll<Tensor>(inputs);
}

/** Places of the best of a list, by a sort that is stable. */
function bestOf(list: readonly number[], largest: boolean): number[] {
  return [...list.keys()].sort((a, b) => (largest ? list[b]! - list[a]! : list[a]! - list[b]!));
}

test.each([
  [0, true],
  [1, false],
  [2, true],
])('TopK along axis %i, largest: %s: of equal elements the earlier first', async (axis, largest) => {
  const shape = [6, 7, 8];
  const k = 4;
  const random = new Random(axis);
  const data = Array.from({ length: 6 * 7 * 8 }, () => random.int(-3, 3));
  const nodes = [node('TopK', ['x', 'k'], ['values', 'places'], { axis, largest: Number(largest) })];
  const read = model(nodes, { k: whole(k) }, { inputs: { x: shape }, outputs: ['values', 'places'], opset: 13 });
  const x = Tensor.f32(shape, data);
  const network = fromOnnx(read);
  const written = toOnnx(network.graph, network.tensors, 17);
  for (const each of [read, written]) {
    const got = await runAll(each, { x });
    const [values, places] = [got.get('values')!, got.get('places')!];
    const inner = shape.slice(axis + 1).reduce((a, b) => a * b, 1);
    expect(values.shape).toEqual(shape.map((size, i) => (i === axis ? k : size)));
    expect(places.dtype).toBe('I64');
    for (let line = 0; line < x.size / shape[axis]!; line++) {
      const at = (size: number, i: number) => Math.floor(line / inner) * size * inner + i * inner + (line % inner);
      const list = Array.from({ length: shape[axis]! }, (_, i) => data[at(shape[axis]!, i)]!);
      const want = bestOf(list, largest).slice(0, k);
      expect(want.map((_, i) => Number(places.data[at(k, i)]))).toEqual(want);
      expect(want.map((_, i) => values.data[at(k, i)])).toEqual(want.map((place) => list[place]));
    }
  }
});

test.each([0, 2, 9])('TopK of as many as the data tell: %i', async (k) => {
  const nodes = [
    node('TopK', ['x', 'k'], ['values', 'places'], { axis: 1 }),
    node('Mul', ['values', 'two'], ['twice']),
  ];
  const inputs = { x: [1, 3], k: [1] };
  const read = model(nodes, { two: Tensor.f32([], [2]) }, { inputs, outputs: ['twice', 'places'], opset: 13 });
  const got = await runAll(read, { x: Tensor.f32([1, 3], [1, 3, 2]), k: Tensor.f32([1], [k]) });
  expect([...got.get('twice')!.data]).toEqual([6, 4, 2].slice(0, k));
  expect([...got.get('places')!.data].map(Number)).toEqual([1, 2, 0].slice(0, k));
});

test('TopK beyond its axis is refused, and one of as many as an open size', () => {
  const nodes = [node('TopK', ['x', 'k'], ['values', 'places'])];
  const beyond = model(nodes, { k: whole(4) }, { inputs: { x: [1, 3] }, outputs: ['values'], opset: 13 });
  expect(() => fromOnnx(beyond)).toThrow('cannot be run: it asks for 4 places of an axis of 3');
  const open = [node('Shape', ['x'], ['shape']), node('Slice', ['shape', 'one', 'two'], ['k']), ...nodes];
  const sizes = model(
    open,
    { one: whole(1), two: whole(2) },
    { inputs: { x: [1, null] }, outputs: ['values'], opset: 13 },
  );
  expect(() => fromOnnx(sizes)).toThrow('how many places it asks for depends on sizes that the model leaves open');
});

test.each([
  ['a line', [1, 1, 2], [1, 1, 2], [1, 1.25, 1.75, 2]],
  ['a plane of channels', [1, 1, 2], [1, 2, 2], [1, 1.25, 1.75, 2, 1, 1.25, 1.75, 2]],
  ['a matrix', [1, 2], [1, 2], [1, 1.25, 1.75, 2]],
  ['a list', [2], [2], [1, 1.25, 1.75, 2]],
])('Resize of %s', async (_, shape, scales, want) => {
  const tensors = { scales: Tensor.f32([scales.length], scales) };
  const nodes = [node('Resize', ['x', '', 'scales'], ['y'], { mode: 'linear' })];
  const read = model(nodes, tensors, { inputs: { x: shape }, outputs: ['y'], opset: 19 });
  const y = (await runAll(read, { x: Tensor.f32(shape, [1, 2]) })).get('y')!;
  expect(y.shape).toEqual(shape.map((size, axis) => size * scales[axis]!));
  expect([...y.data]).toEqual(want);
});

test('Resize of lines keeps the ratio of the axis that it names', async () => {
  const nodes = [
    node('Resize', ['x', '', '', 'sizes'], ['y'], {
      axes: [2],
      keep_aspect_ratio_policy: 'not_larger',
      mode: 'nearest',
    }),
  ];
  const read = model(nodes, { sizes: whole(4) }, { inputs: { x: [1, 1, 2] }, outputs: ['y'], opset: 19 });
  const y = (await runAll(read, { x: Tensor.f32([1, 1, 2], [1, 2]) })).get('y')!;
  expect([...y.data]).toEqual([1, 1, 2, 2]);
});

test('LpPool in images of the engine and in its eager run are one', async () => {
  const random = new Random(1);
  const nodes = [
    node('Relu', ['x'], ['positive']),
    node('LpPool', ['positive'], ['y'], { kernel_shape: [3, 2], strides: [2, 1], pads: [1, 0, 1, 1], p: 3 }),
  ];
  const x = Tensor.f32([2, 5, 7, 6], random.floats(2 * 5 * 7 * 6));
  const read = model(nodes, {}, { inputs: { x: [2, 5, 7, 6] }, outputs: ['y'], opset: 18 });
  const y = (await runAll(read, { x })).get('y')!;
  expect(y.shape).toEqual([2, 5, 4, 6]);
  const at = (plane: number, row: number, column: number) =>
    row < 0 || row > 6 || column > 5 ? 0 : Math.max(0, x.data[(plane * 7 + row) * 6 + column] as number);
  for (const [i, got] of [...y.data].entries()) {
    const [plane, row, column] = [Math.floor(i / 24), Math.floor(i / 6) % 4, i % 6];
    let sum = 0;
    for (let down = 0; down < 3; down++)
      for (let across = 0; across < 2; across++) sum += at(plane, 2 * row - 1 + down, column + across) ** 3;
    expect(Math.abs(Number(got) - Math.cbrt(sum))).toBeLessThan(1e-6);
  }
});
