import { ACNetBlock, DiverseBranchBlock } from '../../lib/blocks';
import { readCheckpoint } from '../../lib/checkpoint/read-checkpoint';
import { writeSafetensors } from '../../lib/checkpoint/safetensors/write-safetensors';
import type { StateDict } from '../../lib/checkpoint/state-dict';
import { convert, verify } from '../../lib/convert';
import { strided, trainingForm } from '../../lib/convert/verify/block-forms';
import { detectBlocks } from '../../lib/families';
import type { FamilyRule, StageRule } from '../../lib/families/rule';
import { DBB } from '../../lib/families/rules/dbb';
import { Tensor } from '../../lib/tensor/tensor';
import { fixturePath, readManifest } from '../support/fixtures';
import { randomizeStatistics } from '../support/randomize-statistics';
import { roughBlock } from '../support/rough-block';
import { temporaryFolder } from '../support/temporary';

const folder = temporaryFolder();
let files = 0;

async function write(tensors: StateDict, metadata: Record<string, string> = {}): Promise<string> {
  const file = folder.path(`${files++}.safetensors`);
  await writeSafetensors(file, tensors, { metadata });
  return file;
}

/** A training file, its deploy file, and the deploy file's tensors to spoil. */
async function converted(train: StateDict, graph?: unknown) {
  const [a, b] = [await write(train), folder.path(`${files++}.safetensors`)];
  await convert(a, b, { graph });
  const { tensors, metadata } = await readCheckpoint(b);
  return { a, b, tensors, metadata };
}

const peak = (values: Float32Array) => values.reduce((a, b) => Math.max(a, Math.abs(b)), 0);
const f32 = (tensors: StateDict, key: string) => tensors.get(key)!.data as Float32Array;

/** Multiplies some tensors. */
function scaled(tensors: StateDict, keys: RegExp, factor: number): StateDict {
  return new Map(
    [...tensors].map(([key, tensor]) => [
      key,
      keys.test(key)
        ? Tensor.f32(
            tensor.shape,
            (tensor.data as Float32Array).map((value) => value * factor),
          )
        : tensor,
    ]),
  );
}

const DBB_WITH_ZERO_PADDING: FamilyRule = {
  ...DBB,
  branches: DBB.branches.map((branch) => {
    if (branch.name !== 'dbb_1x1_kxk') return branch;
    const withoutPad = (chain: readonly StageRule[]) =>
      chain
        .filter((stage) => !('padBorder' in stage))
        .map((stage) =>
          'conv' in stage && stage.geometry === 'valid' ? { ...stage, geometry: 'aligned' as const } : stage,
        );
    return { ...branch, chains: branch.chains.map(withoutPad) };
  }),
};

describe('one weight changed by 1e-3 of the peak is seen, and its block named', () => {
  test.each(['digits-repvgg', 'digits-acnet', 'digits-dbb'])('in every block of %s', async (name) => {
    const { files: names, blocks } = readManifest('trained', name);
    const train = fixturePath('trained', names.checkpoint);
    const deploy = fixturePath('trained', names.deploy_safetensors);
    const before = await verify(train, deploy);
    expect(before.equal).toBe(true);
    for (const { prefix, weight_key } of blocks) {
      const { tensors } = await readCheckpoint(deploy);
      const weights = f32(tensors, weight_key);
      weights[weights.length >> 1]! += 1e-3 * peak(weights);
      const report = await verify(train, await write(tensors));
      expect(report.equal).toBe(false);
      expect(report.blocks[0]).toMatchObject({ prefix, equal: false });
      expect(report.blocks.slice(1).every(({ equal }) => equal)).toBe(true);
    }
  });

  // A dense image would drown one weight of many, and rounding errors would grow with the width.
  test.each([1, 8, 130, 320])('in a block of width %i, with room on both sides of the bound', async (channels) => {
    const block = new ACNetBlock({ inChannels: channels, outChannels: channels, kernelSize: 3 });
    randomizeStatistics(block, 1);
    const { a, b, tensors } = await converted(block.stateDict());
    const sound = await verify(a, b);
    expect(sound.blocks[0]!.relative).toBeLessThan(sound.blocks[0]!.bound / 3);
    const weights = f32(tensors, 'fused_conv.weight');
    const step = 1e-3 * peak(weights);
    for (const index of [0, weights.length >> 1, weights.length - 1]) {
      weights[index]! += step;
      const { blocks } = await verify(a, await write(tensors));
      weights[index]! -= step;
      expect(blocks[0]!.relative).toBeGreaterThan(5 * blocks[0]!.bound);
    }
  });

  test('where the bias outweighs the weights a thousand times', async () => {
    const { a, b, tensors } = await converted(scaled(roughBlock('a.', 16), /running_mean$/, 1000));
    expect((await verify(a, b)).equal).toBe(true);
    for (const key of ['a.rbr_reparam.weight', 'a.rbr_reparam.bias']) {
      const values = f32(tensors, key);
      values[3]! += 1e-3 * peak(values);
      expect((await verify(a, await write(tensors))).equal).toBe(false);
      values[3]! -= 1e-3 * peak(values);
    }
  });
});

