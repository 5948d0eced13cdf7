import { DiverseBranchBlock, MobileOneBlock, RepVGGBlock } from '../../lib/blocks';
import type { StateDict } from '../../lib/checkpoint/state-dict';
import { RepfuseError } from '../../lib/errors';
import { DTYPES } from '../../lib/tensor/dtype';
import { Tensor } from '../../lib/tensor/tensor';
import { Random } from '../support/random';
import { randomizeStatistics } from '../support/randomize-statistics';

const OPTIONS = { inChannels: 4, outChannels: 4 };

function trained(options: ConstructorParameters<typeof RepVGGBlock>[0] = OPTIONS): RepVGGBlock {
  const block = new RepVGGBlock({ ...options, seed: 5 });
  randomizeStatistics(block, 5);
  return block;
}

const under = (prefix: string, stateDict: StateDict): StateDict =>
  new Map([...stateDict].map(([key, tensor]) => [prefix + key, tensor]));

function refusal(work: () => void): RepfuseError {
  try {
    work();
  } catch (error) {
    expect(error).toBeInstanceOf(RepfuseError);
    return error as RepfuseError;
  }
  throw new Error('nothing was thrown');
}

test('a round trip keeps every bit, in both forms', () => {
  for (const deploy of [false, true]) {
    const block = trained();
    if (deploy) block.switchToDeploy();
    const other = new RepVGGBlock({ ...OPTIONS, deploy });
    other.loadStateDict(block.stateDict());
    expect(other.stateDict()).toEqual(block.stateDict());
  }
});

test('a prefix selects the block, with or without its dot', () => {
  const block = trained();
  const network = new Map([
    ...under('stage1.0.', block.stateDict()),
    ...under('stage1.01.', trained().stateDict()),
    ['head.weight', Tensor.f32([2, 2])] as const,
  ]);
  for (const prefix of ['stage1.0', 'stage1.0.']) {
    const other = new RepVGGBlock(OPTIONS);
    other.loadStateDict(network, { prefix });
    expect(other.stateDict()).toEqual(block.stateDict());
  }
});

test('what it hands out are copies, unless borrowed', () => {
  const block = trained();
  const before = block.stateDict();
  (block.stateDict().get('rbr_1x1.conv.weight')!.data as Float32Array).fill(9);
  expect(block.stateDict()).toEqual(before);
  (block.stateDict({ borrow: true }).get('rbr_1x1.conv.weight')!.data as Float32Array).fill(9);
  expect(block.stateDict()).not.toEqual(before);
});

test('batch counters may be missing, constants of forks are left out', () => {
  const block = new DiverseBranchBlock(OPTIONS);
  const stateDict = block.stateDict();
  for (const key of stateDict.keys()) if (key.endsWith('num_batches_tracked')) stateDict.delete(key);
  stateDict.set('dbb_1x1_kxk.idconv1.id_tensor', Tensor.f32([4, 4, 1, 1]));
  const other = new DiverseBranchBlock({ ...OPTIONS, seed: 1 });
  other.loadStateDict(stateDict);
  expect(other.stateDict()).toEqual(block.stateDict());
});

test.each(['F16', 'BF16'] as const)('%s weights are widened exactly', (dtype) => {
  const one = { F16: 0x3c00, BF16: 0x3f80 }[dtype];
  const block = trained();
  const stateDict = block.stateDict();
  const { shape, size } = stateDict.get('rbr_1x1.conv.weight')!;
  const data = DTYPES[dtype].array;
  stateDict.set(
    'rbr_1x1.conv.weight',
    new Tensor(dtype, shape, Object.assign(new data(size), new Array(size).fill(one))),
  );
  block.loadStateDict(stateDict, { borrow: true });
  expect(block.stateDict().get('rbr_1x1.conv.weight')).toEqual(Tensor.f32(shape, new Float32Array(size).fill(1)));
  block.switchToDeploy();
});

describe('what does not fit is refused, naming the tensors, and the block stays as it was', () => {
  const cases: [string, (stateDict: StateDict) => void, string, string[]][] = [
    [
      'missing keys',
      (dict) => dict.delete('p.rbr_1x1.conv.weight') && dict.delete('p.rbr_dense.bn.running_var'),
      'ERR_REPFUSE_KEY',
      ['missing', 'p.rbr_1x1.conv.weight', 'p.rbr_dense.bn.running_var'],
    ],
    [
      'a key too many',
      (dict) => dict.set('p.rbr_dense.conv.bias', Tensor.f32([4])),
      'ERR_REPFUSE_KEY',
      ['not expected', 'p.rbr_dense.conv.bias'],
    ],
    [
      'another shape',
      (dict) => dict.set('p.rbr_1x1.conv.weight', Tensor.f32([4, 4, 3, 3])),
      'ERR_REPFUSE_SHAPE',
      ['p.rbr_1x1.conv.weight', '[4, 4, 1, 1]', '[4, 4, 3, 3]'],
    ],
    [
      'a type that float32 does not hold',
      (dict) => dict.set('p.rbr_1x1.conv.weight', new Tensor('F64', [4, 4, 1, 1], new Float64Array(16))),
      'ERR_REPFUSE_INVALID_ARGUMENT',
      ['p.rbr_1x1.conv.weight', 'F64'],
    ],
    [
      'a counter that is none',
      (dict) => dict.set('p.rbr_1x1.bn.num_batches_tracked', Tensor.f32([])),
      'ERR_REPFUSE_INVALID_ARGUMENT',
      ['p.rbr_1x1.bn.num_batches_tracked', 'F32'],
    ],
  ];

  test.each(cases)('%s', (_, damage, code, texts) => {
    const block = trained();
    const before = block.stateDict();
    const stateDict = under('p.', new RepVGGBlock({ ...OPTIONS, seed: 9 }).stateDict());
    damage(stateDict);
    const error = refusal(() => block.loadStateDict(stateDict, { prefix: 'p' }));
    expect(error.code).toBe(code);
    for (const text of texts) expect(error.message).toContain(text);
    expect(block.stateDict()).toEqual(before);
  });

  test('the other form: told in one line, with the way out (R04)', () => {
    const train = trained().stateDict();
    const deployed = trained();
    deployed.switchToDeploy();
    const error = refusal(() => new RepVGGBlock(OPTIONS).loadStateDict(deployed.stateDict()));
    expect(error.code).toBe('ERR_REPFUSE_KEY');
    expect(error.message).toContain('it is in deploy form: create the block with deploy: true');
    const other = refusal(() => new RepVGGBlock({ ...OPTIONS, deploy: true }).loadStateDict(train));
    expect(other.message).toContain('it is in training form: create the block with deploy: false');
  });

  test('a whole network without a prefix: no wall of keys, all of them in details (R04)', () => {
    const network = new Map(
      Array.from({ length: 20 }, (_, i) => [...under(`stage.${i}.`, trained().stateDict())]).flat(),
    );
    const error = refusal(() => new RepVGGBlock(OPTIONS).loadStateDict(network));
    expect(error.message.length).toBeLessThan(1500);
    expect(error.message).toContain('more');
    expect(error.details.unexpected).toEqual([...network.keys()]);
    expect((error.details.missing as string[]).length).toBe(14);
  });
});

