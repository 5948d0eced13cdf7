import { convert, readCheckpoint, writeSafetensors } from '../../lib';
import type { ConvertOptions } from '../../lib/convert';
import { detectBlocks } from '../../lib/families';
import { Tensor } from '../../lib/tensor/tensor';
import { type Activation, ReferenceNet, sum } from '../support/reference-net';
import { roughBlock } from '../support/rough-block';
import { temporaryFolder } from '../support/temporary';

// What a state dict can lead a converter astray with (family.md, 2.3 and 3).

type Forward = (net: ReferenceNet, x: Activation) => Activation;

const C = 6;
const folder = temporaryFolder();
let files = 0;

/** The tensors of a block, under a prefix. */
function tensorsOf(prefix: string, forward: Forward, seed = 1): Map<string, Tensor> {
  const net = new ReferenceNet(seed, 1e-5);
  forward(net, net.input(C));
  return new Map([...net.tensors].map(([key, tensor]) => [prefix + key, tensor]));
}

const pair = (net: ReferenceNet, x: Activation, conv: string, bn: string, k: number) =>
  net.batchNorm(net.conv(x, `${conv}.weight`, [C, C, k, k], { pad: (k - 1) / 2 }), bn);

const rtDetr: Forward = (net, x) =>
  sum(pair(net, x, 'conv1.conv', 'conv1.norm', 3), pair(net, x, 'conv2.conv', 'conv2.norm', 1));
const nas: Forward = (net, x) =>
  net.batchNorm(
    sum(
      pair(net, x, 'branch_3x3.conv', 'branch_3x3.bn', 3),
      net.conv(x, 'branch_1x1.weight', [C, C, 1, 1], { bias: true }),
    ),
    'post_bn',
  );

/** Converts these tensors; the report, and the tensors of the output. */
async function converted(tensors: ReadonlyMap<string, Tensor>, options: ConvertOptions = {}) {
  const file = folder.path(`${files++}`);
  await writeSafetensors(file, tensors);
  const report = await convert(file, `${file}.out.safetensors`, options);
  return { report, tensors: (await readCheckpoint(report.output ?? file)).tensors };
}

/** What is wrong with the only block among these tensors. */
function problemOf(tensors: Map<string, Tensor>, options: Parameters<typeof detectBlocks>[1] = {}) {
  const blocks = detectBlocks(tensors, options);
  expect(blocks.length).toBe(1);
  return blocks[0]!.problem;
}

test('an unfilled deploy tensor beside the training tensors is replaced, and said to have been stale (2.3.1)', async () => {
  const train = tensorsOf('neck.conv.', nas);
  const expected = await converted(train, { keyless: { '*': [] } });
  const placeholder = new Map([
    ...train,
    ['neck.conv.rbr_reparam.weight', Tensor.f32([C, C, 3, 3], new Float32Array(C * C * 9).fill(0.1))] as const,
    ['neck.conv.rbr_reparam.bias', Tensor.f32([C])] as const,
  ]);
  const { report, tensors } = await converted(placeholder, { keyless: { '*': [] } });
  expect(report.blocks).toMatchObject([{ form: 'mixed', status: 'stale-placeholder' }]);
  expect(tensors).toEqual(expected.tensors);
});

test('both forms in agreement, as RT-DETR saves them: the training tensors go, and the agreement is said (2.3.2)', async () => {
  const train = tensorsOf('encoder.pan_blocks.0.bottlenecks.0.', rtDetr);
  const { tensors: deploy } = await converted(train);
  const { report, tensors } = await converted(new Map([...train, ...deploy]));
  expect(report.blocks).toMatchObject([{ family: 'rt-detr', form: 'mixed', status: 'converted' }]);
  expect(report.blocks[0]!.reason).toContain('agrees');
  expect(tensors).toEqual(deploy);
  // Converted once more there is only a convolution, which says nothing of where it comes from.
  expect((await converted(tensors)).report.blocks).toEqual([]);
});

test('a branch without keys is ambiguous until told, block by block or for all (2.3.3)', async () => {
  const train = new Map([...tensorsOf('a.', nas, 1), ...tensorsOf('b.', nas, 2)]);
  await expect(converted(train)).rejects.toMatchObject({
    code: 'ERR_REPFUSE_BLOCK',
    details: {
      blocks: [
        { prefix: 'a', status: 'ambiguous' },
        { prefix: 'b', status: 'ambiguous' },
      ],
    },
  });
  const centre = async (keyless: Record<string, string[]>) => {
    const { tensors } = await converted(train, { keyless });
    return ['a', 'b'].map((prefix) => (tensors.get(`${prefix}.rbr_reparam.weight`)!.data as Float32Array)[4]!);
  };
  const [without, both, first] = [
    await centre({ '*': [] }),
    await centre({ '*': ['input'] }),
    await centre({ '*': [], a: ['input'] }),
  ];
  expect(both[0]).not.toBe(without[0]);
  expect(first).toEqual([both[0], without[1]]);
  // Six inputs for four outputs exclude it. Six for twelve do not, but only two groups would explain it: an answer for all passes by.
  const shaped = (outputs: number) =>
    new Map([...tensorsOf('w.', nas)].map(([key, t]) => [key, withOutputs(t, outputs)]));
  expect(problemOf(shaped(4))).toBeUndefined();
  expect(problemOf(shaped(12))).toMatchObject({
    kind: 'ambiguous',
    reason: expect.stringContaining('if it has 2 groups'),
  });
  expect(problemOf(shaped(12), { keyless: { '*': ['input'] } })).toBeUndefined();
});

