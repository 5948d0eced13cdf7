import { Engine } from '../../lib/engine';
import { RepfuseError } from '../../lib/errors';
import { fromOnnx } from '../../lib/graph/from-onnx/from-onnx';
import { evaluate, evaluateAsync, type Graph, inferShapes, parseGraph } from '../../lib/graph/public';
import { toOnnx } from '../../lib/graph/to-onnx';
import type { ValueInfo } from '../../lib/onnx/schema/onnx_pb';
import { seededUniform, uniformValues } from '../../lib/tensor/random';
import { elementCount, Tensor } from '../../lib/tensor/tensor';

const uniform = (shape: readonly number[], seed: number) =>
  Tensor.f32(shape, uniformValues(seededUniform(seed), elementCount(shape), -1, 1));

/** Pixels [N, H, W, 3] of bytes through a convolution, its means scaled by row and moved by one number; and a signal of rank 3. */
const GRAPH: Graph = parseGraph({
  input: 'pixels',
  inputs: [
    { id: 'pixels', shape: ['N', 'H', 'W', 3], type: 'U8' },
    { id: 'scale', shape: ['N', 4], type: 'F16' },
    { id: 'offset', shape: [], type: 'I64' },
    { id: 'signal', shape: [2, 'L', 5] },
    { id: 'mask', shape: ['L', 1], type: 'BOOL' },
  ],
  output: 'moved',
  outputs: ['moved', 'masked', 'twice', 'half'],
  outputTypes: { twice: 'I64', half: 'F16', masked: 'F64' },
  nodes: [
    { id: 'planes', op: 'transpose', inputs: ['pixels'], perm: [0, 3, 1, 2] },
    {
      id: 'conv',
      op: 'conv2d',
      inputs: ['planes'],
      weight: 'weight',
      bias: null,
      stride: [2, 2],
      padding: [1, 1],
      dilation: [1, 1],
      groups: 1,
    },
    { id: 'mean', op: 'global_avg_pool', inputs: ['conv'] },
    { id: 'flat', op: 'flatten', inputs: ['mean'] },
    { id: 'scaled', op: 'binary', function: 'mul', inputs: ['flat', 'scale'] },
    { id: 'moved', op: 'binary', function: 'add', inputs: ['scaled', 'offset'] },
    { id: 'masked', op: 'binary', function: 'mul', inputs: ['signal', 'mask'] },
    { id: 'twice', op: 'binary', function: 'add', inputs: ['offset', 'offset'] },
    { id: 'half', op: 'binary', function: 'add', inputs: ['scale', 'scale'] },
  ],
});
const TENSORS = new Map([['weight', uniform([4, 3, 3, 3], 3)]]);

function inputs(images = 2) {
  const bytes = Uint8Array.from({ length: images * 6 * 8 * 3 }, (_, i) => (i * 37) % 256);
  return {
    pixels: new Tensor('U8', [images, 6, 8, 3], bytes),
    scale: new Tensor('F16', [images, 4], new Uint16Array(images * 4).fill(0x3e00)), // 1.5
    offset: new Tensor('I64', [], BigInt64Array.of(-7n)),
    signal: uniform([2, 3, 5], 5),
    mask: new Tensor('BOOL', [3, 1], Uint8Array.of(1, 0, 1)),
  };
}

const numbers = ({ data }: Tensor) => Array.from(data as Float32Array);

test('several inputs of every rank and type, and results of the types that the graph says', async () => {
  await using engine = await Engine.create({ graph: GRAPH, tensors: TENSORS });
  const given = inputs();
  const results = await engine.runAll<Tensor>(new Map(Object.entries(given)));
  const signal = numbers(given.signal);
  expect([...results].map(([id, { dtype, shape }]) => [id, dtype, shape])).toEqual([
    ['moved', 'F32', [2, 4]],
    ['masked', 'F64', [2, 3, 5]],
    ['twice', 'I64', []],
    ['half', 'F16', [2, 4]],
  ]);
  expect(results.get('twice')!.data).toEqual(BigInt64Array.of(-14n));
  expect(results.get('half')!.data).toEqual(new Uint16Array(8).fill(0x4200)); // 3
  expect(numbers(results.get('masked')!)).toEqual(
    signal.map((each, i) => (Math.floor(i / 5) % 3 === 1 ? each * 0 : each)),
  );
  const want = meansByHand(given.pixels).map((mean) => mean * 1.5 - 7);
  const peak = Math.max(...want.map(Math.abs));
  for (const got of [
    results.get('moved')!,
    await engine.run(given),
    engine.runSync(given),
    evaluate(GRAPH, TENSORS, given),
    await evaluateAsync(GRAPH, TENSORS, given),
  ])
    for (const [i, each] of numbers(got).entries()) expect(Math.abs(each - want[i]!) / peak).toBeLessThan(1e-6);
});

