import {
  ACNet,
  ACNetBlock,
  DiverseBranchBlock,
  MobileOneBlock,
  ReparameterizableBlock,
  RepBlock,
  RepVGGBlock,
} from '../../lib/blocks';
import { Tensor } from '../../lib/tensor/tensor';

const OPTIONS = { inChannels: 4, outChannels: 4 };
type Options = ConstructorParameters<typeof RepVGGBlock>[0];

const CREATE: Record<string, (options: object) => ReparameterizableBlock> = {
  RepVGGBlock: (options) => new RepVGGBlock({ ...OPTIONS, ...options }),
  ACNetBlock: (options) => new ACNetBlock({ ...OPTIONS, ...options }),
  DiverseBranchBlock: (options) => new DiverseBranchBlock({ ...OPTIONS, ...options }),
  MobileOneBlock: (options) => new MobileOneBlock({ ...OPTIONS, ...options }),
  ACNet: (options) => new ACNet(4, 4, options),
  RepBlock: (options) => new RepBlock(4, 4, options),
};

const refused = (...texts: string[]) =>
  expect.objectContaining({
    code: 'ERR_REPFUSE_INVALID_ARGUMENT',
    message: expect.stringMatching(new RegExp(texts.map((text) => `(?=.*${text})`).join(''), 's')),
  });

describe('an option that does not exist', () => {
  test.each([
    ['RepVGGBlock', 'in_channels', 'inChannels'],
    ['RepVGGBlock', 'strid', 'stride'],
    ['RepVGGBlock', 'use_se', 'useSe'],
    ['ACNetBlock', 'dialation', 'dilation'],
    ['DiverseBranchBlock', 'internal_channels', 'internalChannels'],
    ['MobileOneBlock', 'num_conv_branches', 'numConvBranches'],
    ['MobileOneBlock', 'Groups', 'groups'],
    ['ACNet', 'kernel_size', 'kernelSize'],
  ])('%s: %s is refused, the nearest is named', (block, name, nearest) => {
    expect(() => CREATE[block]!({ [name]: 1 })).toThrow(refused(block, name, `did you mean ${nearest}`));
  });
});

test('what is more than two letters off is no suggestion: the options are listed', () => {
  expect(() => CREATE.RepBlock!({ padding: 1 })).toThrow(
    'Expected an option of RepBlock but received padding (there are kernelSize, stride, groups, deploy, eps, seed)',
  );
  expect(() => CREATE.DiverseBranchBlock!({ internal_channels_1x1_3x3: 1 })).not.toThrow('did you mean');
});

describe('a value that no block can have', () => {
  test.each<[string, object, string[]]>([
    ['RepVGGBlock', { inChannels: 0 }, ['inChannels', 'received 0']],
    ['RepVGGBlock', { outChannels: 2.5 }, ['outChannels', '2.5']],
    ['RepVGGBlock', { inChannels: '4' }, ['inChannels']],
    ['RepVGGBlock', { kernelSize: 4 }, ['odd kernelSize', '4x4']],
    ['RepVGGBlock', { kernelSize: [3, 3, 3] }, ['kernelSize']],
    ['RepVGGBlock', { stride: 0 }, ['stride']],
    ['RepVGGBlock', { groups: 3 }, ['groups', '3']],
    ['RepVGGBlock', { deploy: 'yes' }, ['true or false', 'deploy']],
    ['RepVGGBlock', { affine: 1 }, ['true or false', 'affine']],
    ['RepVGGBlock', { seed: -1 }, ['seed']],
    ['RepVGGBlock', { eps: -1e-5 }, ['eps', '-0.00001']],
    ['RepVGGBlock', { eps: { 'rbr_dense.bn': 1e-5 } }, ['eps of rbr_1x1.bn', 'undefined']],
    [
      'RepVGGBlock',
      { eps: { 'rbr_dense.bn': 1e-5, 'rbr_1x1.bn': 1e-3, rbr_identity: 1e-5, rbr_identty: 1 } },
      ['rbr_identty', 'did you mean rbr_identity'],
    ],
    ['RepVGGBlock', { naming: 'tim' }, ['authors or timm', 'tim']],
    ['RepVGGBlock', { useSe: true }, ['at least 16 outChannels', '4']],
    ['RepVGGBlock', { outChannels: 32, useSe: true, usePostSe: true }, ['useSe and usePostSe']],
    ['RepVGGBlock', { outChannels: 32, usePostSe: true, naming: 'timm' }, ['timm-repvgg']],
    ['ACNetBlock', { activation: 'gelu' }, ['none or relu', 'gelu']],
    ['DiverseBranchBlock', { dilation: 2 }, ['dilation 1']],
    ['DiverseBranchBlock', { inChannels: 8, groups: 4 }, ['depthwise', 'inChannels', '8']],
    ['DiverseBranchBlock', { groups: 2, internalChannels: 5 }, ['multiple of 2 groups', '5']],
    ['MobileOneBlock', { numConvBranches: 0 }, ['numConvBranches', '0']],
    ['MobileOneBlock', { outChannels: 8, useSe: true }, ['at least 16 outChannels']],
  ])('%s %j', (block, options, texts) => {
    expect(() => CREATE[block]!(options)).toThrow(refused(...texts));
  });

  test('no options at all', () => {
    expect(() => new RepVGGBlock(undefined as unknown as Options)).toThrow(refused('options of RepVGGBlock'));
  });
});

test('pairs and single numbers mean the same; padding defaults to the same size', () => {
  const input = Tensor.f32([1, 4, 8, 8], new Float32Array(256).fill(1));
  const square = new ACNetBlock({ ...OPTIONS, kernelSize: 5, stride: 2, dilation: 2, padding: 4 });
  const pairs = new ACNetBlock({ ...OPTIONS, kernelSize: [5, 5], stride: [2, 2], dilation: [2, 2], padding: [4, 4] });
  const byDefault = new ACNetBlock({ ...OPTIONS, kernelSize: 5, stride: 2, dilation: 2 });
  const output = square.forward(input);
  expect(output.shape).toEqual([1, 4, 4, 4]);
  expect(pairs.forward(input)).toEqual(output);
  expect(byDefault.forward(input)).toEqual(output);
});

describe('the identity branch', () => {
  const hasIdentity = (options: object) =>
    CREATE.RepVGGBlock!(options).branches.some(({ name }) => name === 'rbr_identity');

  test.each<[object, boolean]>([
    [{}, true],
    [{ dilation: 2 }, true],
    [{ kernelSize: 1 }, true],
    [{ groups: 4 }, true],
    [{ stride: 2 }, false],
    [{ stride: [1, 2] }, false],
    [{ outChannels: 8 }, false],
    [{ padding: 0 }, false],
    [{ padding: [2, 1, 0, 1] }, false],
  ])('%j: %s', (options, expected) => {
    expect(hasIdentity(options)).toBe(expected);
  });
});

test('an input with other channels is refused', () => {
  const input = Tensor.f32([1, 3, 8, 8]);
  for (const create of Object.values(CREATE)) {
    expect(() => create({}).forward(input)).toThrow(expect.objectContaining({ code: 'ERR_REPFUSE_SHAPE' }));
  }
});

test('blocks share one class', () => {
  for (const create of Object.values(CREATE)) expect(create({})).toBeInstanceOf(ReparameterizableBlock);
});
