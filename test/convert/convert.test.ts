import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { RepVGGBlock } from '../../lib/blocks';
import { readCheckpoint } from '../../lib/checkpoint/read-checkpoint';
import type { StateDict } from '../../lib/checkpoint/state-dict';
import { writeSafetensors } from '../../lib/checkpoint/write-safetensors';
import { type ConvertProgress, convert, inspect, verify } from '../../lib/convert';
import { Tensor } from '../../lib/tensor/tensor';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'repfuse-convert-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const path = (name: string) => join(folder, name);

/** A RepVGG block's training tensors with rough statistics, under a prefix. */
function block(prefix: string, channels = 8, seed = 1): StateDict {
  const made = new RepVGGBlock({ inChannels: channels, outChannels: channels, seed });
  made.randomizeStatistics(seed);
  return new Map([...made.stateDict()].map(([key, tensor]) => [prefix + key, tensor]));
}

async function write(name: string, ...parts: Iterable<readonly [string, Tensor]>[]): Promise<string> {
  await writeSafetensors(path(name), new Map(parts.flatMap((part) => [...part])), { force: true });
  return path(name);
}

const other: StateDict = new Map([
  ['head.weight', Tensor.f32([2, 3], [1, 2, 3, 4, 5, 6])],
  ['submodule.counter', new Tensor('I64', [], BigInt64Array.of(87075n))],
]);

test('blocks at any prefix are fused, everything else passes byte for byte, no training tensor survives (R30, R34)', async () => {
  const input = await write('in', block('backbone.stage1.0.'), block('neck.x.', 4), other);
  const report = await convert(input, path('out'));
  expect(report.blocks.map(({ prefix, status }) => [prefix, status])).toEqual([
    ['backbone.stage1.0', 'converted'],
    ['neck.x', 'converted'],
  ]);
  const { tensors } = await readCheckpoint(path('out'));
  expect([...tensors.keys()].sort()).toEqual([
    'backbone.stage1.0.rbr_reparam.bias',
    'backbone.stage1.0.rbr_reparam.weight',
    'head.weight',
    'neck.x.rbr_reparam.bias',
    'neck.x.rbr_reparam.weight',
    'submodule.counter',
  ]);
  for (const [key, tensor] of other) expect(tensors.get(key)).toEqual(tensor);
  const big = await write('big', block('', 64));
  await convert(big, path('big-out'));
  expect(statSync(path('big-out')).size).toBeLessThan(statSync(big).size);
});

test('the report counts what was gained (R05, R20) and says which eps was used and why (R26)', async () => {
  const input = await write('in', block('backbone.ERBlock_2.0.'), block('stage.', 4));
  const { blocks, parameters } = await convert(input, path('out'));
  const yolo = blocks.find(({ prefix }) => prefix === 'backbone.ERBlock_2.0')!;
  expect(yolo).toMatchObject({
    branches: ['rbr_dense', 'rbr_1x1', 'rbr_identity'],
    batchNorms: 3,
    kernel: [8, 8, 3, 3],
    groups: 1,
    parameters: { before: 8 * 8 * 9 + 8 * 8 + 3 * 16, after: 8 * 8 * 9 + 8 },
    eps: { value: 1e-3, source: expect.stringContaining('YOLOv6') },
  });
  expect(yolo.epsEffect).toBeGreaterThan(0);
  expect(blocks.find(({ prefix }) => prefix === 'stage')!.eps).toEqual({ value: 1e-5, source: 'default of repvgg' });
  expect(parameters.before - parameters.after).toBe(
    blocks.reduce((sum, b) => sum + b.parameters.before - b.parameters.after, 0),
  );
  const forced = await convert(input, path('out2'), { eps: 1e-4 });
  expect(forced.blocks.every(({ eps }) => eps.value === 1e-4 && eps.source === 'option')).toBe(true);
});