test('rounding where large terms cancel is no inequality: a conv bias against its running mean', async () => {
  const train = roughBlock('a.', 16);
  train.set('a.rbr_dense.conv.bias', Tensor.f32([16], new Float32Array(16).fill(1000)));
  const mean = f32(train, 'a.rbr_dense.bn.running_mean');
  for (let c = 0; c < mean.length; c++) mean[c]! += 1000;
  const { a, b } = await converted(train);
  expect((await verify(a, b)).equal).toBe(true);
});

test('rounding where large terms cancel is no inequality: a constant between two convolutions', async () => {
  const block = new DiverseBranchBlock({ inChannels: 40, outChannels: 40, kernelSize: 3, seed: 5 });
  const train = block.stateDict();
  for (const [key, tensor] of train) if (/running_mean$|bn\.bias$/.test(key)) (tensor.data as Float32Array).fill(0);
  (train.get('dbb_1x1_kxk.bn1.bn.bias')!.data as Float32Array).fill(1000);
  const weight = f32(train, 'dbb_1x1_kxk.conv2.weight');
  const mean = f32(train, 'dbb_1x1_kxk.bn2.running_mean');
  const perOutput = weight.length / mean.length;
  for (let o = 0; o < mean.length; o++)
    mean[o] = 1000 * weight.subarray(o * perOutput, (o + 1) * perOutput).reduce((x, y) => x + y, 0);
  const { a, b } = await converted(train);
  expect((await verify(a, b)).equal).toBe(true);
});

test('the error is relative to the peak: a network scaled by 1000 gets the same verdicts (G17)', async () => {
  const step = 1e-3;
  const seen = [];
  for (const factor of [1, 1000]) {
    const { a, b, tensors } = await converted(scaled(roughBlock('a.', 8), /(bn|identity)\.(weight|bias)$/, factor));
    const good = await verify(a, b);
    const weights = f32(tensors, 'a.rbr_reparam.weight');
    weights[5]! += step * peak(weights);
    const bad = await verify(a, await write(tensors));
    seen.push([good.equal, bad.equal, bad.blocks[0]!.relative.toPrecision(2)]);
  }
  expect(seen[0]!.slice(0, 2)).toEqual([true, false]);
  expect(seen[1]).toEqual(seen[0]);
});

test('a report says what was compared, the same for the same seed', async () => {
  const { a, tensors } = await converted(roughBlock('a.', 4));
  f32(tensors, 'a.rbr_reparam.bias')[2]! += 1;
  const b = await write(tensors);
  const report = await verify(a, b);
  expect(await verify(a, b)).toEqual(report);
  const [block] = report.blocks;
  expect(block).toMatchObject({ prefix: 'a', family: 'repvgg', equal: false });
  expect(block!.at[1]).toBe(2);
  expect(block!.maxAbsolute).toBeCloseTo(1, 4);
  expect((await verify(a, b, { tolerance: 10 })).equal).toBe(true);
  f32(tensors, 'a.rbr_reparam.bias')[2]! -= 1;
  f32(tensors, 'a.rbr_reparam.weight')[7]! += 1;
  const weight = await write(tensors);
  const relative = async (seed: number) => (await verify(a, weight, { seed })).blocks[0]!.relative;
  expect(await relative(2)).not.toBe(await relative(3));
});

