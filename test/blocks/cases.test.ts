/** Tiny blocks whose values are known by hand: faults that were reported of other tools (ids as in the issue). */
import { ACNet, MobileOneBlock, type ReparameterizableBlock, RepBlock, RepVGGBlock } from '../../lib/blocks';
import { Tensor } from '../../lib/tensor/tensor';
import { randomizeStatistics } from '../support/randomize-statistics';

type Values = Readonly<Record<string, readonly number[]>>;

/** Sets tensors of a block: those that are named; every other weight 0, BatchNorms neutral. */
function setTensors(block: ReparameterizableBlock, values: Values): void {
  const stateDict = block.stateDict();
  for (const [key, { dtype, shape, size }] of stateDict) {
    if (dtype !== 'F32') continue;
    const neutral = key.endsWith('running_var') ? 1 : 0;
    stateDict.set(key, Tensor.f32(shape, Float32Array.from(values[key] ?? new Array(size).fill(neutral))));
  }
  for (const key of Object.keys(values)) expect([key, stateDict.has(key)]).toEqual([key, true]);
  block.loadStateDict(stateDict);
}

const deployTensor = (block: ReparameterizableBlock, name: string) =>
  Array.from(block.stateDict().get(name)!.data as Float32Array);

/** Output of both forms, which must be equal; the block is in deploy form afterwards. */
function bothForms(block: ReparameterizableBlock, input: Tensor): number[] {
  const train = Array.from(block.forward(input).data as Float32Array);
  block.switchToDeploy();
  expect(Array.from(block.forward(input).data as Float32Array)).toEqual(train);
  return train;
}

const centre = (value: number) => [0, 0, 0, 0, value, 0, 0, 0, 0];

test('R01: running statistics, never those of the batch', () => {
  const block = new RepVGGBlock({ inChannels: 1, outChannels: 1, eps: 0 });
  setTensors(block, {
    'rbr_dense.conv.weight': centre(1),
    'rbr_dense.bn.weight': [3],
    'rbr_dense.bn.bias': [1],
    'rbr_dense.bn.running_mean': [2],
    'rbr_dense.bn.running_var': [4],
    'rbr_1x1.conv.weight': [1],
    'rbr_1x1.bn.weight': [1],
  });
  const input = Tensor.f32([2, 1, 3, 3], new Float32Array(18).fill(4));
  expect(bothForms(block, input)).toEqual(new Array(18).fill(8));
  expect(deployTensor(block, 'rbr_reparam.weight')).toEqual(centre(2.5));
  expect(deployTensor(block, 'rbr_reparam.bias')).toEqual([-2]);
});

test('R02: dilation reaches every branch, and the deploy form', () => {
  const block = new RepVGGBlock({ inChannels: 1, outChannels: 1, dilation: 2, eps: 0 });
  setTensors(block, {
    'rbr_dense.conv.weight': [1, 2, 3, 4, 5, 6, 7, 8, 9],
    'rbr_dense.bn.weight': [1],
    'rbr_1x1.conv.weight': [10],
    'rbr_1x1.bn.weight': [1],
  });
  const delta = Tensor.f32([1, 1, 5, 5]);
  delta.data[12] = 1;
  const zeros = [0, 0, 0, 0, 0];
  expect(bothForms(block, delta)).toEqual([9, 0, 8, 0, 7, ...zeros, 6, 0, 15, 0, 4, ...zeros, 3, 0, 2, 0, 1]);
  expect(deployTensor(block, 'rbr_reparam.weight')).toEqual([1, 2, 3, 4, 15, 6, 7, 8, 9]);
});

test('R06: the identity branch is a BatchNorm with learnt scale', () => {
  const block = new RepVGGBlock({ inChannels: 2, outChannels: 2, eps: 0 });
  setTensors(block, {
    'rbr_identity.weight': [2, -1],
    'rbr_identity.bias': [0, 3],
    'rbr_identity.running_mean': [1, 0],
    'rbr_identity.running_var': [4, 1],
  });
  block.switchToDeploy();
  expect(deployTensor(block, 'rbr_reparam.weight')).toEqual([...centre(1), ...centre(0), ...centre(0), ...centre(-1)]);
  expect(deployTensor(block, 'rbr_reparam.bias')).toEqual([-1, 3]);
});