test('a deploy file is left as it is with a note, requireChange makes that an error (R04, R05)', async () => {
  await convert(await write('in', block('a.'), other), path('deploy'));
  const report = await convert(path('deploy'), path('again'));
  expect(report.blocks.map(({ status }) => status)).toEqual(['already-deployed']);
  expect(report.notes.join()).toContain('0 blocks folded');
  expect(readFileSync(path('again')).equals(readFileSync(path('deploy')))).toBe(true);
  await expect(convert(path('deploy'), path('third'), { requireChange: true })).rejects.toMatchObject({
    code: 'ERR_REPFUSE_NO_BLOCKS',
  });
  expect(existsSync(path('third'))).toBe(false);
});

test('complete training tensors win over a deploy tensor: equal ones are confirmed, others named stale', async () => {
  await convert(await write('in', block('a.')), path('deploy'));
  const fused = (await readCheckpoint(path('deploy'))).tensors;
  const both = await write('both', block('a.'), fused);
  const agreed = await convert(both, path('out'));
  expect(agreed.blocks[0]).toMatchObject({
    form: 'mixed',
    status: 'converted',
    reason: expect.stringContaining('agrees'),
  });
  const stale = await write('stale', block('a.'), [
    ['a.rbr_reparam.weight', Tensor.f32([8, 8, 3, 3])],
    ['a.rbr_reparam.bias', Tensor.f32([8])],
  ]);
  expect((await convert(stale, path('out2'))).blocks[0]).toMatchObject({ form: 'mixed', status: 'stale-placeholder' });
  for (const out of ['out', 'out2']) {
    const { tensors } = await readCheckpoint(path(out));
    expect([...tensors]).toEqual([...fused]);
  }
});

test('a partial block stops everything, keepBlocks settles it', async () => {
  const broken = block('bad.');
  broken.delete('bad.rbr_1x1.bn.running_var');
  const input = await write('in', block('good.'), broken);
  await expect(convert(input, path('out'))).rejects.toMatchObject({
    code: 'ERR_REPFUSE_BLOCK',
    message: expect.stringContaining('bad.rbr_1x1.bn.running_var'),
    details: { blocks: [{ prefix: 'bad', status: 'partial', reason: expect.any(String) }] },
  });
  expect(readdirSync(folder)).toEqual(['in']);
  const report = await convert(input, path('out'), { keepBlocks: ['bad'] });
  expect(report.blocks.map(({ prefix, status }) => [prefix, status])).toEqual([
    ['good', 'converted'],
    ['bad', 'kept'],
  ]);
  const { tensors } = await readCheckpoint(path('out'));
  for (const [key, tensor] of broken) expect(tensors.get(key)).toEqual(tensor);
});

test('weights that two blocks share are not overwritten by fusing either', async () => {
  const [a, b] = [block('a.'), block('b.')];
  const input = await write('in', a, b);
  const separate = await convert(input, path('out'));
  expect(separate.blocks.length).toBe(2);
  // torch files can hold one storage under two names
  const tied = join(__dirname, '..', 'fixtures', 'checkpoints', 'repvgg-strided.pth');
  expect((await convert(tied, path('tied'), { verify: true })).verification?.equal).toBe(true);
});

test('an existing output is refused before any work, and overwritten only by force', async () => {
  const input = await write('in', block('a.'));
  writeFileSync(path('out'), 'precious');
  await expect(convert(input, path('out'))).rejects.toMatchObject({ code: 'ERR_REPFUSE_EXISTS' });
  expect(readFileSync(path('out'), 'utf8')).toBe('precious');
  await convert(input, path('out'), { force: true });
  expect((await inspect(path('out'))).blocks[0]!.status).toBe('already-deployed');
});

