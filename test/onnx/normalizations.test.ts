import { Engine } from '../../lib/engine';
import { fromOnnx } from '../../lib/graph/from-onnx/from-onnx';
import { Tensor } from '../../lib/tensor/tensor';
import { model, node } from '../support/onnx-model';

/** What the ONNX project's node tests leave out, beside the definitions in float64. */
const CHANNELS = 6;
const values = (count: number, start: number) =>
  Float32Array.from({ length: count }, (_, i) => Math.sin(start + 3 * i));
const positive = (count: number, start: number) => values(count, start).map((each) => each + 1.5);

async function run(read: ReturnType<typeof model>, x: Tensor): Promise<Float32Array> {
  await using engine = await Engine.create(fromOnnx(read));
  return Float32Array.from((await engine.run(x)).data as Float32Array);
}

function expectClose(got: Float32Array, want: readonly number[]): void {
  expect(got).toHaveLength(want.length);
  const peak = Math.max(...want.map(Math.abs));
  expect(Math.max(...want.map((each, i) => Math.abs(each - got[i]!))) / peak).toBeLessThan(2e-6);
}

test.each([[[4, CHANNELS]], [[2, CHANNELS, 5]]])('BatchNormalization of %j', async (shape) => {
  const names = ['scale', 'bias', 'mean', 'variance'] as const;
  const given = names.map((name, i) => (name === 'variance' ? positive(CHANNELS, i) : values(CHANNELS, i)));
  const tensors = Object.fromEntries(names.map((name, i) => [name, Tensor.f32([CHANNELS], given[i]!)]));
  const nodes = [node('BatchNormalization', ['x', ...names], ['y'], { epsilon: 1e-3 })];
  const x = Tensor.f32(
    shape,
    values(
      shape.reduce((a, b) => a * b),
      5,
    ),
  );
  const [scale, bias, mean, variance] = given as [Float32Array, Float32Array, Float32Array, Float32Array];
  const want = Array.from(x.data as Float32Array, (each, i) => {
    const c = Math.floor(i / (shape[2] ?? 1)) % CHANNELS;
    return ((each - mean[c]!) / Math.sqrt(variance[c]! + 1e-3)) * scale[c]! + bias[c]!;
  });
  expectClose(await run(model(nodes, tensors, { inputs: { x: shape }, outputs: ['y'] }), x), want);
});

test.each([18, 21])('GroupNormalization of opset %i, of images of open height', async (opset) => {
  const groups = 2;
  const [height, width] = [5, 7];
  const perGroup = CHANNELS / groups;
  const count = opset === 18 ? groups : CHANNELS;
  const [scale, bias] = [values(count, 1), values(count, 2)];
  const same = Float32Array.from({ length: CHANNELS ** 2 }, (_, i) => (i % (CHANNELS + 1) === 0 ? 1 : 0));
  const weight = Tensor.f32([CHANNELS, CHANNELS, 1, 1], same); // it tells the channels of the images
  const tensors = { weight, scale: Tensor.f32([count], scale), bias: Tensor.f32([count], bias) };
  const nodes = [
    node('Conv', ['x', 'weight'], ['image']),
    node('GroupNormalization', ['image', 'scale', 'bias'], ['y'], { num_groups: groups, epsilon: 1e-3 }),
  ];
  const shape = [2, CHANNELS, height, width];
  const x = Tensor.f32(shape, values(2 * CHANNELS * height * width, 3));
  const read = model(nodes, tensors, { inputs: { x: [2, CHANNELS, null, width] }, outputs: ['y'], opset });
  const data = Array.from(x.data as Float32Array);
  const size = perGroup * height * width;
  const want = data.map((each, i) => {
    const group = Math.floor(i / size);
    const own = data.slice(group * size, (group + 1) * size);
    const mean = own.reduce((a, b) => a + b) / size;
    const variance = own.reduce((sum, other) => sum + (other - mean) ** 2, 0) / size;
    const c = Math.floor(i / (height * width)) % CHANNELS;
    const place = opset === 18 ? Math.floor(c / perGroup) : c;
    return ((each - mean) / Math.sqrt(variance + 1e-3)) * scale[place]! + bias[place]!;
  });
  expectClose(await run(read, x), want);
});
