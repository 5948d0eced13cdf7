import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { foldOnnx } from '../../lib/convert';
import { Engine, readModel } from '../../lib/engine';
import { Tensor } from '../../lib/tensor/tensor';
import { peakError } from '../support/compare';
import { FIXTURES, readFixtureTensors } from '../support/fixtures';
import { normsBehindLinear } from '../support/folded-norms';
import { temporaryFolder } from '../support/temporary';

/** Small networks of known families in training form, by torch's exporters: test/fixtures/networks/generate.py makes them. */
const FOLDER = join(FIXTURES, 'networks');
const FILES = readdirSync(FOLDER).filter((file) => file.endsWith('.onnx'));

const { path } = temporaryFolder();

/** Images of two sizes: a network that is built for one has right outputs of the first alone. */
const IMAGES = [...readFixtureTensors(join(FOLDER, 'inputs.safetensors')).values()];

/** The largest error of a model's outputs beside float64, at every size that it takes. */
async function errorOf(model: string, file: string): Promise<number> {
  const expected = readFixtureTensors(join(FOLDER, `${file.split('.')[0]}.safetensors`));
  using engine = await Engine.create(await readModel(model));
  const errors: number[] = [];
  for (const [size, { shape, data }] of (file.includes('.open.') ? IMAGES : IMAGES.slice(0, 1)).entries()) {
    const outputs = [...(await engine.runAll(Tensor.f32(shape, data as Float32Array))).values()];
    expect(outputs.length).toBeGreaterThan(0);
    for (const [i, { shape: got, data: values }] of outputs.entries()) {
      const want = expected.get(`y${size}.${i}`)!;
      expect(got).toEqual(want.shape);
      errors.push(peakError(values, want.data as Float64Array));
    }
  }
  return Math.max(...errors);
}

test('no network has lost its file', () => expect(FILES).toHaveLength(34));

test.each(FILES)('%s: right as it is; folded, with no BatchNormalization behind what it folds into', async (file) => {
  const given = join(FOLDER, file);
  expect(await errorOf(given, file)).toBeLessThan(1e-5);
  const folded = path(file);
  const { convolutions, verification } = await foldOnnx(given, folded, { verify: true });
  expect(verification?.equal ?? true).toBe(true); // null where there is nothing to fold
  expect(await normsBehindLinear(folded)).toEqual([]);
  expect(convolutions.after).toBeLessThanOrEqual(convolutions.before);
  expect(await errorOf(folded, file)).toBeLessThan(1e-5);
});