describe("R15: the article's blocks without their gaps", () => {
  const input = Tensor.f32(
    [1, 4, 6, 6],
    Float32Array.from({ length: 144 }, (_, i) => Math.sin(i)),
  );

  test('stride, kernel size and groups reach the branches and the deploy form', () => {
    for (const Block of [ACNet, RepBlock]) {
      const block = new Block(4, 4, { stride: 2, groups: 2, kernelSize: 5 });
      randomizeStatistics(block, 1);
      const before = block.forward(input);
      expect(before.shape).toEqual([1, 4, 3, 3]);
      const training = block.stateDict();
      expect(training.get('brb_3x3.conv.weight')!.shape).toEqual([4, 2, 5, 5]);
      expect(training.has('brb_identity.running_mean')).toBe(false);
      block._switch_to_deploy();
      block._switch_to_deploy();
      expect([...block.stateDict().keys()]).toEqual(['brb_rep.weight', 'brb_rep.bias']);
      expect(block.forward(input).shape).toEqual(before.shape);
      const again = new Block(4, 4, { stride: 2, groups: 2, kernelSize: 5, deploy: true });
      again.loadStateDict(block.stateDict());
      expect(again.forward(input)).toEqual(block.forward(input));
    }
  });

  test('their defaults: 3x3, ReLU, identity where the shape is kept', () => {
    const keys = (block: ReparameterizableBlock) =>
      [...block.stateDict().keys()].filter((key) => key.endsWith('conv.weight') || key.endsWith('identity.weight'));
    expect(keys(new ACNet(4, 6))).toEqual(['brb_1x3.conv.weight', 'brb_3x1.conv.weight', 'brb_3x3.conv.weight']);
    expect(keys(new RepBlock(4, 4))).toEqual(['brb_1x1.conv.weight', 'brb_3x3.conv.weight', 'brb_identity.weight']);
    expect(keys(new RepBlock(4, 6))).toEqual(['brb_1x1.conv.weight', 'brb_3x3.conv.weight']);
    expect(Math.min(...(new ACNet(4, 6).forward(input).data as Float32Array))).toBe(0);
  });
});

test('R19: the deploy form has a bias where no branch had one', () => {
  const block = new RepVGGBlock({ inChannels: 1, outChannels: 2, eps: 0 });
  setTensors(block, { 'rbr_dense.bn.weight': [1, 1], 'rbr_dense.conv.weight': [...centre(1), ...centre(2)] });
  block.switchToDeploy();
  expect(block.stateDict().get('rbr_reparam.bias')).toEqual(Tensor.f32([2]));
});

test('R20: parameters of both forms', () => {
  const options = { inChannels: 8, outChannels: 8, groups: 8, numConvBranches: 4 };
  const block = new MobileOneBlock(options);
  expect(block.parameterCount).toBe(4 * (72 + 16) + (8 + 16) + 16);
  expect(block.branches.map(({ name }) => name)).toEqual([
    'rbr_scale',
    'rbr_skip',
    'rbr_conv.0',
    'rbr_conv.1',
    'rbr_conv.2',
    'rbr_conv.3',
  ]);
  block.switchToDeploy();
  expect(block.parameterCount).toBe(80);
  expect(new MobileOneBlock({ ...options, deploy: true }).parameterCount).toBe(80);
});

test('R25: BatchNorms without weight and bias', () => {
  const block = new RepVGGBlock({ inChannels: 1, outChannels: 1, stride: 2, affine: false, eps: 0 });
  setTensors(block, {
    'rbr_dense.conv.weight': centre(2),
    'rbr_dense.bn.running_mean': [1],
    'rbr_dense.bn.running_var': [4],
  });
  block.switchToDeploy();
  expect(deployTensor(block, 'rbr_reparam.weight')).toEqual(centre(1));
  expect(deployTensor(block, 'rbr_reparam.bias')).toEqual([-0.5]);
});

test('R27, R35: eps under the root once; negative and zero scales keep sign and shift', () => {
  const block = new RepVGGBlock({
    inChannels: 1,
    outChannels: 3,
    stride: 2,
    eps: { 'rbr_dense.bn': 0, 'rbr_1x1.bn': 1e-5 },
  });
  setTensors(block, {
    'rbr_dense.conv.weight': [...centre(2), ...centre(2), ...centre(0)],
    'rbr_dense.bn.weight': [-3, 0, 1],
    'rbr_dense.bn.bias': [4, 4, 0],
    'rbr_dense.bn.running_mean': [1, 1, 0],
    'rbr_1x1.conv.weight': [0, 0, 1],
    'rbr_1x1.bn.weight': [0, 0, 1],
    'rbr_1x1.bn.running_var': [1, 1, 0],
  });
  block.switchToDeploy();
  expect(deployTensor(block, 'rbr_reparam.weight')).toEqual([
    ...centre(-6),
    ...centre(0),
    ...centre(Math.fround(1 / Math.sqrt(1e-5))),
  ]);
  expect(deployTensor(block, 'rbr_reparam.bias')).toEqual([7, 4, 0]);
});

test('R30: no training tensor survives', () => {
  const block = new RepVGGBlock({ inChannels: 16, outChannels: 16, useSe: true });
  block.switchToDeploy();
  expect([...block.stateDict().keys()]).toEqual([
    'rbr_reparam.weight',
    'rbr_reparam.bias',
    'se.down.weight',
    'se.down.bias',
    'se.up.weight',
    'se.up.bias',
  ]);
  expect(block.branches).toEqual([]);
});
