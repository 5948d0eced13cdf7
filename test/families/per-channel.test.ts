import { convert, readCheckpoint, type StateDict, Tensor, writeSafetensors } from '../../lib';
import { ReferenceNet } from '../support/reference-net';
import { temporaryFolder } from '../support/temporary';

const { path } = temporaryFolder();
const C = 6;

/** How a value for each channel may be stored. */
const SHAPES: readonly (readonly [string, (channels: number) => readonly number[]])[] = [
  ['[1, C, 1, 1]', (c) => [1, c, 1, 1]],
  ['[C, 1, 1]', (c) => [c, 1, 1]],
];

/** YOLOv7's implicit layers beside a RepVGG-like block with a bias, an alpha for each channel and plain pairs. */
function network(): Map<string, Tensor> {
  const net = new ReferenceNet(3, 1e-3);
  const x = net.input(C);
  const dense = (k: number) => [C, C, k, k];
  net.batchNorm(net.conv(x, 'a.rbr_dense.conv.weight', dense(3), { pad: 1, bias: true }), 'a.rbr_dense.bn');
  net.batchNorm(net.conv(x, 'a.rbr_1x1.conv.weight', dense(1), { bias: true }), 'a.rbr_1x1.bn');
  net.batchNorm(x, 'a.rbr_identity');
  net.batchNorm(net.conv(x, 'b.conv.weight', dense(3), { bias: true }), 'b.bn');
  net.addBias(x, 'c.ia.0.implicit');
  net.scale(net.conv(x, 'c.m.0.weight', dense(1), { bias: true }), 'c.im.0.implicit', [C]);
  net.scale(net.conv(x, 'd.conv.weight', dense(3)), 'd.scale_conv.weight', [C]);
  net.scale(net.conv(x, 'd.conv_1x1.weight', dense(1)), 'd.scale_1x1.weight', [C]);
  net.batchNorm(x, 'd.bn');
  return net.tensors;
}

async function fused(tensors: StateDict, name: string): Promise<Map<string, unknown>> {
  await writeSafetensors(path(`${name}.safetensors`), tensors);
  const report = await convert(path(`${name}.safetensors`), path(`${name}.out.safetensors`), {
    families: ['conv-bn'],
    verify: true,
  });
  expect(report.blocks.map(({ prefix, status, reason }) => [prefix, status, reason])).toEqual(
    ['a', 'b', 'c.m.0', 'd'].map((prefix) => [prefix, 'converted', undefined]),
  );
  expect(report.verification).toMatchObject({ equal: true });
  const { tensors: output } = await readCheckpoint(path(`${name}.out.safetensors`));
  return new Map([...output].map(([key, { shape, data }]) => [key, [...shape, ...data]]));
}

test.each(SHAPES)('values for each channel stored as %s fuse as those of [C] do', async (shape, shapeOf) => {
  const plain = network();
  const other = new Map(
    [...plain].map(([key, tensor]) => [
      key,
      tensor.shape.length === 1 ? Tensor.f32(shapeOf(tensor.size), tensor.data as Float32Array) : tensor,
    ]),
  );
  const name = `${shape.length}`;
  expect(await fused(other, name)).toEqual(await fused(plain, `${name}.plain`));
});

test('a value for each pixel is none for each channel', async () => {
  const tensors = network();
  tensors.set('a.rbr_dense.bn.weight', Tensor.f32([2, 3], new Float32Array(6)));
  await writeSafetensors(path('bad.safetensors'), tensors);
  await expect(convert(path('bad.safetensors'), path('bad.out.safetensors'))).rejects.toMatchObject({
    code: 'ERR_REPFUSE_BLOCK',
    message: expect.stringContaining('a.rbr_dense.bn.weight: shape [2, 3] does not fit 6 channels'),
  });
});
