import {
  ACNet,
  ACNetBlock,
  DiverseBranchBlock,
  MobileOneBlock,
  type ReparameterizableBlock,
  RepBlock,
  RepVGGBlock,
} from '../../lib/blocks';
import { Tensor } from '../../lib/tensor/tensor';
import { peakError } from '../support/compare';
import {
  type FixtureTensor,
  fixtureCases,
  fixturePath,
  type Manifest,
  readFixtureTensors,
  readManifest,
} from '../support/fixtures';
import { availableIsas, withIsa } from '../support/isa';
import { fixtureStateDict } from '../support/tensors';

type Create = (
  config: Manifest,
  common: { eps: number | Record<string, number>; deploy: boolean },
) => ReparameterizableBlock;

const torchNames = (c: Manifest) => ({
  inChannels: c.in_channels,
  outChannels: c.out_channels,
  kernelSize: c.kernel_size,
  stride: c.stride,
  padding: c.padding,
  groups: c.groups,
});

const timmNames = (c: Manifest) => ({
  inChannels: c.in_chs,
  outChannels: c.out_chs,
  kernelSize: c.kernel_size,
  stride: c.stride,
  groups: c.group_size === null ? 1 : c.in_chs / c.group_size,
});

/** The block that a manifest's `config` (the reference's constructor arguments) stands for. */
const CREATE: Record<string, Create> = {
  repvgg: (c, common) => new RepVGGBlock({ ...torchNames(c), useSe: c.use_se, ...common }),
  repvggplus: (c, common) => new RepVGGBlock({ ...torchNames(c), usePostSe: c.use_post_se, ...common }),
  'timm-repvgg': (c, common) => new RepVGGBlock({ ...timmNames(c), naming: 'timm', ...common }),
  acnet: (c, common) => new ACNetBlock({ ...torchNames(c), useAffine: c.use_affine, ...common }),
  dbb: (c, common) =>
    new DiverseBranchBlock({
      ...torchNames(c),
      internalChannels: c.internal_channels_1x1_3x3,
      activation: c.nonlinear ?? 'none',
      ...common,
    }),
  mobileone: (c, common) =>
    new MobileOneBlock({ ...torchNames(c), useSe: c.use_se, numConvBranches: c.num_conv_branches, ...common }),
  'timm-mobileone': (c, common) =>
    new MobileOneBlock({ ...timmNames(c), numConvBranches: c.num_conv_branches, naming: 'timm', ...common }),
  'seed-acnet': (c, common) => new ACNet(c.input_channel, c.output_channel, { groups: c.groups, ...common }),
  'seed-repvgg': (c, common) => new RepBlock(c.input_channel, c.output_channel, { groups: c.groups, ...common }),
};

describe.each(fixtureCases('blocks'))('blocks/%s', (name) => {
  const manifest = readManifest('blocks', name);
  const file = (key: string) => fixturePath('blocks', manifest.files[key]);
  const tensors = readFixtureTensors(file('tensors'));
  const { shape, data } = tensors.get('input')!;
  const input = Tensor.f32(shape, data as Float32Array);
  const train = fixtureStateDict(file('train_safetensors'));
  const deploy = fixtureStateDict(file('deploy_safetensors'));
  const { train_output_rel_peak_f32: trainTolerance, deploy_output_rel_peak_f32: deployTolerance } = manifest.tolerance;
  const create = (isDeploy: boolean) =>
    CREATE[manifest.op]!(manifest.config, { eps: manifest.bn_eps, deploy: isDeploy });
  const loaded = () => {
    const block = create(false);
    block.loadStateDict(train);
    return block;
  };
  const golden = (key: string) =>
    (tensors.get(`${key}@f64`) ?? (tensors.get(key) as FixtureTensor)).data as Float64Array;
  const expectOutputs = (block: ReparameterizableBlock, tolerance: number) => {
    expect(peakError(block.forward(input).data as Float32Array, golden('output'))).toBeLessThanOrEqual(tolerance);
    expect(peakError(block.forwardLinear(input).data as Float32Array, golden('linear_output'))).toBeLessThanOrEqual(
      tolerance,
    );
  };

  test.each(availableIsas())('both forms at %s', (isa) => {
    withIsa(isa, () => {
      const block = loaded();
      expectOutputs(block, trainTolerance);
      block.switchToDeploy();
      expectOutputs(block, deployTolerance);
      block.switchToDeploy();
      expectOutputs(block, deployTolerance);
    });
  });

  test('the state dicts are the files, in both forms', async () => {
    const block = loaded();
    expect(new Set(block.stateDict().keys())).toEqual(new Set(train.keys()));
    for (const [key, tensor] of train) expect(block.stateDict().get(key)).toEqual(tensor);
    block.switchToDeploy();
    expect(new Set(block.stateDict().keys())).toEqual(new Set(deploy.keys()));
    const { weight, bias } = manifest.fused_keys;
    for (const key of [weight, bias]) {
      const fused = block.stateDict().get(key)!;
      expect(fused.shape).toEqual(deploy.get(key)!.shape);
      expect(
        peakError(fused.data as Float32Array, tensors.get(`deploy.${key}@f64`)!.data as Float64Array),
      ).toBeLessThanOrEqual(manifest.tolerance.fused_weight_rel);
    }
    const fresh = create(true);
    fresh.loadStateDict(deploy);
    expectOutputs(fresh, deployTolerance);
    expect((await fresh.forwardAsync(input)).data).toEqual(fresh.forward(input).data);
  });
});
