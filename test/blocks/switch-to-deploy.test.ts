import { ACNet, ACNetBlock, DiverseBranchBlock, type ReparameterizableBlock, RepVGGBlock } from '../../lib/blocks';
import { Tensor } from '../../lib/tensor/tensor';
import { peakError } from '../support/compare';
import { Random } from '../support/random';
import { randomizeStatistics } from '../support/randomize-statistics';

const input = Tensor.f32([2, 8, 9, 7], new Random(1).floats(2 * 8 * 9 * 7));

const BLOCKS: [string, () => ReparameterizableBlock][] = [
  ['RepVGGBlock', () => new RepVGGBlock({ inChannels: 8, outChannels: 8, groups: 2 })],
  ['ACNetBlock', () => new ACNetBlock({ inChannels: 8, outChannels: 12, kernelSize: [5, 3], stride: [1, 2] })],
  // Its largest branch is the last to run.
  ['ACNet', () => new ACNet(8, 6)],
  ['DiverseBranchBlock', () => new DiverseBranchBlock({ inChannels: 8, outChannels: 6, stride: 2 })],
];

function trained(create: () => ReparameterizableBlock): ReparameterizableBlock {
  const block = create();
  randomizeStatistics(block, 7);
  return block;
}

describe.each(BLOCKS)('%s', (_, create) => {
  test('keeps its function, is idempotent, and lies in the buffer of the largest branch', () => {
    const block = trained(create);
    const before = block.forward(input).data as Float32Array;
    const own = [...block.stateDict({ borrow: true }).values()].map(({ data }) => data);
    block.switchToDeploy();
    expect(block.deployed).toBe(true);
    const after = block.forward(input).data as Float32Array;
    expect(peakError(after, before)).toBeLessThan(2e-6);
    const [weight] = [...block.stateDict({ borrow: true }).values()];
    expect(own.includes(weight!.data)).toBe(true);
    block.switchToDeploy();
    expect([...block.stateDict({ borrow: true }).values()][0]!.data).toBe(weight!.data);
    expect(block.forward(input).data).toEqual(after);
  });

  test('is the same at every thread count', () => {
    const dicts = [1, 2, 5].map((threads) => {
      const block = trained(create);
      block.switchToDeploy({ threads });
      return block.stateDict();
    });
    for (const dict of dicts) expect(dict).toEqual(dicts[0]);
  });

  test.each([
    ['a weight that is not a number', /conv\d?\.weight$|_conv\.weight$/, Number.NaN, 'ERR_REPFUSE_NOT_FINITE'],
    ['an infinite scale', /bn\.weight$/, Number.POSITIVE_INFINITY, 'ERR_REPFUSE_NOT_FINITE'],
    ['a negative variance', /running_var$/, -1, 'ERR_REPFUSE_NOT_FUSABLE'],
    ['a fused value beyond float32', /bn\d?\.weight$/, 3e38, 'ERR_REPFUSE_NOT_FINITE'],
  ])('%s: refused, the block stays as it was', (_name, pattern, value, code) => {
    const block = trained(create);
    const stateDict = block.stateDict();
    // The last tensor of its kind: everything before it has been looked at by then.
    const key = [...stateDict.keys()].filter((name) => pattern.test(name)).at(-1)!;
    stateDict.get(key)!.data[0] = value;
    // Scaled by its BatchNorm, an ordinary value overflows.
    if (value === 3e38) {
      for (const [name, { data }] of stateDict) if (name.endsWith('running_var')) (data as Float32Array).fill(1e-4);
    }
    block.loadStateDict(stateDict);
    const before = block.stateDict();
    const buffers = [...block.stateDict({ borrow: true }).values()].map(({ data }) => data);
    expect(() => block.switchToDeploy()).toThrow(expect.objectContaining({ code }));
    expect(block.deployed).toBe(false);
    expect(block.stateDict()).toEqual(before);
    const after = [...block.stateDict({ borrow: true }).values()];
    expect(after.every(({ data }, i) => data === buffers[i])).toBe(true);

    stateDict.get(key)!.data[0] = 1;
    block.loadStateDict(stateDict);
    block.switchToDeploy();
    expect(block.deployed).toBe(true);
  });

  test('a forward pass under way on the pool is not disturbed', async () => {
    const block = trained(create);
    const expected = block.forward(input).data;
    const running = block.forwardAsync(input);
    const largest = block.stateDict();
    block.switchToDeploy();
    expect((await running).data).toEqual(expected);
    // The fused values are those of a block that nobody was reading.
    const other = create();
    other.loadStateDict(largest);
    other.switchToDeploy();
    expect(block.stateDict()).toEqual(other.stateDict());
  });

  test('can be cancelled while it runs forward, and then still be switched', async () => {
    const block = trained(create);
    const controller = new AbortController();
    const running = block.forwardAsync(input, { signal: controller.signal });
    controller.abort();
    await expect(running).rejects.toBe(controller.signal.reason);
    const own = [...block.stateDict({ borrow: true }).values()].map(({ data }) => data);
    block.switchToDeploy();
    expect(own.includes([...block.stateDict({ borrow: true }).values()][0]!.data)).toBe(true);
  });
});

test('borrowed tensors are overwritten, copied ones never', () => {
  const source = trained(() => new RepVGGBlock({ inChannels: 4, outChannels: 4 })).stateDict();
  const kept = Float32Array.from(source.get('rbr_dense.conv.weight')!.data as Float32Array);
  const copying = new RepVGGBlock({ inChannels: 4, outChannels: 4 });
  copying.loadStateDict(source);
  copying.switchToDeploy();
  expect(source.get('rbr_dense.conv.weight')!.data).toEqual(kept);
  const borrowing = new RepVGGBlock({ inChannels: 4, outChannels: 4 });
  borrowing.loadStateDict(source, { borrow: true });
  borrowing.switchToDeploy();
  expect(source.get('rbr_dense.conv.weight')!.data).toEqual(copying.stateDict().get('rbr_reparam.weight')!.data);
});

test('one borrowed array under two names gives what two arrays give', () => {
  const [copying, borrowing] = [0, 1].map(() => new DiverseBranchBlock({ inChannels: 4, outChannels: 4 }));
  randomizeStatistics(copying!, 3);
  const stateDict = copying!.stateDict();
  stateDict.set('dbb_1x1_kxk.conv2.weight', stateDict.get('dbb_origin.conv.weight')!);
  copying!.loadStateDict(stateDict);
  borrowing!.loadStateDict(stateDict, { borrow: true });
  for (const block of [copying!, borrowing!]) block.switchToDeploy();
  expect(borrowing!.stateDict()).toEqual(copying!.stateDict());
});