test("squeeze-excite has the authors' names, or timm's, in both forms", () => {
  const keys = (block: MobileOneBlock | RepVGGBlock) =>
    [...block.stateDict()]
      .filter(([key]) => /^(post_)?se\.|^attn\./.test(key))
      .map(([key, { shape }]) => [key, shape[0]]);
  const wide = { inChannels: 24, outChannels: 48 };
  expect(keys(new RepVGGBlock({ ...wide, useSe: true }))).toEqual([
    ['se.down.weight', 3],
    ['se.down.bias', 3],
    ['se.up.weight', 48],
    ['se.up.bias', 48],
  ]);
  expect(keys(new RepVGGBlock({ ...wide, usePostSe: true, deploy: true }))[0]).toEqual(['post_se.down.weight', 12]);
  expect(keys(new RepVGGBlock({ ...wide, useSe: true, naming: 'timm' }))[0]).toEqual(['attn.fc1.weight', 3]);
  expect(keys(new MobileOneBlock({ ...wide, useSe: true }))[0]).toEqual(['se.reduce.weight', 3]);
  expect(keys(new MobileOneBlock({ ...wide, useSe: true, naming: 'timm' }))[0]).toEqual(['attn.fc1.weight', 8]);
});

describe('random initialisation', () => {
  test('convolutions are uniform within 1 / sqrt(fan in), drawn in the order of the keys; BatchNorms are neutral', () => {
    const block = new RepVGGBlock({ inChannels: 4, outChannels: 6, groups: 2, seed: 11 });
    const random = new Random(11);
    const uniform = (count: number, fanIn: number) =>
      Float32Array.from({ length: count }, () => (2 * random.next() - 1) / Math.sqrt(fanIn));
    const stateDict = block.stateDict();
    const expectClose = (key: string, want: Float32Array) => {
      const got = stateDict.get(key)!.data as Float32Array;
      expect(got.length).toBe(want.length);
      got.forEach((value, i) => {
        expect(value).toBeCloseTo(want[i]!, 6);
      });
    };
    expectClose('rbr_dense.conv.weight', uniform(6 * 2 * 9, 18));
    expectClose('rbr_1x1.conv.weight', uniform(6 * 2, 2));
    for (const [name, value] of Object.entries({ weight: 1, bias: 0, running_mean: 0, running_var: 1 })) {
      expect(stateDict.get(`rbr_dense.bn.${name}`)).toEqual(Tensor.f32([6], new Float32Array(6).fill(value)));
    }
    expect(stateDict.get('rbr_dense.bn.num_batches_tracked')).toEqual(new Tensor('I64', [], BigInt64Array.of(0n)));
  });

  test('the same seed gives the same block, another seed another', () => {
    const make = (seed?: number) => new DiverseBranchBlock({ ...OPTIONS, seed }).stateDict();
    expect(make(3)).toEqual(make(3));
    expect(make()).toEqual(make(0));
    expect(make(3)).not.toEqual(make(4));
  });

  test('rough statistics: seeded, with negative scales, positive variances, weights untouched', () => {
    const wide = { inChannels: 64, outChannels: 64 };
    const make = (seed: number) => {
      const block = new RepVGGBlock(wide);
      randomizeStatistics(block, seed);
      return block.stateDict();
    };
    const stateDict = make(1);
    expect(stateDict).toEqual(make(1));
    expect(stateDict).not.toEqual(make(2));
    const values = (key: string) => Array.from(stateDict.get(key)!.data as Float32Array);
    expect(stateDict.get('rbr_dense.conv.weight')).toEqual(
      new RepVGGBlock(wide).stateDict().get('rbr_dense.conv.weight'),
    );
    const gammas = values('rbr_identity.weight');
    expect(gammas.filter((gamma) => gamma < 0).length).toBeGreaterThan(4);
    expect(gammas.every((gamma) => Math.abs(gamma) >= 0.3 && Math.abs(gamma) <= 2)).toBe(true);
    expect(values('rbr_dense.bn.running_var').every((v) => v >= 0.0499 && v <= 5.001)).toBe(true);
    expect(new Set(values('rbr_dense.bn.running_mean')).size).toBe(64);
  });
});
