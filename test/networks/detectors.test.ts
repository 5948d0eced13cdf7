import { join } from 'node:path';
import { foldOnnx } from '../../lib/convert';
import { Engine, readModel } from '../../lib/engine';
import { Tensor } from '../../lib/tensor/tensor';
import { peakError } from '../support/compare';
import { FIXTURES, readFixtureTensors } from '../support/fixtures';
import { temporaryFolder } from '../support/temporary';

const PUBLIC = join(FIXTURES, 'public');
const { path } = temporaryFolder();

/** Detectors as their authors publish them; what the network gets is (byte - offset) / scale. See test/fixtures/public/detectors.py. */
const DETECTORS = [
  { name: 'ultraface_slim_320', what: 'decodes its boxes', offset: 127, scale: 128 },
  { name: 'fastestdet', what: 'shuffles channels', offset: 0, scale: 255 },
  { name: 'yunet_n_dynamic', what: 'height and width are open', offset: 0, scale: 1 },
];

describe.each(DETECTORS)('$name: $what', ({ name, offset, scale }) => {
  const tensors = readFixtureTensors(join(PUBLIC, `${name}.expected.safetensors`));
  const images = [...tensors].filter(([key]) => key.startsWith('image'));

  async function expectRight(file: string): Promise<void> {
    using engine = await Engine.create(await readModel(file));
    for (const [key, { shape, data }] of images) {
      const given = Tensor.f32(
        shape,
        Float32Array.from(data as Uint8Array, (byte) => (byte - offset) / scale),
      );
      const outputs = await engine.runAll(given);
      const suffix = `.${key.slice('image'.length)}`;
      const expected = [...tensors].filter(([output]) => output.endsWith(suffix));
      expect(outputs.size).toBe(expected.length);
      for (const [output, want] of expected) {
        const got = outputs.get(output.slice(0, -suffix.length))!;
        expect(got.shape).toEqual(want.shape);
        expect(peakError(got.data, want.data as Float32Array)).toBeLessThan(1e-5);
      }
    }
  }

  test('as it is', () => expectRight(join(PUBLIC, `${name}.onnx`)));

  test('folded', async () => {
    await foldOnnx(join(PUBLIC, `${name}.onnx`), path(`${name}.onnx`));
    await expectRight(path(`${name}.onnx`));
  });
});

test('an image whose size does not fit is refused by the multiple that does', async () => {
  using engine = await Engine.create(await readModel(join(PUBLIC, 'yunet_n_dynamic.onnx')));
  await expect(engine.run(Tensor.f32([1, 3, 112, 160]))).rejects.toThrow(/multiple of 32/);
  // No multiple, but one whose maps meet: as in ONNX Runtime.
  expect((await engine.run(Tensor.f32([1, 3, 100, 160]))).shape).toEqual([1, 240, 1]);
});
