import {
  ACNet,
  ACNetBlock,
  DiverseBranchBlock,
  MobileOneBlock,
  type ReparameterizableBlock,
  RepBlock,
  RepVGGBlock,
} from '../../lib/blocks';
import type { StateDict } from '../../lib/checkpoint/state-dict';
import { type DetectedBlock, detectBlocks, FAMILY_RULES, type FamilyRule } from '../../lib/families';
import { Tensor } from '../../lib/tensor/tensor';
import { cpuTimeOf } from '../support/cpu-time';

type Entry = readonly [string, Tensor];

const vector = (size: number) => Tensor.f32([size], new Float32Array(size).fill(1));
const CHANNELS = { inChannels: 4, outChannels: 4 };

/** A block's tensors under a prefix, without those whose key (after the prefix) begins with one of `without`. */
function tensorsOf(block: ReparameterizableBlock, prefix = '', ...without: string[]): Entry[] {
  return [...block.stateDict()]
    .filter(([key]) => !without.some((start) => key.startsWith(start)))
    .map(([key, tensor]) => [prefix + key, tensor]);
}

/** A neutral BatchNorm under a key. */
function batchNorm(key: string, channels = 4): Entry[] {
  return ['weight', 'bias', 'running_mean', 'running_var'].map((name) => [`${key}.${name}`, vector(channels)]);
}

const detect = (...parts: readonly Entry[][]) => detectBlocks(new Map(parts.flat()));

function only(blocks: readonly DetectedBlock[]): DetectedBlock {
  expect(blocks.length).toBe(1);
  return blocks[0]!;
}

const repvgg = (prefix = '', ...without: string[]) => tensorsOf(new RepVGGBlock(CHANNELS), prefix, ...without);
const deployed = (prefix = '') => tensorsOf(new RepVGGBlock({ ...CHANNELS, deploy: true }), prefix);

describe('where a block is found', () => {
  test('at the root, under any prefix, in file order, whatever else the file holds', () => {
    const blocks = detect(
      repvgg('submodule.x.'),
      [['head.weight', Tensor.f32([2, 4])]],
      tensorsOf(new ACNetBlock(CHANNELS), 'a.b.acb.'),
      repvgg(),
    );
    expect(blocks.map(({ prefix, family }) => [prefix, family])).toEqual([
      ['submodule.x', 'repvgg'],
      ['a.b.acb', 'acnet'],
      ['', 'repvgg'],
    ]);
    expect(blocks.flatMap(({ problem }) => problem ?? [])).toEqual([]);
  });

  test('not where a name only ends alike, nor in a file without any', () => {
    expect(detect(repvgg('x'))).toEqual([]); // xrbr_dense.conv.weight
    expect(detect([['conver_head.weight', Tensor.f32([4, 4, 3, 3])]], batchNorm('bn'))).toEqual([]);
    expect(detectBlocks(new Map())).toEqual([]);
  });

  test('a convolution with BatchNorm only in the files of the system that folds them', () => {
    const pair: Entry[] = [['stem.conv.weight', Tensor.f32([4, 3, 7, 7])], ...batchNorm('stem.bn')];
    expect(detect(pair)).toEqual([]);
    const blocks = detect(pair, tensorsOf(new DiverseBranchBlock(CHANNELS), 'body.'));
    expect(blocks.map(({ prefix, family, kernel }) => [prefix, family, kernel])).toEqual([
      ['stem', 'conv-bn', [7, 7]],
      ['body', 'dbb', [3, 3]],
    ]);
  });

  test("a lone conv_kxk is no block (MobileViT has one), but a partial one beside timm's RepVGG", () => {
    const timm = (prefix: string, ...without: string[]) =>
      tensorsOf(new RepVGGBlock({ ...CHANNELS, naming: 'timm' }), prefix, ...without);
    const lone = timm('stages.2.1.', 'conv_1x1', 'identity');
    expect(detect(lone)).toEqual([]);
    expect(detect(lone, timm('stem.')).map(({ prefix, problem }) => [prefix, problem?.kind])).toEqual([
      ['stages.2.1', 'partial'],
      ['stem', undefined],
    ]);
  });

  test('fast, however many keys there are and whatever they look like', async () => {
    const weight = Tensor.f32([4, 4, 3, 3]);
    const many: StateDict = new Map();
    for (let i = 0; i < 10_000; i++) {
      many.set(`stage.${i}.rbr_dense.conv.weight`, weight);
      many.set(`${'rbr_dense.'.repeat(i % 50)}${i}.other`, weight);
      many.set(`block.rbr_conv.${10 ** 15 + i}.conv.weight`, weight);
    }
    const time = await cpuTimeOf(() => expect(detectBlocks(many).length).toBe(10_001));
    expect(time).toBeLessThan(10_000);
  });
});

