import { FixedConstants } from '../../lib/onnx';
import { Constants } from '../../lib/onnx/constants';
import type { Node } from '../../lib/onnx/schema/onnx_pb';
import { Wiring } from '../../lib/onnx/wiring';
import { Tensor } from '../../lib/tensor/tensor';
import { model, node } from '../support/onnx-model';

const MOST = 2n ** 63n - 1n;
const LEAST = -(2n ** 63n);
const BEYOND = 2n ** 53n + 1n; // the first that float64 does not have

const int64 = (values: readonly bigint[], shape: readonly number[] = [values.length]) =>
  new Tensor('I64', shape, BigInt64Array.from(values));

function graphOf(nodes: readonly Node[], tensors: Readonly<Record<string, Tensor>> = {}) {
  return model(nodes, tensors, { inputs: { x: [1, 3, 4, 4] }, outputs: ['y'], opset: 20 }).proto.graph;
}

/** What one operator makes of constants: undefined where that is not known. */
function evaluate(
  opType: string,
  inputs: readonly (Tensor | undefined)[],
  attributes: Parameters<typeof node>[3] = {},
): Tensor | undefined {
  const names = inputs.map((input, i) => (input === undefined ? '' : `c${i}`));
  const given = inputs.flatMap((input, i) => (input === undefined ? [] : [[`c${i}`, input] as const]));
  return new FixedConstants(graphOf([node(opType, names, ['y'], attributes)], Object.fromEntries(given))).get('y');
}

/** Expected values are those of onnx's reference evaluator. */
test.each<[string, readonly bigint[][], readonly bigint[], Record<string, number>?]>([
  [
    'Mul',
    [
      [BEYOND, 3n, MOST],
      [1n, -BEYOND, 2n],
    ],
    [BEYOND, -3n * BEYOND, -2n],
  ],
  [
    'Add',
    [
      [BEYOND, MOST],
      [2n, 1n],
    ],
    [BEYOND + 2n, LEAST],
  ],
  [
    'Sub',
    [
      [LEAST, BEYOND],
      [1n, 2n],
    ],
    [MOST, BEYOND - 2n],
  ],
  [
    'Div',
    [
      [MOST, -7n, 7n, -BEYOND],
      [1n, 2n, -2n, 1n],
    ],
    [MOST, -3n, -3n, -BEYOND],
  ],
  [
    'Mod',
    [
      [-7n, 7n, BEYOND],
      [3n, -3n, 2n],
    ],
    [2n, -2n, 1n],
  ],
  [
    'Mod',
    [
      [-7n, 7n, MOST],
      [3n, -3n, 2n],
    ],
    [-1n, 1n, 1n],
    { fmod: 1 },
  ],
  [
    'Pow',
    [
      [3n, -2n, 2n, 5n],
      [39n, 63n, 64n, 0n],
    ],
    [3n ** 39n, LEAST, 0n, 1n],
  ],
  [
    'Max',
    [
      [BEYOND, -1n],
      [2n ** 53n, LEAST],
    ],
    [BEYOND, -1n],
  ],
  ['ReduceProd', [[BEYOND, 1021n]], [BEYOND * 1021n], { keepdims: 0 }],
  ['ReduceSum', [[BEYOND, BEYOND, 1n]], [2n * BEYOND + 1n], { keepdims: 0 }],
  ['CumSum', [[BEYOND, 1n, MOST], [0n]], [BEYOND, BEYOND + 1n, BigInt.asIntN(64, BEYOND + 1n + MOST)]],
])('%s of int64 is exact: %p', (opType, inputs, expected, attributes = {}) => {
  const given = inputs.map((values) => int64(values));
  expect([...evaluate(opType, given, attributes)!.data]).toEqual(expected);
});

test('a range, a comparison, a cast and a list of sizes hold what float64 does not', () => {
  const bounds = [BEYOND, BEYOND + 6n, 2n].map((value) => int64([value], []));
  expect([...evaluate('Range', bounds)!.data]).toEqual([BEYOND, BEYOND + 2n, BEYOND + 4n]);
  expect([...evaluate('Equal', [int64([BEYOND]), int64([BEYOND - 1n])])!.data]).toEqual([0]);
  expect([...evaluate('Less', [int64([BEYOND - 1n]), int64([BEYOND])])!.data]).toEqual([1]);
  expect([...evaluate('Cast', [Tensor.f32([3], [2 ** 62, -1.9, 1.9])], { to: 7 })!.data]).toEqual([2n ** 62n, -1n, 1n]);
  expect(evaluate('Cast', [int64([300n])], { to: 2 })).toBeUndefined();
});

