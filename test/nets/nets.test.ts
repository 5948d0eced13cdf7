import { writeSafetensors } from '../../lib/checkpoint/safetensors/write-safetensors';
import { convert } from '../../lib/convert';
import { Engine, readModel } from '../../lib/engine';
import { evaluate } from '../../lib/graph';
import { type NetName, netFromSeed, netGraph } from '../../lib/nets';
import { seededUniform, uniformValues } from '../../lib/tensor/random';
import { Tensor } from '../../lib/tensor/tensor';
import { peakError } from '../support/compare';
import { Random } from '../support/random';
import { refusal } from '../support/refusal';
import { temporaryFolder } from '../support/temporary';

const SOME: readonly NetName[] = ['repvgg_a0', 'repvgg_b1g4', 'mobileone_s0', 'mobileone_s4'];

describe.each(SOME)('%s', (name) => {
  test.each([
    ['train', 'native'],
    ['train', 'timm'],
    ['deploy', 'native'],
    ['deploy', 'timm'],
  ] as const)('the graph of a %s state dict under %s names is found', (form, names) => {
    const { graph, tensors } = netFromSeed(name, { form, names });
    expect(netGraph(name, tensors)).toEqual(graph);
  });
});

test('a seed gives the same network, another one another', () => {
  const weight = (seed: number) => netFromSeed('mobileone_s1', { seed, classes: 10 }).tensors.get('linear.weight')!;
  expect(weight(3)).toEqual(weight(3));
  expect(weight(4).data).not.toEqual(weight(3).data);
  expect(weight(3).shape).toEqual([10, 1280]);
});

test('a checkpoint of another network is refused, and a misspelt name', async () => {
  const { tensors } = netFromSeed('repvgg_a0');
  const wrong = async (name: string) => netGraph(name as NetName, tensors);
  expect(await refusal(wrong('repvgg_b0'))).toMatchObject({
    code: 'ERR_REPFUSE_KEY',
    message: expect.stringContaining('stage1.2, stage1.3'),
  });
  expect(await refusal(wrong('repvgg_a1'))).toMatchObject({
    code: 'ERR_REPFUSE_GRAPH',
    details: { tensor: 'stage0.rbr_dense.conv.weight' },
  });
  expect(await refusal(wrong('mobileone_s0'))).toMatchObject({ code: 'ERR_REPFUSE_KEY' });
  expect(await refusal(wrong('repvgg_a9'))).toMatchObject({
    code: 'ERR_REPFUSE_INVALID_ARGUMENT',
    message: expect.stringContaining('did you mean repvgg_a0'),
  });
});

describe('from checkpoint to result', () => {
  const folder = temporaryFolder();
  const input = Tensor.f32([2, 3, 64, 64], uniformValues(seededUniform(5), 2 * 3 * 64 * 64, -1, 1));

  test.each(['repvgg_a0', 'mobileone_s0'] as const)(
    '%s: both forms, and the converted file, give one result',
    async (name) => {
      const train = netFromSeed(name, { names: 'timm', classes: 10 });
      const file = folder.path(`${name}.train.safetensors`);
      const converted = folder.path(`${name}.safetensors`);
      await writeSafetensors(file, train.tensors);
      const report = await convert(file, converted, { arch: name, verify: false });
      expect(report.blocks.every(({ status }) => status === 'converted')).toBe(true);
      const outputs: Float32Array[] = [];
      for (const model of [await readModel(file, { arch: name }), await readModel(converted)]) {
        const { inputShape: _, ...graph } = model.graph; // of any size
        using engine = await Engine.create({ ...model, graph });
        outputs.push((await engine.run(input)).data as Float32Array);
      }
      expect(peakError(outputs[0]!, outputs[1]!)).toBeLessThan(2e-6);
      // The training form is merged as it is read.
      const steps = async (path: string, arch?: NetName) => {
        const model = await readModel(path, { arch });
        using engine = await Engine.create(model);
        return engine.explain([1, 3, 224, 224]).map(({ kernel, output, macs }) => [kernel, output, macs]);
      };
      expect(await steps(file, name)).toEqual(await steps(converted));
    },
  );
});

test.each(['repvgg_a0', 'mobileone_s0'] as const)('%s runs at any size, and the engine as `evaluate`', async (name) => {
  const model = netFromSeed(name, { form: 'deploy', classes: 5 });
  await using engine = await Engine.create(model);
  for (const [height, width] of [
    [32, 32],
    [97, 61],
    [1, 1],
  ] as const) {
    const x = Tensor.f32([1, 3, height, width], new Random(3).floats(3 * height * width));
    const want = evaluate(model.graph, model.tensors, x).data as Float32Array;
    expect(peakError((await engine.run(x)).data, want)).toBeLessThan(1e-5);
  }
  await expect(engine.run(Tensor.f32([1, 4, 32, 32]))).rejects.toThrow('Expected images [N, 3, H, W] but received');
});
