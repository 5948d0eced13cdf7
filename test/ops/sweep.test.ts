import { conv2d } from '../../lib/ops';
import { windowCount } from '../../lib/ops/geometry';
import { Tensor } from '../../lib/tensor/tensor';
import { peakError } from '../support/compare';
import { availableIsas, withIsa } from '../support/isa';
import { Random } from '../support/random';
import { referenceConv2d } from '../support/reference-conv';

const SHAPES = 2000;
const CHUNKS = 20;
/** Float32 sums of a few hundred terms against float64, relative to the peak. */
const TOLERANCE = 2e-6;

/** A random convolution that has at least one output pixel. */
function randomConv(random: Random) {
  for (;;) {
    const groups = random.pick([1, 1, 1, 2, 3, 5, 8]);
    const depthwise = random.next() < 0.25;
    const inPerGroup = depthwise ? 1 : random.int(1, 9);
    const outPerGroup = random.int(1, depthwise ? 3 : 11);
    const kernel = [random.int(1, 7), random.int(1, 7)] as const;
    const stride = [random.int(1, 3), random.int(1, 3)] as const;
    const dilation = [random.int(1, 3), random.int(1, 3)] as const;
    const padding = Array.from({ length: 4 }, () => random.pick([0, 0, 1, 2, 3, 5, -1, -2])) as [
      number,
      number,
      number,
      number,
    ];
    const size = [random.pick([1, 2, 3, 5, 8, 13, 17]), random.pick([1, 2, 4, 7, 9, 16, 31, 50])] as const;
    const outHeight = windowCount(size[0], kernel[0], stride[0], padding[0], padding[2], dilation[0]);
    const outWidth = windowCount(size[1], kernel[1], stride[1], padding[1], padding[3], dilation[1]);
    if (outHeight < 1 || outWidth < 1) continue;
    const inputShape = [random.int(1, 3), inPerGroup * groups, ...size];
    const weightShape = [outPerGroup * groups, inPerGroup, ...kernel];
    return {
      inputShape,
      weightShape,
      stride,
      padding,
      dilation,
      groups,
      bias: random.next() < 0.7,
      relu: random.next() < 0.3,
    };
  }
}

const count = (shape: readonly number[]) => shape.reduce((a, b) => a * b, 1);

describe(`${SHAPES} random shapes against a float64 reference`, () => {
  test.each(Array.from({ length: CHUNKS }, (_, i) => i))('seed %i', (seed) => {
    const random = new Random(1000 + seed);
    const isas = availableIsas();
    for (let i = 0; i < SHAPES / CHUNKS; i++) {
      const c = randomConv(random);
      const input = random.floats(count(c.inputShape));
      const weight = random.floats(count(c.weightShape));
      const bias = c.bias ? random.floats(c.weightShape[0]!) : null;
      const reference = referenceConv2d({ ...c, input, weight, bias });
      const want = c.relu ? reference.data.map((v) => Math.max(0, v)) : reference.data;
      const run = (threads: number) =>
        conv2d(
          Tensor.f32(c.inputShape, input),
          Tensor.f32(c.weightShape, weight),
          bias && Tensor.f32([bias.length], bias),
          {
            ...c,
            activation: c.relu ? 'relu' : 'none',
            threads,
          },
        );
      for (const isa of isas) {
        const got = withIsa(isa, () => run(random.pick([1, 2, 3])));
        expect(got.shape).toEqual(reference.shape);
        const error = peakError(got.data as Float32Array, want);
        if (!(error <= TOLERANCE)) throw new Error(`${isa}: ${error} for ${JSON.stringify(c)}`);
      }
    }
  });
});

test.each(availableIsas())('the same bits for every thread count at %s', (isa) => {
  const random = new Random(7);
  const input = Tensor.f32([2, 24, 19, 23], random.floats(2 * 24 * 19 * 23));
  for (const [groups, perGroup] of [
    [1, 24],
    [4, 6],
    [24, 1],
  ] as const) {
    const weight = Tensor.f32([48, perGroup, 3, 3], random.floats(48 * perGroup * 9));
    const outputs = withIsa(isa, () =>
      [1, 2, 3, 7].map((threads) => conv2d(input, weight, null, { padding: 1, groups, threads })),
    );
    for (const output of outputs.slice(1))
      expect(Buffer.from(output.data.buffer)).toEqual(Buffer.from(outputs[0]!.data.buffer));
  }
});