test('borders count: a training form that pads a biased 1x1 with zeros is no convolution (R11)', async () => {
  const block = new DiverseBranchBlock({ inChannels: 6, outChannels: 6, kernelSize: 3, seed: 3 });
  randomizeStatistics(block, 3);
  const { a, b } = await converted(block.stateDict());
  expect((await verify(a, b)).equal).toBe(true);
  // The same keys read as a fork that leaves out BNAndPad: equal inside, but not at the border.
  const report = await verify(a, b, { rules: [DBB_WITH_ZERO_PADDING] });
  expect(report.equal).toBe(false);
  const [, , row, column] = report.blocks[0]!.at;
  expect(row === 0 || row === 4 || column === 0 || column === 5).toBe(true);
  await expect(convert(a, folder.path('refused'), { rules: [DBB_WITH_ZERO_PADDING] })).rejects.toMatchObject({
    code: 'ERR_REPFUSE_BLOCK',
    details: { blocks: [{ status: 'unsupported' }] },
  });
});

test('fused tensors that cannot be the block are named, not thrown', async () => {
  const { a, tensors } = await converted(roughBlock('a.', 4));
  const spoilt = async (key: string, tensor: Tensor | undefined) => {
    const copy = new Map(tensors);
    if (tensor === undefined) copy.delete(key);
    else copy.set(key, tensor);
    const { equal, blocks } = await verify(a, await write(copy));
    expect(equal).toBe(false);
    return blocks[0]!.problem ?? blocks[0]!.relative;
  };
  const [weight, bias] = ['a.rbr_reparam.weight', 'a.rbr_reparam.bias'];
  expect(await spoilt(weight, undefined)).toBe(`the second file has no ${weight}`);
  expect(await spoilt(bias, undefined)).toBe(`the second file has no ${bias}`);
  expect(await spoilt(weight, Tensor.f32([4, 4, 1, 1]))).toBe(`${weight} is [4, 4, 1, 1] instead of [4, 4, 3, 3]`);
  expect(await spoilt(bias, Tensor.f32([5]))).toBe(`${bias} is [5] instead of [4]`);
  expect(await spoilt(bias, new Tensor('I32', [4], new Int32Array(4)))).toBe(`${bias} is of type I32`);
  expect(await spoilt(bias, Tensor.f32([4], [1, 2, Number.NaN, 4]))).toBe(Number.POSITIVE_INFINITY);
});

test('a block of the first file that cannot be run is named with its reason', async () => {
  const train = roughBlock('a.', 4);
  const { b } = await converted(train);
  f32(train, 'a.rbr_1x1.bn.running_var')[1] = -1;
  const negative = await verify(await write(train), b);
  expect(negative.blocks[0]).toMatchObject({ equal: false, problem: expect.stringContaining('channel 1 has -1') });
  train.delete('a.rbr_1x1.bn.running_var');
  const partial = await verify(await write(train), b);
  expect(partial.blocks[0]!.problem).toContain('a.rbr_1x1.bn.running_var');
});

test('blocks and tensors that only one file has, leftovers of training, tensors that differ', async () => {
  const head: [string, Tensor] = ['head.weight', Tensor.f32([2, 3], [1, 2, 3, 4, 5, 6])];
  const { a, b, tensors } = await converted(new Map([...roughBlock('a.', 4), head]));
  expect((await verify(a, b)).otherTensors).toEqual([]);
  tensors.set('head.weight', Tensor.f32([2, 3], [1, 2, 3, 4, 5, 7]));
  tensors.set('a.rbr_identity.weight', Tensor.f32([4]));
  tensors.set('b.rbr_reparam.weight', Tensor.f32([4, 4, 3, 3]));
  const changed = await verify(a, await write(tensors));
  expect(changed).toMatchObject({ equal: false, blocks: [{ equal: true }] });
  expect(changed.otherTensors).toEqual([
    { key: 'head.weight', problem: 'its values differ' },
    { key: 'b.rbr_reparam.weight', problem: 'only in the second file' },
    { key: 'a.rbr_identity.weight', problem: 'a training tensor is left in the second file' },
  ]);
  tensors.set('head.weight', Tensor.f32([3, 2]));
  expect((await verify(a, await write(tensors))).otherTensors[0]!.problem).toBe(
    'F32 [2, 3] in the first file, F32 [3, 2] in the second',
  );
  tensors.delete('head.weight');
  expect((await verify(a, await write(tensors))).otherTensors[0]!.problem).toBe('missing in the second file');
});

