import { Engine } from '../../lib/engine';
import { fromOnnx } from '../../lib/graph/from-onnx/from-onnx';
import { toOnnx } from '../../lib/graph/to-onnx';
import { decodeBF16, decodeF16, encodeHalf } from '../../lib/tensor/half';
import { Tensor } from '../../lib/tensor/tensor';
import { model, node } from '../support/onnx-model';
import { Random } from '../support/random';

const FLOAT = 1;

/** Values of every size, their neighbours and what lies between two of a half type. */
function values(decode: (bits: number) => number): Float32Array {
  const random = new Random(5);
  const found = [0, -0, Number.NaN, 1e-45, 2 ** -126, 65519.99, 65520, 3.4e38, Infinity, -Infinity];
  for (let i = 0; i < 500; i++) {
    const bits = random.int(0, 0x7bff);
    found.push(decode(bits), -(decode(bits) + decode(bits + 1)) / 2, random.floats(1)[0]! * 2 ** random.int(-30, 16));
  }
  return Float32Array.from(found);
}

test.each([
  ['F16', 10, decodeF16],
  ['BF16', 16, decodeBF16],
] as const)('a Cast to %s and back rounds once', async (dtype, type, decode) => {
  const nodes = [node('Cast', ['x'], ['half'], { to: type }), node('Cast', ['half'], ['y'], { to: FLOAT })];
  const given = values(decode);
  const x = Tensor.f32([given.length], given);
  const network = fromOnnx(model(nodes, {}, { inputs: { x: [given.length] }, outputs: ['y'] }));
  const want = Float32Array.from(given, (value) => decode(encodeHalf(value, dtype)));
  for (const each of [network, fromOnnx(toOnnx(network.graph, network.tensors, 17))]) {
    await using engine = await Engine.create(each);
    expect(Float32Array.from((await engine.run(x)).data as Float32Array)).toEqual(want);
  }
});

test('a constant that is cast to half types is rounded once', () => {
  const nodes = [
    node('Cast', ['third'], ['half'], { to: 10 }),
    node('Cast', ['half'], ['whole'], { to: FLOAT }),
    node('Mul', ['x', 'whole'], ['y']),
  ];
  const { graph, tensors } = fromOnnx(
    model(nodes, { third: Tensor.f32([], [1 / 3]) }, { inputs: { x: [1] }, outputs: ['y'] }),
  );
  const [{ constant }] = graph.nodes as unknown as [{ constant: string }];
  expect([...tensors.get(constant)!.data]).toEqual([0.333251953125]);
});

test('windows over volumes and indices of maxima are told as missing, all at once', () => {
  const nodes = [
    node('Conv', ['x', 'weight'], ['a'], { kernel_shape: [2, 2, 2] }),
    node('Conv', ['a', 'weight'], ['b']),
    node('MaxPool', ['b'], ['c', 'places'], { kernel_shape: [1, 1, 1] }),
    node('Reshape', ['c', 'shape'], ['image']),
    node('MaxPool', ['image'], ['pooled', 'indices'], { kernel_shape: [1, 1] }),
    node('MaxUnpool', ['pooled', 'indices'], ['y'], { kernel_shape: [1, 1] }),
  ];
  const shape = new Tensor('I64', [4], BigInt64Array.of(1n, 1n, 2n, 4n));
  const weight = Tensor.f32([1, 1, 2, 2, 2], Array(8).fill(1));
  const read = model(nodes, { weight, shape }, { inputs: { x: [1, 1, 2, 2, 2] }, outputs: ['y'] });
  expect(() => fromOnnx(read)).toThrow(
    'the model has 4 others: Conv of 3 dimensions (2 nodes, first "Conv:a"), MaxPool of 3 dimensions "MaxPool:c" (1 node), ' +
      'MaxPool with indices "MaxPool:pooled" (1 node), MaxUnpool "MaxUnpool:y" (1 node)',
  );
});
