import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { convert, parseRules, readCheckpoint } from '../../lib';
import type { ConvertOptions } from '../../lib/convert';
import { peakError } from '../support/compare';
import { FIXTURES, readFixtureTensors } from '../support/fixtures';
import { readOnnxInitializers } from '../support/onnx-initializers';
import { temporaryFolder } from '../support/temporary';

// Real files that other people published; see fixtures/public/README.md for where they come from.

const folder = temporaryFolder();
const published = (name: string) => join(FIXTURES, 'public', name);

/** Rounding to float32 once: half a unit of a weight, and no weight is larger than the peak. */
const ROUNDED = 2 ** -24;

async function fused(name: string, options: ConvertOptions) {
  const output = folder.path(`${name}.safetensors`);
  const report = await convert(published(name), output, { ...options, verify: true });
  expect(report.verification).toMatchObject({ equal: true });
  expect(new Set(report.blocks.map(({ status }) => status))).toEqual(new Set(['converted']));
  return { report, tensors: (await readCheckpoint(output)).tensors };
}

/** Expected values whose names begin so, by the rest of the name. */
function expected(file: string, start: string) {
  const all = [...readFixtureTensors(published(file))].filter(([key]) => key.startsWith(start));
  return all.map(([key, { shape, data }]) => ({ key: key.slice(start.length), shape, data: data as Float64Array }));
}

test('YuNet: a convolution with bias and the BatchNorm after it, to the expected values and to the authors’ own deploy form', async () => {
  const { report, tensors } = await fused('yunet_s_train.pth', { families: ['conv-bn'] });
  expect(report).toMatchObject({ keyPath: ['state_dict'], batchNormsLeft: 0 });
  expect(report.blocks.length).toBe(15);
  const golden = expected('yunet_s.expected.safetensors', 'fused_f64.');
  expect(golden.length).toBe(30);
  for (const { key, shape, data } of golden) {
    const got = tensors.get(key)!;
    expect([key, got.shape]).toEqual([key, shape]);
    expect(peakError(got.data as Float32Array, data)).toBeLessThanOrEqual(ROUNDED);
  }
  // Folded convolutions have lost their names in the ONNX file: each is the nearest of its shape, and none is taken twice.
  const initializers = readOnnxInitializers(published('yunet_s_deploy_320.onnx'));
  const nameless = [...initializers].filter(([name]) => /^\d+$/.test(name));
  const taken = golden.map(({ key, shape }) => {
    const got = tensors.get(key)!.data as Float32Array;
    const errors = nameless
      .filter(([, other]) => other.shape.join() === shape.join())
      .map(([name, { data }]) => ({ name, error: peakError(got, data) }));
    const nearest = errors.reduce((a, b) => (b.error < a.error ? b : a));
    expect(nearest.error).toBeLessThanOrEqual(2e-7);
    return nearest.name;
  });
  expect(new Set(taken).size).toBe(30);
  const named = [...initializers].filter(([name]) => tensors.has(name));
  expect(named.length).toBeGreaterThan(60);
  for (const [name, { data }] of named) expect(tensors.get(name)!.data).toEqual(data);
});

test('ResNet-20: 21 pairs under three ways of naming them', async () => {
  const { report, tensors } = await fused('resnet20_width16_cifar10.pt', { families: ['conv-bn'] });
  expect(report).toMatchObject({ batchNormsLeft: 0 });
  expect(report.blocks.length).toBe(21);
  const golden = expected('resnet20_width16.expected.safetensors', 'fused.');
  expect([...tensors.keys()].sort()).toEqual(golden.map(({ key }) => key).sort());
  for (const { key, shape, data } of golden) {
    expect([key, tensors.get(key)!.shape]).toEqual([key, shape]);
    expect(peakError(tensors.get(key)!.data as Float32Array, data)).toBeLessThanOrEqual(2 * ROUNDED);
  }
});

test('XLSR: four convolutions whose outputs are joined become one, by a rule file', async () => {
  const file = join(FIXTURES, '..', '..', 'examples', 'rules', 'xlsr.json');
  const rules = parseRules(JSON.parse(readFileSync(file, 'utf8')));
  const { report, tensors } = await fused('xlsr_x4.pt', { rules });
  expect(report.blocks).toMatchObject([{ prefix: '', family: 'xlsr', kernel: [32, 3, 3, 3] }]);
  const golden = expected('xlsr_x4.expected.safetensors', 'fused.');
  expect(golden.length).toBe(2);
  for (const { key, shape, data } of golden) {
    expect([key, tensors.get(key)!.shape]).toEqual([key, shape]);
    expect(tensors.get(key)!.data).toEqual(data);
  }
  expect([...tensors.keys()].filter((key) => key.startsWith('conv0_'))).toEqual([]);
});

test('networks that are plain already load, and have nothing to convert', async () => {
  for (const name of ['ecbsr_m4c16_x2.pth', 'ecbsr_et_m4c16_x2.pth']) {
    const { tensors, format } = await readCheckpoint(published(name));
    expect(format).toBe('torch-zip');
    expect(tensors.size).toBeGreaterThan(10);
    expect(tensors.get('backbone.0.0.weight')!.shape.slice(2)).toEqual([3, 3]);
    const report = await convert(published(name), folder.path(name));
    expect(report).toMatchObject({ output: folder.path(name), blocks: [] });
    expect((await readCheckpoint(report.output)).tensors).toEqual(tensors);
  }
});