describe('forms (R04)', () => {
  test('are told block by block', () => {
    const blocks = detect(repvgg('a.'), deployed('b.'), repvgg('c.'), deployed('c.'));
    expect(blocks.map(({ prefix, form }) => [prefix, form])).toEqual([
      ['a', 'train'],
      ['b', 'deploy'],
      ['c', 'mixed'],
    ]);
    expect(blocks[1]).toMatchObject({ branches: [], branchNames: [], trainKeys: [], outChannels: 4, kernel: [3, 3] });
  });

  test('a deploy form shared by several systems names them all', () => {
    const block = only(detect([['x.reparam_conv.weight', Tensor.f32([4, 4, 3, 3])]]));
    expect(block.family.split(' or ')).toEqual(
      expect.arrayContaining(['mobileone', 'timm-mobileone', 'timm-repvgg', 'repmixer', 'pp-lcnetv3']),
    );
    expect(block.form).toBe('deploy');
  });

  test('a bias that lost its weight is a partial deploy form', () => {
    const block = only(detect([['x.rbr_reparam.bias', vector(4)]]));
    expect(block.problem).toMatchObject({ kind: 'partial', reason: expect.stringContaining('x.rbr_reparam.weight') });
  });

  test('branches that a conversion left beside the deploy tensors are reported (R30)', () => {
    const block = only(detect(deployed('x.'), batchNorm('x.rbr_identity')));
    expect(block).toMatchObject({ form: 'mixed', branchNames: ['rbr_identity'], branches: [] });
    expect(block.problem!.kind).toBe('partial');
    expect(block.problem!.reason).toContain('x.rbr_dense.conv.weight');
    expect(block.problem!.reason).toContain('converted by halves');
  });

  test('constants that forks register beside the branches go with them (R30)', () => {
    const constant: Entry = ['x.id_tensor', Tensor.f32([4, 4, 3, 3])];
    const block = only(detect(repvgg('x.'), [constant]));
    expect(block.problem).toBeUndefined();
    expect(block.trainKeys).toContain('x.id_tensor');
    expect(only(detect(deployed('x.'), [constant])).form).toBe('deploy');
    const dbb = tensorsOf(new DiverseBranchBlock(CHANNELS));
    const registered: Entry = ['dbb_1x1_kxk.idconv1.id_tensor', Tensor.f32([4, 4, 1, 1])];
    expect(only(detect(dbb, [registered])).problem).toBeUndefined();
  });
});

