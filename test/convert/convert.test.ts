import { createHash } from 'node:crypto';
import { existsSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { readCheckpoint } from '../../lib/checkpoint/read-checkpoint';
import { writeSafetensors } from '../../lib/checkpoint/safetensors/write-safetensors';
import type { StateDict } from '../../lib/checkpoint/state-dict';
import { type ConvertProgress, convert } from '../../lib/convert';
import { readGraphMetadata } from '../../lib/graph';
import { conv2d } from '../../lib/ops';
import { Tensor } from '../../lib/tensor/tensor';
import { version } from '../../package.json';
import { roughBlock } from '../support/rough-block';
import { dict, tensor, torchFile } from '../support/torch-file';
import { OTHER_TENSORS, workplace } from './workplace';

const { path, names, write } = workplace();

test('blocks at any prefix are fused, everything else passes byte for byte, no training tensor survives (R30, R34)', async () => {
  const input = await write('in', roughBlock('backbone.stage1.0.'), roughBlock('neck.x.', 4), OTHER_TENSORS);
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
  for (const [key, tensor] of OTHER_TENSORS) expect(tensors.get(key)).toEqual(tensor);
  const big = await write('big', roughBlock('', 64));
  await convert(big, path('big-out'));
  expect(statSync(path('big-out')).size).toBeLessThan(statSync(big).size);
});

test('a deploy file is left as it is with a note, requireChange makes that an error (R04, R05)', async () => {
  await convert(await write('in', roughBlock('a.'), OTHER_TENSORS), path('deploy'));
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
  await convert(await write('in', roughBlock('a.')), path('deploy'));
  const fused = (await readCheckpoint(path('deploy'))).tensors;
  const both = await write('both', roughBlock('a.'), fused);
  const agreed = await convert(both, path('out'));
  expect(agreed.blocks[0]).toMatchObject({
    form: 'mixed',
    status: 'converted',
    reason: expect.stringContaining('agrees'),
  });
  const stale = await write('stale', roughBlock('a.'), [
    ['a.rbr_reparam.weight', Tensor.f32([8, 8, 3, 3])],
    ['a.rbr_reparam.bias', Tensor.f32([8])],
  ]);
  expect((await convert(stale, path('out2'))).blocks[0]).toMatchObject({ form: 'mixed', status: 'stale-placeholder' });
  for (const out of ['out', 'out2']) {
    const { tensors } = await readCheckpoint(path(out));
    expect([...tensors]).toEqual([...fused]);
  }
});

test('a storage that two blocks share is not overwritten by fusing either', async () => {
  const [a, b] = [roughBlock('a.', 8, 1), roughBlock('b.', 8, 2)];
  const tied = ['rbr_dense.conv.weight', 'rbr_identity.running_mean'];
  for (const key of tied) b.set(`b.${key}`, a.get(`a.${key}`)!);
  await convert(await write('separate', a, b), path('separate-out'));

  // The same in a torch file, where both names lead to one storage.
  const storages: Record<string, ArrayBufferView> = {};
  const described = [...a, ...b].flatMap(([key, { dtype, shape, data }]) => {
    if (dtype !== 'F32') return [];
    const name = tied.some((suffix) => key === `b.${suffix}`) ? key.replace(/^b/, 'a') : key;
    storages[name] = data;
    const stride = shape.map((_, i) => shape.slice(i + 1).reduce((x, y) => x * y, 1));
    return [[key, tensor({ key: name, size: shape, stride })] as const];
  });
  writeFileSync(path('tied'), torchFile(dict(Object.fromEntries(described)), storages));
  const { tensors: read } = await readCheckpoint(path('tied'));
  for (const key of tied) expect(read.get(`b.${key}`)!.data.buffer).toBe(read.get(`a.${key}`)!.data.buffer);
  await convert(path('tied'), path('tied-out'));
  expect((await readCheckpoint(path('tied-out'))).tensors).toEqual(
    (await readCheckpoint(path('separate-out'))).tensors,
  );
});

test('a lone, stale or ill-typed deploy tensor beside training tensors is replaced and named', async () => {
  await convert(await write('in', roughBlock('a.')), path('deploy'));
  const fused = (await readCheckpoint(path('deploy'))).tensors;
  const [weight, bias] = ['a.rbr_reparam.weight', 'a.rbr_reparam.bias'];
  const beside: [string, [string, Tensor][], string][] = [
    ['weight alone', [[weight, fused.get(weight)!]], 'converted'],
    ['stale weight alone', [[weight, Tensor.f32([8, 8, 3, 3])]], 'stale-placeholder'],
    [
      'stale bias',
      [
        [weight, fused.get(weight)!],
        [bias, Tensor.f32([8])],
      ],
      'stale-placeholder',
    ],
    [
      'integers',
      [
        [weight, fused.get(weight)!],
        [bias, new Tensor('I32', [8], new Int32Array(8))],
      ],
      'stale-placeholder',
    ],
  ];
  for (const [name, extra, status] of beside) {
    const report = await convert(await write(name, roughBlock('a.'), extra), path(`${name} out`));
    expect([name, report.blocks[0]!.status]).toEqual([name, status]);
    expect(report.parameters.after).toBe(8 * 8 * 9 + 8);
    expect([...(await readCheckpoint(path(`${name} out`))).tensors]).toEqual([...fused]);
  }
});

test('every type of tensor passes byte for byte: scalars, empty ones, NaN payloads, negative zero', async () => {
  const bits = Uint32Array.of(0x7fc00001, 0xffa00000, 0x80000000, 1);
  const passing: StateDict = new Map([
    ['f64', new Tensor('F64', [2], Float64Array.of(Math.PI, -0))],
    ['f32', new Tensor('F32', [2, 2], new Float32Array(bits.buffer))],
    ['f16', new Tensor('F16', [3], Uint16Array.of(0x0001, 0x8000, 0x7e01))],
    ['bf16', new Tensor('BF16', [1, 2], Uint16Array.of(0x0001, 0xff81))],
    ['i64', new Tensor('I64', [], BigInt64Array.of(-(2n ** 63n)))],
    ['i32', new Tensor('I32', [1], Int32Array.of(-1))],
    ['i16', new Tensor('I16', [1], Int16Array.of(-2))],
    ['i8', new Tensor('I8', [1], Int8Array.of(-3))],
    ['u8', new Tensor('U8', [1], Uint8Array.of(255))],
    ['bool', new Tensor('BOOL', [2], Uint8Array.of(1, 0))],
    ['empty', Tensor.f32([0, 3])],
    ['__proto__', Tensor.f32([1], [1])],
  ]);
  await convert(await write('in', passing, roughBlock('a.')), path('out'));
  const { tensors } = await readCheckpoint(path('out'));
  const bytes = ({ data }: Tensor) => Buffer.from(data.buffer, data.byteOffset, data.byteLength).toString('hex');
  for (const [key, tensor] of passing) {
    const { dtype, shape } = tensors.get(key)!;
    expect([key, dtype, shape, bytes(tensors.get(key)!)]).toEqual([key, tensor.dtype, tensor.shape, bytes(tensor)]);
  }
});

test('the output says where it comes from, and keeps what the input said', async () => {
  const input = path('in');
  await writeSafetensors(input, new Map([...roughBlock('a.'), ...roughBlock('b.ERBlock_2.')]), {
    metadata: { format: 'pt', author: 'somebody' },
  });
  await convert(input, path('out'));
  const { metadata } = await readCheckpoint(path('out'));
  expect(metadata).toEqual({
    format: 'pt',
    author: 'somebody',
    'repfuse.version': version,
    'repfuse.source': 'in',
    'repfuse.source_sha256': createHash('sha256').update(readFileSync(input)).digest('hex'),
    'repfuse.families': 'repvgg',
    'repfuse.eps': expect.any(String),
  });
  expect(JSON.parse(metadata['repfuse.eps']!)).toEqual({
    a: '0.00001 (default of repvgg)',
    'b.ERBlock_2': expect.stringMatching(/^0\.001 \(YOLOv6/),
  });
  await convert(path('out'), path('again'));
  expect(readFileSync(path('again')).equals(readFileSync(path('out')))).toBe(true);
});

test('threads do not change a byte, and memory is that of a few blocks, not of the file', async () => {
  const names = [...'abcdefghijklmnopqrst'].map((letter) => `${letter}.`);
  const input = await write('in', ...names.map((name, i) => roughBlock(name, 256, i)));
  const size = statSync(input).size;
  const taken: number[] = [];
  for (const threads of [1, 2]) {
    const onProgress = ({ phase }: ConvertProgress) => {
      if (phase === 'fuse') taken.push(process.memoryUsage().arrayBuffers);
    };
    await convert(input, path(`out${threads}`), { threads, onProgress });
  }
  expect(readFileSync(path('out1')).equals(readFileSync(path('out2')))).toBe(true);
  const first = taken.slice(0, taken.length / 2);
  expect(Math.max(...first) - first[0]!).toBeLessThan(size / 2);
});

test('the digest and the ranges are options', async () => {
  const input = await write('in', roughBlock('a.'));
  const { blocks } = await convert(input, path('out'), { hash: false, durable: true, ranges: true });
  const { metadata, tensors } = await readCheckpoint(path('out'));
  expect(metadata).not.toHaveProperty(['repfuse.source_sha256']);
  const values = [...(tensors.get('a.rbr_reparam.weight')!.data as Float32Array)];
  const before = [...(roughBlock('a.').get('a.rbr_dense.conv.weight')!.data as Float32Array)];
  const range = (all: number[]) => {
    const rows = Array.from({ length: 8 }, (_, c) => all.slice(c * 72, (c + 1) * 72));
    const channels = { min: rows.map((row) => Math.min(...row)), max: rows.map((row) => Math.max(...row)) };
    return { min: Math.min(...all), max: Math.max(...all), channels };
  };
  expect(blocks[0]!.weightRange).toEqual({ before: range(before), after: range(values) });
  expect((await convert(input, path('other'))).blocks[0]).not.toHaveProperty('weightRange');
});

describe('with a graph', () => {
  const conv = { op: 'conv2d', stride: [1, 1], padding: [0, 0], dilation: [1, 1], groups: 1, bias: 'bias' };
  const graph = { input: 'x', output: 'y', nodes: [{ id: 'y', inputs: ['x'], weight: 'weight', ...conv }] };
  const plain: StateDict = new Map([
    ['weight', Tensor.f32([1, 1, 1, 1], [2])],
    ['bias', Tensor.f32([1], [3])],
  ]);

  test('a network without blocks becomes a model file, without a graph a copy', async () => {
    const input = await write('in', plain);
    const bare = await convert(input, path('bare'));
    expect([...(await readCheckpoint(bare.output)).tensors]).toEqual([...plain]);
    expect((await convert(input, path('model'), { graph })).output).toBe(path('model'));
    const { tensors, metadata } = await readCheckpoint(path('model'));
    expect(readGraphMetadata(metadata)).toEqual(graph);
    expect([...tensors]).toEqual([...plain]);
  });

  test('blocks that it does not use are fused all the same', async () => {
    const report = await convert(await write('in', plain, roughBlock('auxiliary.')), path('out'), {
      graph,
      verify: true,
    });
    expect(report.blocks[0]!.status).toBe('converted');
    expect(report.verification).toMatchObject({ equal: true });
  });

  test('one that names a tensor which the output lacks, or is no graph, is refused', async () => {
    const input = await write('in', roughBlock('a.'));
    const refused = { code: 'ERR_REPFUSE_GRAPH' };
    await expect(convert(input, path('out'), { graph })).rejects.toMatchObject(refused);
    await expect(convert(input, path('out'), { graph: { nodes: 1 } })).rejects.toMatchObject(refused);
    expect(names()).toEqual(['in']);
  });
});

test('progress is told by phase; an abort in any of them leaves nothing behind', async () => {
  const input = await write('in', roughBlock('a.'), roughBlock('b.'));
  const seen: ConvertProgress[] = [];
  await convert(input, path('out'), { verify: true, onProgress: (progress) => seen.push(progress) });
  expect([...new Set(seen.map(({ phase }) => phase))]).toEqual(['read', 'fuse', 'write', 'verify']);
  expect(seen.filter(({ phase }) => phase === 'fuse').at(-1)).toMatchObject({ done: 2, total: 2 });
  // A whole file is no half file: it stays.
  const late = new AbortController();
  const stop = new Error('stop');
  const whenVerifying = ({ phase }: ConvertProgress) => phase === 'verify' && late.abort(stop);
  await expect(
    convert(input, path('late'), { verify: true, signal: late.signal, onProgress: whenVerifying }),
  ).rejects.toBe(stop);
  expect(readFileSync(path('late')).equals(readFileSync(path('out')))).toBe(true);
  rmSync(path('late'));
  for (const phase of ['read', 'fuse', 'write']) {
    const controller = new AbortController();
    const reason = new Error('stop');
    const onProgress = (progress: ConvertProgress) => progress.phase === phase && controller.abort(reason);
    await expect(convert(input, path('aborted'), { signal: controller.signal, onProgress })).rejects.toBe(reason);
    expect(names()).toEqual(['in', 'out']);
  }
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
  // Batch statistics of a constant would give beta everywhere.
  const y = conv2d(
    Tensor.f32([1, 1, 4, 4], new Float32Array(16).fill(4)),
    tensors.get('rbr_reparam.weight')!,
    tensors.get('rbr_reparam.bias')!,
    { padding: 1 },
  );
  expect([...(y.data as Float32Array)]).toEqual(new Array(16).fill(8));
});
