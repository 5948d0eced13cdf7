import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Engine, readCheckpoint, readModel } from '../../lib';
import { fromOnnx } from '../../lib/graph/from-onnx/from-onnx';
import { parseGraph } from '../../lib/graph/parse';
import { readOnnx } from '../../lib/onnx';
import { Tensor } from '../../lib/tensor/tensor';

// Exported by torch (classic and dynamo) with open batch, height and width; `<file>.<height>x<width>.bin` is onnxruntime's result.
const FOLDER = join(__dirname, '..', 'fixtures', 'onnx-sizes');

function image(height: number, width: number): Tensor {
  const count = 3 * height * width;
  const pixel = (i: number) => Math.fround(Math.fround((i % 251) / 251) - 0.5);
  return Tensor.f32(
    [1, 3, height, width],
    Float32Array.from({ length: count }, (_, i) => pixel(i)),
  );
}

describe.each(['classic', 'dynamo'])('%s', (exporter) => {
  test.each(['unet', 'fpn'])('%s runs at every size that fits, as onnxruntime runs it', async (network) => {
    const file = join(FOLDER, `${network}_${exporter}.onnx`);
    using engine = await Engine.create(await readModel(file));
    for (const [height, width] of [
      [64, 96],
      [128, 72],
    ] as const) {
      const { buffer, byteOffset, byteLength } = readFileSync(`${file}.${height}x${width}.bin`);
      const want = new Float32Array(buffer.slice(byteOffset, byteOffset + byteLength));
      const { data } = await engine.run(image(height, width));
      expect(data.length).toBe(want.length);
      const peak = want.reduce((most, each) => Math.max(most, Math.abs(each)), 0);
      const error = want.reduce((most, each, i) => Math.max(most, Math.abs(each - data[i]!)), 0);
      expect(error / peak).toBeLessThan(1e-5);
    }
  });

  test('a U-Net of three halvings asks for multiples of 8, and names them', async () => {
    const { graph, tensors } = fromOnnx(await readOnnx(join(FOLDER, `unet_${exporter}.onnx`)));
    expect(graph.multiples).toEqual({ H: 8, W: 8 });
    expect(parseGraph(JSON.parse(JSON.stringify(graph)))).toEqual(graph);
    using engine = await Engine.create({ graph, tensors });
    await expect(engine.run(image(61, 64))).rejects.toMatchObject({
      code: 'ERR_REPFUSE_SHAPE',
      message: 'Expected a height that is a multiple of 8 but received 61',
    });
    await expect(engine.run(image(64, 76))).rejects.toMatchObject({
      message: 'Expected a width that is a multiple of 8 but received 76',
    });
  });
});

test('channels that the model leaves open are those of the convolution behind arithmetic', async () => {
  const reported = join(FOLDER, '..', 'reported', 'open_mul_conv');
  const { tensors } = await readCheckpoint(`${reported}.expected.safetensors`);
  using engine = await Engine.create(await readModel(`${reported}.onnx`));
  const { data } = await engine.run(tensors.get('input')!);
  const want = Array.from(tensors.get('y')!.data as Float32Array);
  const peak = Math.max(...want.map(Math.abs));
  expect(data.length).toBe(want.length);
  for (const [i, each] of want.entries()) expect(Math.abs(data[i]! - each) / peak).toBeLessThan(1e-5);
});
