import { Engine } from '../../lib/engine';
import type { Graph, GraphNode } from '../../lib/graph';
import { Tensor } from '../../lib/tensor/tensor';
import { peakError } from '../support/compare';
import { type Float64Image, imageOf, pixelOf } from '../support/float64-image';
import { availableIsas, withIsa } from '../support/isa';
import { Random } from '../support/random';

// Channels that become blocks of pixels: transposed convolutions and depth to space, whose convolution writes where they belong, and takes what follows.

const random = new Random(11);
const tensor = (...shape: number[]) => Tensor.f32(shape, random.floats(shape.reduce((a, b) => a * b, 1)));

/** By the definition: every pixel, times the kernel, is added where it belongs. */
function transposed(
  x: Float64Image,
  weight: Tensor,
  bias: Tensor | null,
  stride: number,
  crop: number,
  groups: number,
): Float64Image {
  const [n, channels, height, width] = x.shape;
  const [, per, kh, kw] = weight.shape as [number, number, number, number];
  const [out, rows, columns] = [per * groups, (height - 1) * stride + kh, (width - 1) * stride + kw];
  const whole = new Float64Array(n * out * rows * columns);
  const place = (i: number, c: number, y: number, z: number) => ((i * out + c) * rows + y) * columns + z;
  for (let i = 0; i < n; i++) {
    for (let c = 0; c < channels; c++) {
      const group = Math.floor(c / (channels / groups));
      for (let o = 0; o < per; o++)
        for (let y = 0; y < height; y++)
          for (let z = 0; z < width; z++)
            for (let u = 0; u < kh; u++)
              for (let v = 0; v < kw; v++)
                whole[place(i, group * per + o, y * stride + u, z * stride + v)]! +=
                  x.data[((i * channels + c) * height + y) * width + z]! *
                  Number(weight.data[((c * per + o) * kh + u) * kw + v]);
    }
  }
  const shape = [n, out, rows - 2 * crop, columns - 2 * crop] as const;
  return imageOf(shape, (i, c, y, z) => whole[place(i, c, y + crop, z + crop)]! + Number(bias?.data[c] ?? 0));
}

const mapped = (x: Float64Image, of: (value: number, channel: number) => number): Float64Image =>
  imageOf(x.shape, (n, c, y, z) => of(pixelOf(x, n, c, y, z), c));

interface Case {
  readonly channels: number;
  readonly nodes: readonly GraphNode[];
  readonly tensors: Readonly<Record<string, Tensor>>;
  readonly expected: (x: Float64Image) => Float64Image;
  /** Kernels of the steps between input and output, where they matter. */
  readonly kernels?: RegExp;
}

function upsample(channels: number, out: number, stride: number, kernel: number, padding = 0, groups = 1): Case {
  const [weight, bias] = [tensor(channels, out / groups, kernel, kernel), tensor(out)];
  const node = {
    ...{ id: 'up', op: 'conv_transpose2d', inputs: ['x'], weight: 'w', bias: 'b', stride: [stride, stride] },
    ...{ padding: [padding, padding], output_padding: [0, 0], dilation: [1, 1], groups },
  } as GraphNode;
  const expected = (x: Float64Image) => transposed(x, weight, bias, stride, padding, groups);
  return { channels, nodes: [node], tensors: { w: weight, b: bias }, expected };
}

/** With functions and constants behind it, which nothing else reads. */
function followed(given: Case, out: number): Case {
  const norm = { weight: tensor(out), bias: tensor(out), running_mean: tensor(out) };
  const runningVar = Tensor.f32(
    [out],
    random.floats(out).map((value) => Math.abs(value) + 0.5),
  );
  const factor = tensor(out, 1, 1);
  const nodes = [
    { id: 'norm', op: 'batch_norm', inputs: ['up'], prefix: 'bn', eps: 1e-5, affine: true },
    { id: 'times', op: 'binary', inputs: ['norm'], function: 'mul', constant: 'factor' },
    { id: 'share', op: 'sigmoid', inputs: ['times'] },
  ] as GraphNode[];
  const at = ({ data }: Tensor, c: number) => Number(data[c]);
  const scaled = (value: number, c: number) =>
    ((value - at(norm.running_mean, c)) / Math.sqrt(at(runningVar, c) + 1e-5)) * at(norm.weight, c) + at(norm.bias, c);
  return {
    ...given,
    nodes: [...given.nodes, ...nodes],
    tensors: {
      ...given.tensors,
      ...Object.fromEntries(Object.entries(norm).map(([name, value]) => [`bn.${name}`, value])),
      'bn.running_var': runningVar,
      factor,
    },
    expected: (x) => mapped(given.expected(x), (value, c) => 1 / (1 + Math.exp(-at(factor, c) * scaled(value, c)))),
  };
}