test('two deploy files, and two files without blocks, can be compared too', async () => {
  const { b, tensors } = await converted(roughBlock('a.', 4));
  expect(await verify(b, b)).toMatchObject({ equal: true, blocks: [{ relative: 0 }] });
  f32(tensors, 'a.rbr_reparam.weight')[0]! += 0.1;
  expect((await verify(b, await write(tensors))).equal).toBe(false);
  const plain = await write(new Map([['w', Tensor.f32([1])]]));
  expect(await verify(plain, plain)).toMatchObject({ equal: true, blocks: [], network: null });
});

describe('any two checkpoints of a network', () => {
  test('two training forms: the same weights, and one that is off', async () => {
    const train = roughBlock('a.', 16);
    const [a, same] = [await write(train), await write(new Map([...train].reverse()))];
    expect(await verify(a, same)).toMatchObject({ equal: true, otherTensors: [], blocks: [{ prefix: 'a' }] });
    const values = f32(train, 'a.rbr_1x1.conv.weight');
    values[7]! += 1e-3 * peak(values);
    expect(await verify(a, await write(train))).toMatchObject({ equal: false, blocks: [{ equal: false }] });
  });

  test('other branches that compute the same: the form does not matter', async () => {
    const train = roughBlock('a.', 16);
    const shifted = new Map(train);
    for (const [key, sign] of [
      ['a.rbr_dense.bn.bias', 1],
      ['a.rbr_1x1.bn.bias', -1],
    ] as const) {
      shifted.set(
        key,
        Tensor.f32(
          [16],
          f32(train, key).map((value) => value + 0.25 * sign),
        ),
      );
    }
    expect((await verify(await write(train), await write(shifted))).equal).toBe(true);
  });

  test('the deploy form first', async () => {
    const train = roughBlock('a.', 16);
    const { a, b } = await converted(train);
    expect(await verify(b, a)).toMatchObject({ equal: true, otherTensors: [] });
    const values = f32(train, 'a.rbr_dense.conv.weight');
    values[7]! += 1e-2 * peak(values);
    expect((await verify(b, await write(train))).equal).toBe(false);
  });

  test('a block of other shape is named', async () => {
    const report = await verify(await write(roughBlock('a.', 16)), await write(roughBlock('a.', 8)));
    expect(report.blocks[0]!.problem).toBe('it is 16x16x3x3 in the first file, 8x8x3x3 in the second');
  });
});

test('the bound scales with the block and its type; the option is one for all', async () => {
  const bounds = async (channels: number, options: object = {}) => {
    const { a, b } = await converted(
      new ACNetBlock({ inChannels: channels, outChannels: 4, kernelSize: 3 }).stateDict(),
    );
    return (await verify(a, b, options)).blocks[0]!.bound;
  };
  expect(await bounds(1)).toBe(8 * 2 ** -24 * 6);
  expect(await bounds(16)).toBe(8 * 2 ** -24 * 12);
  expect(await bounds(200)).toBe(await bounds(64)); // at most 64 channels are lit at a time
  expect(await bounds(16, { tolerance: 1e-3 })).toBe(1e-3);
});