/** The tensor cut or repeated to this many output channels. */
function withOutputs({ shape, data, size }: Tensor, outputs: number): Tensor {
  const values = Float32Array.from({ length: (size / shape[0]!) * outputs }, (_, i) => Number(data[i % size]));
  return Tensor.f32([outputs, ...shape.slice(1)], values);
}

test('conv1 and conv2 are parallel where the path or the shapes say so, else when asked for (2.3.5)', () => {
  expect(problemOf(tensorsOf('encoder.pan_blocks.0.bottlenecks.0.', rtDetr))).toBeUndefined();
  const elsewhere = tensorsOf('layer1.0.', rtDetr);
  expect(problemOf(elsewhere)).toMatchObject({
    kind: 'ambiguous',
    reason: expect.stringContaining('`families` rt-detr'),
  });
  expect(problemOf(elsewhere, { families: ['rt-detr'] })).toBeUndefined();
  // Twice as many outputs as inputs: the second could not follow the first.
  expect(problemOf(new Map([...elsewhere].map(([key, tensor]) => [key, withOutputs(tensor, 2 * C)])))).toBeUndefined();
  // Both 1x1 (RT-DETR's CSPRepLayer), or the first depthwise and the second pointwise: no block at all.
  for (const shape of [
    [C, C, 1, 1],
    [C, 1, 3, 3],
  ]) {
    expect(detectBlocks(new Map([...elsewhere, ['layer1.0.conv1.conv.weight', Tensor.f32(shape)]]))).toEqual([]);
  }
});

test('a GroupNorm called bn, and a BatchNorm without statistics, are refused by name (2.3.6)', () => {
  const without = (pattern: RegExp) => new Map([...roughBlock('s.')].filter(([key]) => !pattern.test(key)));
  for (const pattern of [/dense\.bn\.(running|num)/, /dense\.bn\.running/, /identity\.(running|num)/]) {
    expect(problemOf(without(pattern))).toMatchObject({
      kind: 'unsupported',
      reason: expect.stringContaining('no running statistics'),
    });
  }
  // One statistic of two is a loss, not another norm.
  expect(problemOf(without(/dense\.bn\.running_var/))).toMatchObject({ kind: 'partial' });
});

test.each(['reflect', 'replicate', 'circular'])(
  'a branch that pads by %s is not fused as if it padded by zeros (G11)',
  (paddingMode) => {
    const moduleAt = (path: string) => (path.endsWith('rbr_1x1.conv') ? { paddingMode } : {});
    const problem = problemOf(new Map(roughBlock('x.')), { moduleAt });
    expect(problem).toMatchObject({ kind: 'unsupported', tensors: ['x.rbr_1x1.conv.weight'] });
    expect(problem!.reason).toContain(paddingMode);
    expect(problemOf(new Map(roughBlock('x.')), { moduleAt: () => ({}) })).toBeUndefined();
  },
);

test('only a prefix at the start of keys is dropped: submodule. is part of a name', async () => {
  const wrapped = new Map([...roughBlock('module.submodule.module.x.')]);
  const { report, tensors } = await converted(wrapped);
  expect(report.droppedPrefix).toBe('module.');
  expect([...tensors.keys()].sort()).toEqual([
    'submodule.module.x.rbr_reparam.bias',
    'submodule.module.x.rbr_reparam.weight',
  ]);
});