describe('branches', () => {
  test('come in the order in which they are summed, with their stages', () => {
    const stages = (block: ReparameterizableBlock) =>
      only(detect(tensorsOf(block))).branches.map((branch) => [
        branch.name,
        ...branch.stages.map((stage) =>
          stage.kind === 'conv2d' && stage.plusIdentity ? 'conv2d + identity' : stage.kind,
        ),
      ]);
    expect(stages(new DiverseBranchBlock(CHANNELS))).toEqual([
      ['dbb_origin', 'conv2d', 'batch_norm'],
      ['dbb_1x1', 'conv2d', 'batch_norm'],
      ['dbb_avg', 'conv2d', 'batch_norm', 'pad_border', 'avg_pool2d', 'batch_norm'],
      ['dbb_1x1_kxk', 'conv2d + identity', 'batch_norm', 'pad_border', 'conv2d', 'batch_norm'],
    ]);
    expect(stages(new DiverseBranchBlock({ ...CHANNELS, groups: 4 }))).toEqual([
      ['dbb_origin', 'conv2d', 'batch_norm'],
      ['dbb_avg', 'avg_pool2d', 'batch_norm'],
      ['dbb_1x1_kxk', 'conv2d', 'batch_norm', 'pad_border', 'conv2d', 'batch_norm'],
    ]);
    expect(stages(new MobileOneBlock({ ...CHANNELS, numConvBranches: 2 }))).toEqual([
      ['rbr_scale', 'conv2d', 'batch_norm'],
      ['rbr_skip', 'batch_norm'],
      ['rbr_conv.0', 'conv2d', 'batch_norm'],
      ['rbr_conv.1', 'conv2d', 'batch_norm'],
    ]);
  });

  test("the article's two blocks are told apart by their keys (R15)", () => {
    const families = (...parts: Entry[][]) => detect(...parts).map(({ family, problem }) => [family, problem?.kind]);
    expect(families(tensorsOf(new ACNet(4, 4)))).toEqual([['seed-acnet', undefined]]);
    expect(families(tensorsOf(new RepBlock(4, 4)))).toEqual([['seed-repvgg', undefined]]);
    expect(families(tensorsOf(new ACNet(4, 4), '', 'brb_1x3'))).toEqual([['seed-acnet', 'partial']]);
    expect(families(tensorsOf(new ACNet(4, 4, { deploy: true })))).toEqual([['seed-acnet or seed-repvgg', undefined]]);
  });

  test('groups follow from the tensors that fix the input channels', () => {
    const groups = (block: ReparameterizableBlock) => only(detect(tensorsOf(block))).groups;
    expect(groups(new RepVGGBlock({ ...CHANNELS, groups: 2 }))).toBe(2);
    expect(groups(new RepVGGBlock({ ...CHANNELS, groups: 2, stride: 2 }))).toBeNull();
    expect(groups(new DiverseBranchBlock({ inChannels: 6, outChannels: 9, groups: 3 }))).toBe(3);
    expect(groups(new DiverseBranchBlock({ ...CHANNELS, groups: 4, stride: 2 }))).toBe(4);
  });

  test('BatchNorms may lack weight and bias, and the batch counter (R25)', () => {
    const block = only(detect(tensorsOf(new RepVGGBlock({ ...CHANNELS, affine: false }), 'x.')));
    expect(block.problem).toBeUndefined();
    const counters = new Set(block.trainKeys.filter((key) => key.endsWith('num_batches_tracked')));
    expect(counters.size).toBe(3);
    const without = tensorsOf(new RepVGGBlock(CHANNELS)).filter(([key]) => !key.endsWith('num_batches_tracked'));
    expect(only(detect(without)).problem).toBeUndefined();
  });
});