function shuffled(channels: number, out: number, block: number, channelsFirst: boolean): Case {
  const weight = tensor(out * block * block, channels, 1, 1);
  const conv = {
    ...{ id: 'wide', op: 'conv2d', inputs: ['x'], weight: 'w', bias: null, stride: [1, 1], padding: [0, 0] },
    ...{ dilation: [1, 1], groups: 1 },
  } as GraphNode;
  const nodes = [
    conv,
    { id: 'up', op: 'depth_to_space', inputs: ['wide'], block: [block, block], channels_first: channelsFirst },
  ] as GraphNode[];
  const expected = (x: Float64Image) => {
    const [n, , height, width] = x.shape;
    const wide = imageOf([n, out * block * block, height, width], (i, o, y, z) => {
      let sum = 0;
      for (let c = 0; c < channels; c++) sum += pixelOf(x, i, c, y, z) * Number(weight.data[o * channels + c]);
      return sum;
    });
    return imageOf([n, out, height * block, width * block], (i, c, y, z) => {
      const place = (y % block) * block + (z % block);
      const from = channelsFirst ? c * block * block + place : place * out + c;
      return pixelOf(wide, i, from, Math.floor(y / block), Math.floor(z / block));
    });
  };
  return { channels, nodes, tensors: { w: weight }, expected, kernels: /, spread$/ };
}

/** A convolution of few channels that nobody reads. */
function narrow(channels: number, out: number): Case {
  const given = shuffled(channels, out, 1, false);
  return { ...given, nodes: given.nodes.slice(0, 1), kernels: /, in planes$|^winograd/ };
}

const SPREAD = /, spread$/;
const CASES: Readonly<Record<string, Case>> = {
  'stride and kernel 2, whole blocks': { ...upsample(16, 32, 2, 2), kernels: SPREAD },
  'stride and kernel 2, 24 channels': { ...upsample(24, 24, 2, 2), kernels: SPREAD },
  'stride and kernel 2, one channel': { ...upsample(24, 1, 2, 2), kernels: SPREAD },
  'stride and kernel 3, 17 channels': { ...upsample(5, 17, 3, 3), kernels: SPREAD },
  'stride 2, kernel 4, cropped': upsample(8, 12, 2, 4, 1),
  'stride 2, kernel 3': upsample(6, 5, 2, 3),
  'two groups': { ...upsample(8, 12, 2, 2, 0, 2), kernels: SPREAD },
  'what follows, 24 channels': { ...followed(upsample(24, 24, 2, 2), 24), kernels: SPREAD },
  'what follows, one channel': { ...followed(upsample(24, 1, 2, 2), 1), kernels: SPREAD },
  'what follows two groups': { ...followed(upsample(8, 4, 2, 2, 0, 2), 4), kernels: SPREAD },
  'what follows a crop': followed(upsample(8, 12, 2, 4, 1), 12),
  'depth to space, pixels first': shuffled(16, 20, 2, false),
  'depth to space, channels first': shuffled(16, 20, 2, true),
  'depth to space of 3 channels, channels first': shuffled(20, 3, 3, true),
  'what follows depth to space': { ...followed(shuffled(16, 20, 2, true), 20) },
  'three channels as they are': narrow(16, 3),
  'one channel as it is': narrow(40, 1),
};

describe.each(availableIsas())('%s', (isa) => {
  test.each(Object.entries(CASES))('%s', async (_, { channels, nodes, tensors, expected, kernels }) => {
    const shape = [2, channels, 5, 19] as const;
    const x = tensor(...shape);
    const graph: Graph = { input: 'x', output: nodes.at(-1)!.id, inputShape: [channels, 5, 19], nodes: [...nodes] };
    const want = expected({ shape, data: Float64Array.from(x.data as Float32Array) });
    await withIsa(isa, async () => {
      for (const threads of [1, 2]) {
        await using engine = await Engine.create({ graph, tensors: new Map(Object.entries(tensors)) }, { threads });
        const got = await engine.run(x);
        expect(got.shape).toEqual(want.shape);
        expect(peakError(got.data as Float32Array, want.data)).toBeLessThan(2e-6);
        const steps = engine.explain(shape).filter(({ layer }) => layer !== 'input' && layer !== 'output');
        if (kernels === undefined) continue;
        expect(steps.map(({ kernel }) => kernel).filter((kernel) => kernel !== 'split')).toEqual([
          expect.stringMatching(kernels),
        ]);
      }
    });
  });
});
