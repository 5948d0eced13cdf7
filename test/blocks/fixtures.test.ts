import type { ReparameterizableBlock } from '../../lib/blocks';
import { readCheckpoint } from '../../lib/checkpoint/read-checkpoint';
import type { StateDict } from '../../lib/checkpoint/state-dict';
import { Tensor } from '../../lib/tensor/tensor';
import { peakError } from '../support/compare';
import { type FixtureTensor, fixtureCases, fixturePath, readFixtureTensors, readManifest } from '../support/fixtures';
import { availableIsas, withIsa } from '../support/isa';
import { denseToGroups } from '../support/reference-algebra';
import { denseBlock } from '../support/reference-branch';
import { fixtureStateDict } from '../support/tensors';
import { worstUlp } from '../support/ulp';
import { fixtureBlock } from './fixture-block';

describe.each(fixtureCases('blocks'))('blocks/%s', (name) => {
  const manifest = readManifest('blocks', name);
  const path = (file: string) => fixturePath('blocks', manifest.files[file]);
  const tensors = readFixtureTensors(path('tensors'));
  const { shape, data } = tensors.get('input')!;
  const input = Tensor.f32(shape, data as Float32Array);
  const train = fixtureStateDict(path('train_safetensors'));
  const deploy = fixtureStateDict(path('deploy_safetensors'));
  const { train_output_rel_peak_f32: trainTolerance, deploy_output_rel_peak_f32: deployTolerance } = manifest.tolerance;
  const { weight: weightKey, bias: biasKey } = manifest.fused_keys;

  const loaded = (stateDict: StateDict = train, isDeploy = false) => {
    const block = fixtureBlock(manifest, isDeploy);
    block.loadStateDict(stateDict);
    return block;
  };
  const golden = (key: string) =>
    (tensors.get(`${key}@f64`) ?? (tensors.get(key) as FixtureTensor)).data as Float64Array;
  const expectOutputs = (block: ReparameterizableBlock, tolerance: number) => {
    const errors = [
      peakError(block.forward(input).data as Float32Array, golden('output')),
      peakError(block.forwardLinear(input).data as Float32Array, golden('linear_output')),
    ];
    for (const error of errors) expect(error).toBeLessThanOrEqual(tolerance);
  };

  test.each(availableIsas())('both forms yield the output at %s, as does the reference deploy file', (isa) => {
    withIsa(isa, () => {
      const block = loaded();
      expectOutputs(block, trainTolerance);
      block.switchToDeploy();
      expectOutputs(block, deployTolerance);
      expectOutputs(loaded(deploy, true), deployTolerance);
    });
  });

  test('the fused tensors are within 1 ulp of the float64 values, in the buffer of the largest branch', () => {
    const block = loaded();
    const { branches } = block;
    const { kernel, padding, dilation, groups } = manifest.fused;
    const reference = denseBlock(branches, block.inChannels, { kernel, before: padding, dilation });
    const weightTerms = denseToGroups(reference, reference.weightTerms, groups);
    const convolutions = branches.flatMap(({ stages }) => stages.filter((stage) => stage.kind === 'conv2d'));

    block.switchToDeploy();
    const own = block.stateDict({ borrow: true });
    const [weight, bias] = [own.get(weightKey)!, own.get(biasKey)!];
    expect(weight.shape).toEqual(deploy.get(weightKey)!.shape);
    const exact = (key: string) => tensors.get(`deploy.${key}@f64`)!.data as Float64Array;
    // The sums of terms belong to the right computation.
    expect(peakError(denseToGroups(reference, reference.weight, groups), exact(weightKey))).toBeLessThan(1e-14);
    expect(peakError(reference.bias, exact(biasKey))).toBeLessThan(1e-14);
    expect(worstUlp(weight.data as Float32Array, exact(weightKey), weightTerms)).toBeLessThanOrEqual(1);
    expect(worstUlp(bias.data as Float32Array, exact(biasKey), reference.biasTerms)).toBeLessThanOrEqual(1);
    const largest = convolutions.filter((stage) => stage.weight.size === weight.size).map((stage) => stage.weight.data);
    expect(largest.includes(weight.data)).toBe(true);
  });

  test('the state dicts are the files, in both forms and both formats', async () => {
    const block = loaded();
    expect(keysAndTensors(block.stateDict())).toEqual(keysAndTensors(train));
    block.switchToDeploy();
    expect([...block.stateDict().keys()].sort()).toEqual([...deploy.keys()].sort());
    expect(keysAndTensors(loaded(deploy, true).stateDict())).toEqual(keysAndTensors(deploy));

    const fromTorch = loaded((await readCheckpoint(path('train_pth'))).tensors);
    expect(keysAndTensors(fromTorch.stateDict())).toEqual(keysAndTensors(train));
    if (manifest.files.deploy_pth !== undefined) {
      const { tensors: torchDeploy } = await readCheckpoint(path('deploy_pth'));
      expect(keysAndTensors(loaded(torchDeploy, true).stateDict())).toEqual(keysAndTensors(deploy));
    }
  });

  test('the asynchronous twin yields the same bits', async () => {
    const block = loaded();
    expect((await block.forwardAsync(input)).data).toEqual(block.forward(input).data);
    block.switchToDeploy();
    expect((await block.forwardAsync(input)).data).toEqual(block.forward(input).data);
  });
});

function keysAndTensors(stateDict: ReadonlyMap<string, Tensor>) {
  return [...stateDict].sort(([a], [b]) => (a < b ? -1 : 1));
}