test('progress is told by phase; an abort in any of them leaves nothing behind', async () => {
  const input = await write('in', block('a.'), block('b.'));
  const seen: ConvertProgress[] = [];
  await convert(input, path('out'), { verify: true, onProgress: (progress) => seen.push(progress) });
  expect([...new Set(seen.map(({ phase }) => phase))]).toEqual(['read', 'fuse', 'write', 'verify']);
  expect(seen.filter(({ phase }) => phase === 'fuse').at(-1)).toMatchObject({ done: 2, total: 2, block: 'b' });
  for (const phase of ['read', 'fuse', 'write']) {
    const controller = new AbortController();
    const reason = new Error('stop');
    const onProgress = (progress: ConvertProgress) => progress.phase === phase && controller.abort(reason);
    await expect(convert(input, path('aborted'), { signal: controller.signal, onProgress })).rejects.toMatchObject({
      code: 'ERR_REPFUSE_ABORTED',
      cause: reason,
    });
    expect(readdirSync(folder).sort()).toEqual(['in', 'out']);
  }
});

test('verify: the error is relative to the peak, so scaling a network by 1000 changes no verdict (G17)', async () => {
  const scaled = (factor: number): StateDict =>
    new Map(
      [...block('a.')].map(([key, tensor]) => [
        key,
        /(bn|identity)\.(weight|bias)$/.test(key)
          ? Tensor.f32(
              tensor.shape,
              (tensor.data as Float32Array).map((v) => v * factor),
            )
          : tensor,
      ]),
    );
  const results = [];
  for (const factor of [1, 1024]) {
    const input = await write(`in${factor}`, scaled(factor));
    results.push((await convert(input, path(`out${factor}`), { verify: true })).verification!);
  }
  expect(results.map(({ equal }) => equal)).toEqual([true, true]);
  expect(results[1]!.blocks[0]!.relative).toBeCloseTo(results[0]!.blocks[0]!.relative, 12);
});

test('verify names missing blocks, leftovers of training, and other tensors that differ', async () => {
  const input = await write('in', block('a.'), other);
  await convert(input, path('deploy'));
  const { tensors } = await readCheckpoint(path('deploy'));
  tensors.set('head.weight', Tensor.f32([2, 3], [1, 2, 3, 4, 5, 7]));
  tensors.set('a.rbr_identity.weight', Tensor.f32([8]));
  const changed = await verify(input, await write('changed', tensors));
  expect(changed.equal).toBe(false);
  expect(changed.otherTensors).toEqual([
    { key: 'head.weight', problem: 'its values differ' },
    { key: 'a.rbr_identity.weight', problem: 'a training tensor is left in the second file' },
  ]);
  tensors.delete('a.rbr_reparam.weight');
  const missing = await verify(input, await write('missing', tensors));
  expect(missing.blocks[0]).toMatchObject({ equal: false, problem: 'the second file has no a.rbr_reparam.weight' });
});

test('BatchNorm of one channel by hand: running statistics, never those of a batch (R01)', async () => {
  const centre = (value: number) => Tensor.f32([1, 1, 3, 3], [0, 0, 0, 0, value, 0, 0, 0, 0]);
  const bn = (prefix: string, gamma: number, beta: number, mean: number, variance: number): [string, Tensor][] =>
    Object.entries({ weight: gamma, bias: beta, running_mean: mean, running_var: variance }).map(([key, value]) => [
      `${prefix}.${key}`,
      Tensor.f32([1], [value]),
    ]);
  const input = await write('in', [
    ['rbr_dense.conv.weight', centre(1)],
    ...bn('rbr_dense.bn', 3, 1, 2, 4),
    ['rbr_1x1.conv.weight', Tensor.f32([1, 1, 1, 1], [1])],
    ...bn('rbr_1x1.bn', 1, 0, 0, 1),
  ]);
  await convert(input, path('out'), { eps: 0, verify: true });
  const { tensors } = await readCheckpoint(path('out'));
  expect([...(tensors.get('rbr_reparam.weight')!.data as Float32Array)]).toEqual([0, 0, 0, 0, 2.5, 0, 0, 0, 0]);
  expect([...(tensors.get('rbr_reparam.bias')!.data as Float32Array)]).toEqual([-2]);
});