describe('what keeps a block from being fused', () => {
  const cases: [string, Entry[], 'partial' | 'ambiguous' | 'unsupported', string[]][] = [
    ['a lost branch', repvgg('s.', 'rbr_1x1'), 'partial', ['s.rbr_1x1.conv.weight', 's.rbr_1x1.bn.running_mean']],
    ['the lost main branch', repvgg('s.', 'rbr_dense'), 'partial', ['s.rbr_dense.conv.weight']],
    [
      'a gap among repeated branches',
      tensorsOf(new MobileOneBlock({ ...CHANNELS, numConvBranches: 4 }), 's.', 'rbr_conv.1', 'rbr_conv.2'),
      'partial',
      ['s.rbr_conv.1.conv.weight'],
    ],
    [
      'the first of the repeated branches lost',
      tensorsOf(new MobileOneBlock({ ...CHANNELS, numConvBranches: 2 }), 's.', 'rbr_conv.0'),
      'partial',
      ['s.rbr_conv.0.conv.weight'],
    ],
    [
      'no 1x1 branch in a dense DBB',
      tensorsOf(new DiverseBranchBlock(CHANNELS), 's.', 'dbb_1x1.'),
      'partial',
      ['s.dbb_1x1.conv.weight'],
    ],
    [
      'no convolution before the pooling of a dense DBB',
      tensorsOf(new DiverseBranchBlock(CHANNELS), 's.', 'dbb_avg.conv'),
      'partial',
      ['s.dbb_avg.conv.weight'],
    ],
    [
      'half-fused: one convolution has taken in its BatchNorm, the other has not and lost it',
      [...repvgg('s.', 'rbr_dense.bn', 'rbr_1x1.bn', 'rbr_identity'), ['s.rbr_dense.conv.bias', vector(4)]],
      'partial',
      ['s.rbr_dense.bn.running_mean'],
    ],
    [
      'a GroupNorm under the name of the BatchNorm',
      repvgg('s.', 'rbr_1x1.bn.running', 'rbr_1x1.bn.num'),
      'unsupported',
      ['s.rbr_1x1.bn.running_mean', 'GroupNorm'],
    ],
    [
      'tensors of an unknown make among those of a branch',
      [...repvgg('s.'), ['s.rbr_dense.conv.weight_g', vector(4)]],
      'unsupported',
      ['s.rbr_dense.conv.weight_g'],
    ],
    [
      'a kernel that has no centre on the main one',
      [...repvgg('s.', 'rbr_1x1.conv'), ['s.rbr_1x1.conv.weight', Tensor.f32([4, 4, 2, 2])]],
      'unsupported',
      ['s.rbr_1x1.conv.weight', '[4, 4, 2, 2]'],
    ],
    [
      'a main convolution of the wrong rank',
      [...repvgg('s.', 'rbr_dense.conv'), ['s.rbr_dense.conv.weight', Tensor.f32([4, 4])]],
      'unsupported',
      ['s.rbr_dense.conv.weight', '[4, 4]'],
    ],
    [
      'an inner kernel that differs from the main one',
      [
        ...tensorsOf(new DiverseBranchBlock({ ...CHANNELS, kernelSize: 5 }), 's.', 'dbb_1x1_kxk.conv2'),
        ['s.dbb_1x1_kxk.conv2.weight', Tensor.f32([4, 4, 3, 3])],
      ],
      'unsupported',
      ['s.dbb_1x1_kxk.conv2.weight', '5x5'],
    ],
    [
      'channels that do not divide into the groups',
      [
        ...tensorsOf(new DiverseBranchBlock({ inChannels: 4, outChannels: 6, groups: 2 }), 's.', 'dbb_1x1_kxk.conv2'),
        ['s.dbb_1x1_kxk.conv2.weight', Tensor.f32([6, 1, 3, 3])],
      ],
      'unsupported',
      ['s.dbb_origin.conv.weight', '4 groups'],
    ],
    [
      'an identity with more channels than the input',
      [...repvgg('s.', 'rbr_identity'), ...batchNorm('s.rbr_identity', 8)],
      'unsupported',
      ['s.rbr_identity.running_mean'],
    ],
    [
      'a bias of the wrong length',
      [...repvgg('s.'), ['s.rbr_dense.conv.bias', vector(3)]],
      'unsupported',
      ['s.rbr_dense.conv.bias', '[3]'],
    ],
    [
      'statistics of an integer type',
      [...repvgg('s.', 'rbr_1x1.bn.bias'), ['s.rbr_1x1.bn.bias', new Tensor('I32', [4], new Int32Array(4))]],
      'unsupported',
      ['s.rbr_1x1.bn.bias', 'int32'],
    ],
  ];

  test.each(cases)('%s', (_, tensors, kind, texts) => {
    const { branches, problem } = only(detect(tensors));
    expect(branches).toEqual([]);
    expect(problem!.kind).toBe(kind);
    for (const text of texts) expect(problem!.reason).toContain(text);
    expect(problem!.tensors).toContain(texts[0]);
  });
});