const huge = int64([MOST]);
const many = int64([2n ** 40n]);
const vector = Tensor.f32([3], [1, 2, 3]);
test.each<[string, string, readonly (Tensor | undefined)[], Parameters<typeof node>[3]?]>([
  ['NaN as an integer', 'Cast', [Tensor.f32([1], [Number.NaN])], { to: 7 }],
  ['infinity as an integer', 'Cast', [Tensor.f32([1], [Number.POSITIVE_INFINITY])], { to: 6 }],
  ['2^63 as an integer', 'Cast', [Tensor.f32([1], [2 ** 63])], { to: 7 }],
  ['a type that is none', 'Cast', [vector], { to: 99 }],
  ['a division by 0', 'Div', [int64([1n]), int64([0n])]],
  ['the least number by -1', 'Div', [int64([LEAST]), int64([-1n])]],
  ['a remainder of 0', 'Mod', [int64([1n]), int64([0n])]],
  ['a power below 0', 'Pow', [int64([2n]), int64([-1n])]],
  ['a range of step 0', 'Range', [0n, 5n, 0n].map((value) => int64([value], []))],
  ['a range without end', 'Range', [LEAST, MOST, 1n].map((value) => int64([value], []))],
  ['a range of NaN', 'Range', [0, Number.NaN, 1].map((value) => Tensor.f32([], [value]))],
  ['an index beyond the end', 'Gather', [vector, int64([3n])]],
  ['an index before the start', 'Gather', [vector, int64([-4n])]],
  ['an index that is no integer', 'Gather', [vector, vector]],
  ['an axis beyond the last', 'Gather', [vector, int64([0n])], { axis: 1 }],
  ['parts of other shapes', 'Concat', [vector, Tensor.f32([1, 3])], { axis: 0 }],
  ['parts of other types', 'Concat', [vector, int64([1n])], { axis: 0 }],
  ['parts along no axis', 'Concat', [vector, vector], { axis: 5 }],
  ['an axis twice', 'Unsqueeze', [vector, int64([0n, 0n])]],
  ['an axis of no rank', 'Unsqueeze', [vector, huge]],
  ['more than 64 axes', 'Unsqueeze', [vector, int64(Array.from({ length: 64 }, (_, i) => BigInt(i)))]],
  ['an axis of 3 dropped', 'Squeeze', [vector, int64([0n])]],
  ['other elements', 'Reshape', [vector, int64([2n])]],
  ['two open sizes', 'Reshape', [vector, int64([-1n, -1n])]],
  ['an open size beside 0', 'Reshape', [vector, int64([0n, 0n, -1n])]],
  ['a negative size', 'Reshape', [vector, int64([-3n])]],
  ['a step of 0', 'Slice', [vector, int64([0n]), int64([1n]), int64([0n]), int64([0n])]],
  ['lists of other lengths', 'Slice', [vector, int64([0n, 0n]), int64([1n])]],
  ['shapes that do not meet', 'Expand', [vector, int64([2n])]],
  ['2^40 ones', 'Expand', [Tensor.f32([1], [1]), many]],
  ['2^63 - 1 zeros', 'ConstantOfShape', [huge]],
  ['a product of sizes beyond 2^53', 'ConstantOfShape', [int64([2n ** 30n, 2n ** 30n, 2n ** 30n, 0n, MOST])]],
  ['a negative number of zeros', 'ConstantOfShape', [int64([-1n])]],
  ['a value of two elements', 'ConstantOfShape', [int64([2n])], { value: Tensor.f32([2]) }],
  ['2^40 copies', 'Tile', [vector, many]],
  ['-1 copies', 'Tile', [vector, int64([-1n])]],
  ['an axis twice', 'Transpose', [Tensor.f32([2, 2])], { perm: [0, 0] }],
  ['an axis too few', 'Transpose', [Tensor.f32([2, 2])], { perm: [0] }],
  ['parts that are not all', 'Split', [vector, int64([1n])]],
  ['numbers for truth', 'Where', [vector, vector, vector]],
  ['an input left out', 'Add', [vector, undefined]],
  ['an input too few', 'Add', [vector]],
  ['an input too many', 'Add', [vector, vector, vector]],
])('%s: %s is not known', (_, opType, inputs, attributes = {}) => {
  expect(evaluate(opType, inputs, attributes)).toBeUndefined();
});

test.each(['constructor', '__proto__', 'toString', 'hasOwnProperty', 'valueOf'])(
  'a value named %s is a value',
  (name) => {
    const tensors: Record<string, Tensor> = Object.create(null);
    tensors[name] = int64([BEYOND]);
    const nodes = [node('Identity', [name], ['y']), node(name, [name], ['z'])];
    const constants = new FixedConstants(graphOf(nodes, tensors));
    expect([...constants.get('y')!.data]).toEqual([BEYOND]);
    expect(constants.get('z')).toBeUndefined();
    expect(new FixedConstants(graphOf([])).get(name)).toBeUndefined();
  },
);