test('idconv1 holds the difference to the identity, conv1 does not (2.3.7)', async () => {
  const train: Forward = (net, x) =>
    sum(
      pair(net, x, 'dbb_origin.conv', 'dbb_origin.bn', 3),
      pair(net, x, 'dbb_1x1.conv', 'dbb_1x1.bn', 1),
      net.batchNorm(net.batchNorm(net.conv(x, 'dbb_avg.conv.weight', [C, C, 1, 1]), 'dbb_avg.bn.bn'), 'dbb_avg.avgbn'),
      net.batchNorm(
        net.conv(
          net.batchNorm(net.conv(x, 'dbb_1x1_kxk.idconv1.weight', [C, C, 1, 1]), 'dbb_1x1_kxk.bn1.bn'),
          'dbb_1x1_kxk.conv2.weight',
          [C, C, 3, 3],
          { pad: 1 },
        ),
        'dbb_1x1_kxk.bn2',
      ),
    );
  const delta = tensorsOf('s.', train);
  const key = 's.dbb_1x1_kxk.idconv1.weight';
  const whole = new Map(delta);
  whole.delete(key);
  const sumWithIdentity = Float64Array.from(
    delta.get(key)!.data as Float32Array,
    (v, i) => v + (i % (C + 1) === 0 ? 1 : 0),
  );
  whole.set('s.dbb_1x1_kxk.conv1.weight', new Tensor('F64', [C, C, 1, 1], sumWithIdentity));
  const [a, b] = [await converted(delta), await converted(whole)];
  expect(a.tensors.get('s.dbb_reparam.weight')).toEqual(b.tensors.get('s.dbb_reparam.weight'));
});

test('branch indices with a gap, a branch of a make unknown to the rule: refused, not left out', () => {
  const mobileOne: Forward = (net, x) =>
    sum(...[0, 1, 2].map((i) => pair(net, x, `rbr_conv.${i}.conv`, `rbr_conv.${i}.bn`, 3)));
  const gap = new Map([...tensorsOf('m.', mobileOne)].map(([key, tensor]) => [key.replace('.2.', '.3.'), tensor]));
  expect(problemOf(gap)).toMatchObject({
    kind: 'partial',
    tensors: expect.arrayContaining(['m.rbr_conv.2.conv.weight']),
  });
  const unknown = new Map([...roughBlock('s.'), ['s.rbr_5x5.conv.weight', Tensor.f32([8, 8, 5, 5])] as const]);
  expect(problemOf(unknown)).toMatchObject({ kind: 'unsupported', tensors: ['s.rbr_5x5.conv.weight'] });
});

test('a positional encoding counts only beside the blocks of its own network', async () => {
  const depthwise = (net: ReferenceNet, x: Activation, key: string, bn: string) =>
    net.batchNorm(net.conv(x, `${key}.weight`, [C, 1, 3, 3], { pad: 1, groups: C }), bn);
  const mixer: Forward = (net, x) =>
    sum(depthwise(net, x, 'mixer.rbr_conv.0.conv', 'mixer.rbr_conv.0.bn'), net.batchNorm(x, 'norm.rbr_skip'));
  const pe: Forward = (net, x) => net.conv(x, 'pe.weight', [C, 1, 7, 7], { pad: 3, groups: C, bias: true });
  const encoding = tensorsOf('network.3.', pe);
  expect(detectBlocks(encoding)).toEqual([]);
  const { report, tensors } = await converted(new Map([...tensorsOf('network.0.0.token_mixer.', mixer), ...encoding]), {
    verify: true,
  });
  expect(report.blocks.map(({ family }) => family)).toEqual(['repmixer', 'repcpe']);
  expect(report.verification).toMatchObject({ equal: true });
  const [before, after] = [encoding.get('network.3.pe.weight')!, tensors.get('network.3.reparam_conv.weight')!];
  // x + pe(x): one more at the centre.
  const centre = 24;
  const plusOne = Float32Array.from(before.data as Float32Array, (v, i) =>
    i % 49 === centre ? Math.fround(v + 1) : v,
  );
  expect(after.data).toEqual(plusOne);
});

describe('plain convolution and BatchNorm', () => {
  const plain: Forward = (net, x) => pair(net, x, 'conv1', 'bn1', 3);

  test('is folded when asked for; before that, the report counts what is left', async () => {
    const tensors = new Map([...roughBlock('s.'), ...tensorsOf('layer1.0.', plain)]);
    const first = await converted(tensors);
    expect(first.report).toMatchObject({ batchNormsLeft: 1, blocks: [{ family: 'repvgg' }] });
    expect(first.report.notes.join()).toContain('`families` conv-bn');
    const second = await converted(tensors, { families: ['conv-bn'] });
    expect(second.report).toMatchObject({ batchNormsLeft: 0, blocks: [{ family: 'repvgg' }, { family: 'conv-bn' }] });
  });

  test('in a torch file a BatchNorm that stands first may precede its convolution: ambiguous', () => {
    const tensors = [...tensorsOf('layer1.0.', plain)];
    const isConv = ([key]: readonly [string, Tensor]) => key.includes('conv1');
    const preActivation = new Map([...tensors.filter((entry) => !isConv(entry)), ...tensors.filter(isConv)]);
    const families = ['conv-bn'];
    expect(problemOf(preActivation, { families, keysInOrder: true })).toMatchObject({ kind: 'ambiguous' });
    expect(problemOf(new Map(tensors), { families, keysInOrder: true })).toBeUndefined();
    // safetensors files are sorted: their order tells nothing.
    expect(problemOf(preActivation, { families })).toBeUndefined();
  });
});