test('strides are run too: the last convolution or pooling of each branch takes them, an identity cannot', () => {
  const blocks = detectBlocks(
    new Map([
      ...roughBlock('a.', 4),
      ...new DiverseBranchBlock({ inChannels: 4, outChannels: 4, kernelSize: 3 }).stateDict(),
    ]),
  );
  const [dbb, repvgg] = ['', 'a'].map((prefix) =>
    strided(trainingForm(blocks.find((block) => block.prefix === prefix)!)),
  );
  expect(repvgg).toBeUndefined();
  const strides = dbb!.branches.map(({ stages }) =>
    stages.flatMap((stage) => ('stride' in stage ? [stage.stride[0]] : [])),
  );
  expect(strides).toEqual([[2], [2], [1, 2], [1, 2]]);
});

describe('end to end', () => {
  const conv = { stride: [1, 1], padding: [1, 1], dilation: [1, 1], groups: 1, bias: null };
  const bn = (id: string, from: string, prefix: string) => ({
    id,
    op: 'batch_norm',
    inputs: [from],
    prefix: `a.${prefix}`,
    eps: 1e-5,
    affine: true,
  });
  const graph = {
    input: 'x',
    output: 'y',
    inputShape: [4, 6, 5],
    nodes: [
      { id: 'c3', op: 'conv2d', inputs: ['x'], weight: 'a.rbr_dense.conv.weight', ...conv },
      bn('b3', 'c3', 'rbr_dense.bn'),
      { id: 'c1', op: 'conv2d', inputs: ['x'], weight: 'a.rbr_1x1.conv.weight', ...conv, padding: [0, 0] },
      bn('b1', 'c1', 'rbr_1x1.bn'),
      bn('b0', 'x', 'rbr_identity'),
      { id: 's1', op: 'add', inputs: ['b3', 'b1'] },
      { id: 's2', op: 'add', inputs: ['s1', 'b0'] },
      { id: 'y', op: 'relu', inputs: ['s2'] },
    ],
  };

  test('both graphs are run, and a wrong wiring is seen though every block is equal', async () => {
    const { a, b, tensors, metadata } = await converted(roughBlock('a.', 4), graph);
    expect(await verify(a, b, { graph })).toMatchObject({ equal: true, network: { equal: true }, notes: [] });
    const wired = JSON.parse(metadata.repfuse!);
    for (const node of wired.nodes) if (node.op === 'conv2d') node.dilation = [2, 2];
    for (const node of wired.nodes) if (node.op === 'conv2d') node.padding = [2, 2];
    const wrong = await write(tensors, { repfuse: JSON.stringify(wired) });
    expect(await verify(a, wrong, { graph })).toMatchObject({
      equal: false,
      blocks: [{ equal: true }],
      network: { equal: false },
    });
  });

  test('what keeps the networks from being compared is said', async () => {
    const { a, b, tensors, metadata } = await converted(roughBlock('a.', 4), graph);
    expect((await verify(a, b)).notes).toEqual(['not compared end to end: the first file has no graph']);
    const bare = await write(tensors);
    expect((await verify(a, bare, { graph })).notes).toEqual(['not compared end to end: the second file has no graph']);
    const { inputShape: _, ...shapeless } = JSON.parse(metadata.repfuse!);
    const model = await write(tensors, { repfuse: JSON.stringify(shapeless) });
    const { inputShape: __, ...training } = graph;
    expect((await verify(a, model, { graph: training })).notes).toEqual([
      'not compared end to end: no graph has an inputShape',
    ]);
    tensors.delete('a.rbr_reparam.bias');
    const broken = await verify(a, await write(tensors, metadata), { graph });
    expect(broken.network).toMatchObject({ equal: false, problem: expect.stringContaining('a.rbr_reparam.bias') });
  });
});

test('options are checked', async () => {
  const code = { code: 'ERR_REPFUSE_INVALID_ARGUMENT' };
  await expect(verify('a', 'b', { tolerance: -1 })).rejects.toMatchObject(code);
  await expect(verify('a', 'b', { tolerance: Number.NaN })).rejects.toMatchObject(code);
  await expect(verify('a', 'b', { toleranse: 1 } as never)).rejects.toMatchObject({
    ...code,
    message: expect.stringContaining('did you mean tolerance?'),
  });
});
