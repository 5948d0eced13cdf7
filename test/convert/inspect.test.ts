import { MobileOneBlock } from '../../lib/blocks';
import { readCheckpoint } from '../../lib/checkpoint/read-checkpoint';
import { convert, inspect } from '../../lib/convert';
import { Tensor } from '../../lib/tensor/tensor';
import { fixturePath, type Manifest, readManifest } from '../support/fixtures';
import { roughBlock } from '../support/rough-block';
import { workplace } from './workplace';

const { path, write } = workplace();

test('the report counts what was gained (R05, R20) and says which eps was used and why (R26)', async () => {
  const input = await write('in', roughBlock('backbone.ERBlock_2.0.'), roughBlock('stage.', 4));
  const { blocks, parameters } = await convert(input, path('out'));
  const yolo = blocks.find(({ prefix }) => prefix === 'backbone.ERBlock_2.0')!;
  expect(yolo).toMatchObject({
    branches: ['rbr_dense', 'rbr_1x1', 'rbr_identity'],
    batchNorms: 3,
    kernel: [8, 8, 3, 3],
    groups: 1,
    parameters: { before: 8 * 8 * 9 + 8 * 8 + 3 * 16, after: 8 * 8 * 9 + 8 },
    eps: { value: 1e-3, source: expect.stringContaining('YOLOv6') },
  });
  expect(yolo.epsEffect).toBeGreaterThan(0);
  expect(blocks.find(({ prefix }) => prefix === 'stage')!.eps).toEqual({ value: 1e-5, source: 'default of repvgg' });
  expect(parameters.before - parameters.after).toBe(
    blocks.reduce((sum, b) => sum + b.parameters.before - b.parameters.after, 0),
  );
  const forced = await convert(input, path('out2'), { eps: 1e-4 });
  expect(forced.blocks.every(({ eps }) => eps.value === 1e-4 && eps.source === 'option')).toBe(true);
});

test('MobileOne: branches, and parameters counted by hand (R20)', async () => {
  const block = new MobileOneBlock({ inChannels: 8, outChannels: 8, groups: 8, numConvBranches: 4 });
  const { blocks } = await inspect(await write('in', block.stateDict()));
  expect(blocks).toHaveLength(1);
  expect(blocks[0]).toMatchObject({
    prefix: '',
    family: 'mobileone',
    form: 'train',
    branches: ['rbr_scale', 'rbr_skip', 'rbr_conv.0', 'rbr_conv.1', 'rbr_conv.2', 'rbr_conv.3'],
    batchNorms: 6,
    groups: 8,
    kernel: [8, 1, 3, 3],
    parameters: { before: 4 * (72 + 16) + (8 + 16) + 16, after: 72 + 8 },
  });
});

test('a small variance makes eps matter: the report warns and says how far (R26)', async () => {
  const tensors = roughBlock('a.', 1);
  for (const key of ['rbr_dense.bn', 'rbr_1x1.bn', 'rbr_identity']) {
    tensors.set(`a.${key}.running_var`, Tensor.f32([1], [1e-4]));
    tensors.set(`a.${key}.weight`, Tensor.f32([1], [1]));
  }
  tensors.set('a.rbr_dense.conv.weight', Tensor.f32([1, 1, 3, 3]));
  tensors.set('a.rbr_1x1.conv.weight', Tensor.f32([1, 1, 1, 1]));
  const input = await write('in', tensors);
  const [block] = (await inspect(input)).blocks;
  expect(block!.warning).toContain('smallest running_var 0.000100 is below 100 eps');
  expect(block!.epsEffect).toBeCloseTo(95.346 / 30.151 - 1, 4);
  for (const [eps, centre] of [
    [undefined, 95.346],
    ['auto', 95.346],
    [1e-5, 95.346],
    [1e-3, 30.151],
  ] as const) {
    await convert(input, path('out'), { eps, force: true });
    const weight = (await readCheckpoint(path('out'))).tensors.get('a.rbr_reparam.weight')!;
    expect(weight.data[4]).toBeCloseTo(centre, 3);
  }
});

test('statistics that were never trained are remarked on', async () => {
  const fresh = new MobileOneBlock({ inChannels: 4, outChannels: 4 });
  const { blocks } = await inspect(await write('fresh', fresh.stateDict()));
  expect(blocks[0]!.warning).toContain('before any training');
  expect((await inspect(await write('rough', roughBlock('a.')))).blocks[0]!.warning).toBeUndefined();
});

test('containers, key paths, what is left out: a training checkpoint', async () => {
  const { keyPath, format, skipped, alternatives, otherTensors } = await inspect(
    fixturePath('checkpoints', 'repvgg-training.pth'),
  );
  expect({ keyPath, format, alternatives, otherTensors }).toEqual({
    keyPath: ['model'],
    format: 'torch-zip',
    alternatives: [],
    otherTensors: 2,
  });
  expect(skipped).toEqual(
    expect.arrayContaining([
      { path: 'epoch', what: 'number 119' },
      { path: 'max_accuracy', what: expect.stringContaining('not executed') },
    ]),
  );
});

test('multiply-accumulates of a graph with an input shape, by hand', async () => {
  const manifest = readManifest('trained', 'digits-repvgg');
  const input = fixturePath('trained', manifest.files.checkpoint);
  expect((await inspect(input)).macs).toBeNull();
  const graph = { ...manifest.train_graph, inputShape: [1, 8, 8] };
  const { macs, parameters } = await inspect(input, { graph });
  const deploy = await inspect(fixturePath('trained', manifest.files.deploy_safetensors), {
    graph: { ...manifest.deploy_graph, inputShape: [1, 8, 8] },
  });
  expect(macs!.after).toBe(deploy.macs!.after);
  expect(deploy.macs!.before).toBe(deploy.macs!.after);
  // A 3x3 convolution beside a 1x1 one costs 10 / 9 of the fused one; the linear layer is the same in both.
  const linear = manifest.train_graph.nodes.find(({ op }: Manifest) => op === 'linear');
  const { tensors } = await readCheckpoint(input);
  const unchanged = tensors.get(linear.weight)!.size;
  expect((macs!.before - unchanged) * 9).toBe((macs!.after - unchanged) * 10);
  expect(parameters.after).toBe(manifest.result.parameters_deploy);
});
