import { Engine } from '../../lib/engine';
import { parseGraph } from '../../lib/graph';
import { conv2d } from '../../lib/ops';
import { Tensor } from '../../lib/tensor/tensor';
import { peakError } from '../support/compare';
import { Random } from '../support/random';
import { referenceConv2d } from '../support/reference-conv';
import { refusal } from '../support/refusal';

// Faults that people reported elsewhere (cases.md).

/** A network of one convolution. */
function single(weight: Tensor, setting: { padding: readonly [number, number]; dilation?: readonly [number, number] }) {
  const conv = { op: 'conv2d' as const, stride: [1, 1] as const, dilation: [1, 1] as const, groups: 1, ...setting };
  const graph = { input: 'x', output: 'y', nodes: [{ id: 'y', inputs: ['x'], weight: 'w', bias: null, ...conv }] };
  return { graph, tensors: new Map([['w', weight]]) };
}

test('G09: padding that keeps the size counts the dilated kernel: 22 pixels, k3 d2, two on each side', async () => {
  const image = Tensor.f32([1, 1, 22, 22], new Float32Array(484).fill(1));
  const weight = Tensor.f32([1, 1, 3, 3], new Float32Array(9).fill(1));
  const setting = { padding: [2, 2], dilation: [2, 2] } as const;
  using engine = await Engine.create(single(weight, setting));
  for (const output of [engine.runSync(image), conv2d(image, weight, null, setting)]) {
    expect(output.shape).toEqual([1, 1, 22, 22]);
    expect([output.data[0], output.data[1], output.data[2 * 22 + 2], output.data[483]]).toEqual([4, 4, 9, 4]);
  }
});

test('G11: padding is zeros; another mode is refused, not taken for zeros', async () => {
  const image = Tensor.f32([1, 1, 3, 3], [0, 1, 2, 3, 4, 5, 6, 7, 8]);
  const weight = Tensor.f32([1, 1, 3, 3], new Float32Array(9).fill(1));
  using engine = await Engine.create(single(weight, { padding: [1, 1] }));
  for (const output of [engine.runSync(image), conv2d(image, weight, null, { padding: 1 })])
    expect([...output.data]).toEqual([8, 15, 12, 21, 36, 27, 20, 33, 24]);
  // biome-ignore lint/suspicious/noExplicitAny: the type knows no other mode
  const options: any = { padding: 1, paddingMode: 'reflect' };
  expect(() => conv2d(image, weight, null, options)).toThrow(
    expect.objectContaining({ code: 'ERR_REPFUSE_INVALID_ARGUMENT' }),
  );
  const { graph } = single(weight, { padding: [1, 1] as const });
  const reflecting = { ...graph, nodes: graph.nodes.map((node) => ({ ...node, padding_mode: 'reflect' })) };
  expect(await refusal((async () => parseGraph(reflecting))())).toMatchObject({ code: 'ERR_REPFUSE_GRAPH' });
});

test.each(['direct', 'winograd2', 'winograd4x2', 'winograd4'] as const)(
  'G16: 256 channels, 3x3, by %s: within 1e-5 of the peak, and G15: of every remainder of tiles',
  async (algorithm) => {
    const random = new Random(16);
    const weight = Tensor.f32([256, 256, 3, 3], random.floats(256 * 256 * 9));
    using engine = await Engine.create(single(weight, { padding: [1, 1] }), { algorithm });
    for (const size of [3, 4, 5, 6]) {
      const image = Tensor.f32([1, 256, size, size], random.floats(256 * size * size));
      const { data } = referenceConv2d({
        input: image.data as Float32Array,
        inputShape: image.shape,
        weight: weight.data as Float32Array,
        weightShape: weight.shape,
        stride: [1, 1],
        padding: [1, 1, 1, 1],
        dilation: [1, 1],
        groups: 1,
      });
      expect(peakError(engine.runSync(image).data as Float32Array, data)).toBeLessThan(1e-5);
    }
  },
);
