import { copyFileSync } from 'node:fs';
import { convert, ops, readCheckpoint } from '../../lib';
import { Tensor } from '../../lib/tensor/tensor';
import { peakError } from '../support/compare';
import { fixturePath } from '../support/fixtures';
import { referenceConv2d } from '../support/reference-conv';
import { ReferenceNet, sum } from '../support/reference-net';
import { workplace } from './workplace';

// Faults that people reported elsewhere (cases.md).

const { path, write } = workplace();

test('R16: a small depthwise kernel merged into a 31x31 one keeps the padding, and the size of the map; one number or two', async () => {
  const net = new ReferenceNet(3, 1e-5);
  const x = net.input(2, [33, 33]);
  const branch = (conv: string, k: number) =>
    net.batchNorm(net.conv(x, `${conv}.conv.weight`, [2, 1, k, k], { pad: k >> 1, groups: 2 }), `${conv}.bn`);
  const expected = sum(branch('lkb_origin', 31), branch('small_conv', 5));
  const input = await write(
    'in',
    [...net.tensors].map(([key, tensor]) => [`block.${key}`, tensor] as const),
  );
  await convert(input, path('out'), { verify: true });
  const { tensors } = await readCheckpoint(path('out'));
  const weight = tensors.get('block.lkb_reparam.weight')!;
  const bias = tensors.get('block.lkb_reparam.bias')!;
  const image = Tensor.f32(x.shape, Float32Array.from(x.data));
  const run = (padding: number | [number, number]) => ops.conv2d(image, weight, bias, { padding, groups: 2 });
  const [single, pair] = [run(15), run([15, 15])];
  expect(single.shape).toEqual([2, 2, 33, 33]);
  expect(pair).toEqual(single);
  expect(peakError(single.data as Float32Array, expected.data)).toBeLessThan(2e-6);
  const zeroPadded = referenceConv2d({
    input: x.data,
    inputShape: x.shape,
    weight: weight.data as Float32Array,
    weightShape: weight.shape,
    bias: bias.data as Float32Array,
    stride: [1, 1],
    padding: [0, 0, 0, 0],
    dilation: [1, 1],
    groups: 2,
  });
  expect(zeroPadded.shape.slice(2)).toEqual([3, 3]); // what the fault made of it
});

describe('P14: the name of a file says nothing', () => {
  const SUFFIXES = ['.pth', '.pt', '.pkl', '.model', '.tar', '.bin', '.safetensors', '.npz', ''];

  test.each(['repvgg-plain.pth', 'repvgg-legacy.pth', 'repvgg-plain.safetensors'])('%s', async (name) => {
    const source = fixturePath('checkpoints', name);
    const expected = await readCheckpoint(source);
    for (const suffix of SUFFIXES) {
      copyFileSync(source, path(`file${suffix}`));
      const { format, tensors } = await readCheckpoint(path(`file${suffix}`));
      expect([suffix, format]).toEqual([suffix, expected.format]);
      expect(tensors).toEqual(expected.tensors);
    }
  });
});