describe('eps', () => {
  test('is the default of the system, evidence of the path, or the option, and says so', () => {
    const eps = (prefix: string, option?: number) =>
      only(detectBlocks(new Map(repvgg(prefix)), option === undefined ? {} : { eps: option })).eps;
    expect(eps('stage1.0.')).toEqual({ value: 1e-5, source: 'default of repvgg' });
    expect(eps('backbone.ERBlock_2.0.')).toEqual({ value: 1e-3, source: expect.stringContaining('YOLOv6') });
    expect(eps('neck.Rep_p4.block.0.')).toMatchObject({ value: 1e-3 });
    expect(eps('backbone.ERBlock_2.0.', 0.01)).toEqual({ value: 0.01, source: 'option' });
  });

  test('of a single BatchNorm, where something tells it: after the option, before the family', () => {
    const known = new Map([
      ['a.rbr_dense.bn', 0.1],
      ['a.rbr_1x1.bn', 0.2],
    ]);
    const epsOf = (batchNorm: string) => {
      const value = known.get(batchNorm);
      return value === undefined ? undefined : { value, source: 'told' };
    };
    const used = ({ branches }: DetectedBlock) =>
      branches.flatMap(({ stages }) => stages.flatMap((stage) => (stage.kind === 'batch_norm' ? [stage.eps] : [])));
    const told = only(detectBlocks(new Map(repvgg('a.')), { epsOf }));
    expect([...used(told)].sort()).toEqual([1e-5, 0.1, 0.2]);
    expect(told.eps.source).toMatch(/differing by BatchNorm$/);
    const elsewhere = only(detectBlocks(new Map(repvgg('b.')), { epsOf }));
    expect(elsewhere.eps).toEqual({ value: 1e-5, source: 'default of repvgg' });
    const given = only(detectBlocks(new Map(repvgg('a.')), { epsOf, eps: 0.3 }));
    expect(used(given)).toEqual([0.3, 0.3, 0.3]);
    expect(given.eps).toEqual({ value: 0.3, source: 'option' });
  });
});

describe('rules', () => {
  test('are plain JSON', () => {
    const copies = JSON.parse(JSON.stringify(FAMILY_RULES)) as FamilyRule[];
    expect(copies).toEqual(FAMILY_RULES);
    const tensors = new Map([...repvgg('a.'), ...tensorsOf(new DiverseBranchBlock(CHANNELS), 'b.')]);
    expect(detectBlocks(tensors, { rules: copies })).toEqual(detectBlocks(tensors));
  });

  test('can be given: a system that is new to the package', () => {
    const rule: FamilyRule = {
      family: 'mine',
      source: 'this test',
      anchor: 'big.weight',
      branches: [
        { name: 'big', role: 'main', presence: 'required', chains: [[{ conv: 'big', geometry: 'aligned' }]] },
        { name: 'dot', role: 'pointwise', presence: 'optional', chains: [[{ conv: 'dot', geometry: 'aligned' }]] },
      ],
      deploy: { weight: 'one.weight', bias: 'one.bias' },
      deployIsEvident: true,
      eps: 1e-5,
    };
    const tensors: StateDict = new Map([
      ['x.big.weight', Tensor.f32([2, 3, 5, 5])],
      ['x.dot.weight', Tensor.f32([2, 3, 1, 1])],
      ['x.dot.bias', vector(2)],
    ]);
    const block = only(detectBlocks(tensors, { rules: [rule] }));
    expect(block).toMatchObject({ prefix: 'x', family: 'mine', kernel: [5, 5], branchNames: ['big', 'dot'] });
    expect(block.branches[1]!.stages[0]).toMatchObject({ kind: 'conv2d', padding: [0, 0, 0, 0] });
    expect(detectBlocks(tensors)).toEqual([]);
  });
});