/** The mean over all places of the convolution, in float64. */
function meansByHand({ shape, data }: Tensor): number[] {
  const [images, height, width] = shape as [number, number, number];
  const weight = numbers(TENSORS.get('weight')!);
  const means: number[] = [];
  for (let n = 0; n < images; n++) {
    for (let out = 0; out < 4; out++) {
      let sum = 0;
      for (let y = 0; y < height / 2; y++)
        for (let x = 0; x < width / 2; x++)
          for (let c = 0; c < 3; c++)
            for (let ky = 0; ky < 3; ky++)
              for (let kx = 0; kx < 3; kx++) {
                const [row, column] = [2 * y + ky - 1, 2 * x + kx - 1];
                if (row < 0 || column < 0 || row >= height || column >= width) continue;
                const pixel = (data as Uint8Array)[((n * height + row) * width + column) * 3 + c]!;
                sum += pixel * weight[((out * 3 + c) * 3 + ky) * 3 + kx]!;
              }
      means.push((sum / height / width) * 4);
    }
  }
  return means;
}

test('other sizes, and a stream of them', async () => {
  await using engine = await Engine.create({ graph: GRAPH, tensors: TENSORS });
  const all = [inputs(1), inputs(3), inputs(1)];
  const shapes: (readonly number[])[] = [];
  for await (const { shape } of engine.stream(all)) shapes.push(shape);
  expect(shapes).toEqual([
    [1, 4],
    [3, 4],
    [1, 4],
  ]);
});

test('what it takes and gives is told', async () => {
  await using engine = await Engine.create({ graph: GRAPH, tensors: TENSORS });
  expect(engine.inputs).toEqual([
    { name: 'pixels', dtype: 'U8', shape: ['N', 'H', 'W', 3] },
    { name: 'scale', dtype: 'F16', shape: ['N', 4] },
    { name: 'offset', dtype: 'I64', shape: [] },
    { name: 'signal', dtype: 'F32', shape: [2, 'L', 5] },
    { name: 'mask', dtype: 'BOOL', shape: ['L', 1] },
  ]);
  expect(engine.outputs).toEqual([
    { name: 'moved', dtype: 'F32', shape: ['N', 4] },
    { name: 'masked', dtype: 'F64', shape: [2, 'L', 5] },
    { name: 'twice', dtype: 'I64', shape: [] },
    { name: 'half', dtype: 'F16', shape: ['N', 4] },
  ]);
  const shapes = { pixels: [1, 6, 8, 3], scale: [1, 4], offset: [], signal: [2, 3, 5], mask: [3, 1] };
  expect(engine.outputShape(shapes)).toEqual([1, 4]);
  expect(inferShapes(GRAPH, shapes, TENSORS).get('conv')).toEqual([1, 4, 3, 4]);
  expect(engine.explain(shapes).filter(({ layer }) => layer === 'input')).toHaveLength(5);
});

