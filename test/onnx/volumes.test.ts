import { Engine } from '../../lib/engine';
import { fromOnnx } from '../../lib/graph/from-onnx/from-onnx';
import { Tensor } from '../../lib/tensor/tensor';
import { model, node } from '../support/onnx-model';
import { Random } from '../support/random';

test.each([0, 1, 2])('a convolution of volumes whose window is flat along axis %i', async (flat) => {
  const random = new Random(flat);
  const of = (length: number, otherwise: number) => Array.from({ length }, (_, i) => (i % 3 === flat ? otherwise : 1));
  const [kernel, strides, pads] = [of(3, 0), of(3, 0), of(6, 0)].map((list, i) =>
    list.map((each, axis) => (each === 0 ? (i === 2 ? 0 : 1) : [3 - ((axis % 3) % 2), 1 + ((axis % 3) % 2), 1][i]!)),
  ) as [number[], number[], number[]];
  const [n, channels, filters] = [2, 3, 4];
  const size = [5, 6, 4];
  const x = Tensor.f32([n, channels, ...size], random.floats(n * channels * 120));
  const taps = kernel.reduce((a, b) => a * b, 1);
  const weight = Tensor.f32([filters, channels, ...kernel], random.floats(filters * channels * taps));
  const bias = Tensor.f32([filters], random.floats(filters));
  const nodes = [node('Conv', ['x', 'weight', 'bias'], ['y'], { kernel_shape: kernel, strides, pads })];
  await using engine = await Engine.create(
    fromOnnx(model(nodes, { weight, bias }, { inputs: { x: [...x.shape] }, outputs: ['y'] })),
  );
  const y = await engine.run(x);
  const made = size.map((each, i) => Math.floor((each + pads[i]! + pads[i + 3]! - kernel[i]!) / strides[i]!) + 1);
  expect(y.shape).toEqual([n, filters, ...made]);
  const index = (place: number, sizes: readonly number[]) =>
    sizes.map((each, i) => Math.floor(place / sizes.slice(i + 1).reduce((a, b) => a * b, 1)) % each);
  for (const [place, got] of [...y.data].entries()) {
    const [image, filter, ...at] = index(place, y.shape) as [number, number, ...number[]];
    let sum = bias.data[filter] as number;
    for (let tap = 0; tap < channels * taps; tap++) {
      const [channel, ...within] = index(tap, [channels, ...kernel]) as [number, ...number[]];
      const from = within.map((each, i) => at[i]! * strides[i]! + each - pads[i]!);
      if (from.some((each, i) => each < 0 || each >= size[i]!)) continue;
      const offset = from.reduce((sum, each, i) => sum * size[i]! + each, image * channels + channel);
      sum += Number(weight.data[filter * channels * taps + tap]) * Number(x.data[offset]);
    }
    expect(Math.abs(Number(got) - sum)).toBeLessThan(1e-5);
  }
});