describe('the budget', () => {
  const doublings = (count: number, opType: string) =>
    Array.from({ length: count }, (_, i) =>
      node(opType, [`v${i}`, `v${i}`], [`v${i + 1}`], opType === 'Concat' ? { axis: 0 } : {}),
    );

  test('a value that doubles its size 60 times ends; its names and those after it are not known', () => {
    const constants = new FixedConstants(graphOf(doublings(60, 'Concat'), { v0: Tensor.f32([1], [1]) }));
    expect(constants.get('v10')!.size).toBe(1024);
    expect(constants.get('v60')).toBeUndefined();
  });

  test('a diamond of 2,000 levels is walked once, in both of its ways', () => {
    const nodes = [node('Shape', ['x'], ['v0']), ...doublings(2000, 'Max')];
    const graph = graphOf(nodes);
    expect([...new Constants(graph, new Wiring(graph)).get('v2000')!.data]).toEqual([1n, 3n, 4n, 4n]);
  });

  test('a chain of sums of a million ones ends, and frees what nobody else reads', () => {
    const ones = node('ConstantOfShape', ['size'], ['v0'], { value: Tensor.f32([1], [1]) });
    const graph = graphOf([ones, ...doublings(200, 'Mul')], { size: int64([2n ** 20n]) });
    const constants = new FixedConstants(graph);
    const before = process.memoryUsage().arrayBuffers;
    expect(constants.has('v5')).toBe(true);
    expect(constants.has('v200')).toBe(false);
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(80e6);
  });

  test('a value that was not kept is made again when it is asked for', () => {
    const ones = node('ConstantOfShape', ['size'], ['v0'], { value: Tensor.f32([1], [2]) });
    const constants = new FixedConstants(graphOf([ones, ...doublings(4, 'Add')], { size: int64([2n ** 20n]) }));
    expect(constants.get('v4')!.data[7]).toBe(32);
    expect(constants.get('v2')!.data[7]).toBe(8);
  });

  test('what is there as data is not charged, and allows as much', () => {
    const weight = Tensor.f32([1 << 23], new Float32Array(1 << 23).fill(2));
    const nodes = [node('Mul', ['w', 'w'], ['a']), node('Sqrt', ['a'], ['b']), node('Sub', ['b', 'w'], ['y'])];
    const found = new FixedConstants(graphOf(nodes, { w: weight })).get('y')!;
    expect((found.data as Float32Array).every((value) => value === 0)).toBe(true);
  });

  test('an evaluation stops when it is aborted, and lets the event loop turn', async () => {
    const nodes = [node('Mul', ['w', 'w'], ['v0']), ...doublings(8, 'Mul')];
    const graph = graphOf(nodes, { w: Tensor.f32([1 << 22], new Float32Array(1 << 22)) });
    const abort = new AbortController();
    let turns = 0;
    const timer = setInterval(() => turns++, 1);
    await new FixedConstants(graph).prepare(abort.signal);
    clearInterval(timer);
    expect(turns).toBeGreaterThan(1);
    setTimeout(() => abort.abort(new Error('enough')), 1);
    await expect(new FixedConstants(graph).prepare(abort.signal)).rejects.toThrow('enough');
  });
});

test('an attribute of another type is refused, naming node, operator and attribute', () => {
  const wrong = node('Concat', ['c0', 'c0'], ['y'], { axis: [0] });
  expect(() => new FixedConstants(graphOf([wrong], { c0: vector })).get('y')).toThrow(
    /Expected INT for axis of Concat "Concat:y" but received INTS/,
  );
});

/** Expected values are those of onnx's reference evaluator. */
test('weights that a BatchNormalization standardises, and the statistics that it moves', () => {
  const x = Tensor.f32([2, 2, 3], [1, 2, 4, -1, 3, 5, 0, 1, 1, 7, -2, 1]);
  const pairs = { scale: [1, 2], bias: [0.5, -1], mean: [4, 8], variance: [1, 2] };
  const given = Object.fromEntries(Object.entries(pairs).map(([name, values]) => [name, Tensor.f32([2], values)]));
  const how = { epsilon: 0.5, momentum: 0.25, training_mode: 1 };
  const norm = node('BatchNormalization', ['x0', ...Object.keys(pairs)], ['y', 'mean_out', 'variance_out'], how);
  const found = new FixedConstants(graphOf([norm], { x0: x, ...given }));
  const expected = {
    y: [
      0.15358984470367432, 0.8464101552963257, 2.232050895690918, -2.941709518432617, -0.48902392387390137,
      0.7373188734054565, -0.539230465888977, 0.15358984470367432, 0.15358984470367432, 1.9636614322662354,
      -3.5548808574676514, -1.7153666019439697,
    ],
    mean_out: [2.125, 3.625],
    variance_out: [1.4375, 8.104166030883789],
  };
  for (const [name, values] of Object.entries(expected))
    for (const [i, value] of values.entries()) expect(found.get(name)!.data[i]).toBeCloseTo(value, 5);
});