type Change = (given: Record<string, Tensor>) => unknown;
const REFUSED: readonly (readonly [string, Change, code: string, part: string, details: object])[] = [
  ['one tensor', ({ signal }) => signal, 'INVALID_ARGUMENT', 'an object with a tensor for each of "pixels"', {}],
  ['nothing', () => undefined, 'INVALID_ARGUMENT', 'an object with a tensor for each', {}],
  ['a missing input', ({ mask: _, ...rest }) => rest, 'INVALID_ARGUMENT', 'the input "mask"', { input: 'mask' }],
  [
    'an input too many',
    (all) => ({ ...all, masks: all.mask }),
    'INVALID_ARGUMENT',
    '"masks": did you mean mask?',
    { input: 'masks' },
  ],
  [
    'another type',
    (all) => ({ ...all, offset: Tensor.f32([], [1]) }),
    'INVALID_ARGUMENT',
    'a tensor of I64 or I32 or I16 or I8 or U8 for the input "offset" but received F32',
    { input: 'offset' },
  ],
  [
    'no tensor',
    (all) => ({ ...all, offset: 7 }),
    'INVALID_ARGUMENT',
    'a tensor for the input "offset" but received 7',
    { input: 'offset' },
  ],
  [
    'an integer that float32 does not hold',
    (all) => ({ ...all, offset: new Tensor('I64', [], BigInt64Array.of(2n ** 24n + 1n)) }),
    'RANGE',
    '16777217',
    { input: 'offset' },
  ],
  [
    'another rank',
    (all) => ({ ...all, signal: uniform([2, 15], 1) }),
    'SHAPE',
    '[2, L, 5] for "signal" but received [2, 15]',
    { input: 'signal' },
  ],
  [
    'another size',
    (all) => ({ ...all, signal: uniform([2, 3, 6], 1) }),
    'SHAPE',
    '[2, L, 5] for "signal" (L is 3) but received [2, 3, 6]',
    { input: 'signal' },
  ],
  [
    'two sizes of one name',
    (all) => ({ ...all, mask: new Tensor('BOOL', [2, 1], Uint8Array.of(1, 1)) }),
    'SHAPE',
    '[L, 1] for "mask" (L is 3) but received [2, 1]',
    { input: 'mask' },
  ],
];

test.each(REFUSED)('%s is refused with a code', async (_, change, code, part, details) => {
  await using engine = await Engine.create({ graph: GRAPH, tensors: TENSORS });
  const given = change(inputs()) as never;
  for (const run of [() => engine.run(given), () => evaluateAsync(GRAPH, TENSORS, given)]) {
    const error = (await run().catch((caught) => caught)) as RepfuseError;
    expect(error).toBeInstanceOf(RepfuseError);
    expect(error.code).toBe(`ERR_REPFUSE_${code}`);
    expect(error.message).toContain(part);
    expect(error.details).toMatchObject(details);
  }
});

test('a result that its type does not hold is refused, not rounded', async () => {
  const graph = { ...GRAPH, output: 'moved', outputs: ['moved'], outputTypes: { moved: 'I32' } } as Graph;
  await using engine = await Engine.create({ graph, tensors: TENSORS });
  await expect(engine.run(inputs())).rejects.toMatchObject({ code: 'ERR_REPFUSE_RANGE', details: { output: 'moved' } });
  const large = { ...GRAPH, output: 'twice', outputs: ['twice'] } as Graph;
  const offset = new Tensor('I64', [], BigInt64Array.of(2n ** 24n));
  expect(() => evaluate({ ...large, outputTypes: { twice: 'I64' } }, TENSORS, { ...inputs(), offset })).toThrow(
    /16777216 .* "twice", which is I64, .* 33554432/,
  );
});

test('as ONNX it takes and gives the same, in the same types', async () => {
  const types = (values: readonly { name: string; type?: ValueInfo['type'] }[]) =>
    values.map(({ name, type }) => [name, type!.tensorType!.elemType]);
  const whole = toOnnx(GRAPH, TENSORS, 17).proto.graph;
  expect(types(whole.input)).toEqual([
    ['pixels', 2],
    ['scale', 10],
    ['offset', 7],
    ['signal', 1],
    ['mask', 9],
  ]);
  expect(types(whole.output)).toEqual([
    ['moved', 1],
    ['masked', 11],
    ['twice', 7],
    ['half', 10],
  ]);
  const casts = whole.node.filter(({ opType }) => opType === 'Cast').map(({ input, output }) => [...input, ...output]);
  expect(casts).toContainEqual(['pixels', 'pixels.float32']);
  expect(casts).toContainEqual(['twice.float32', 'twice']);
  const { outputTypes: _, ...graph } = GRAPH;
  const model = fromOnnx(toOnnx(graph, TENSORS, 17));
  expect(model.graph.inputs).toEqual(GRAPH.inputs!.map((input) => ({ type: 'F32', ...input })));
  await using again = await Engine.create(model);
  await using engine = await Engine.create({ graph, tensors: TENSORS });
  expect(await again.runAll(inputs())).toEqual(await engine.runAll(inputs()));
});
