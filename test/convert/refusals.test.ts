import { readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { readCheckpoint } from '../../lib/checkpoint/read-checkpoint';
import { type ConvertProgress, convert, inspect } from '../../lib/convert';
import { Tensor } from '../../lib/tensor/tensor';
import { roughBlock } from '../support/rough-block';
import { OTHER_TENSORS, workplace } from './workplace';

const { path, names, write } = workplace();

test('a partial block stops everything, keepBlocks settles it', async () => {
  const broken = roughBlock('bad.');
  broken.delete('bad.rbr_1x1.bn.running_var');
  const input = await write('in', roughBlock('good.'), broken);
  await expect(convert(input, path('out'))).rejects.toMatchObject({
    code: 'ERR_REPFUSE_BLOCK',
    message: expect.stringContaining('bad.rbr_1x1.bn.running_var'),
    details: { blocks: [{ prefix: 'bad', status: 'partial', reason: expect.any(String) }] },
  });
  expect(names()).toEqual(['in']);
  const report = await convert(input, path('out'), { keepBlocks: ['bad'] });
  expect(report.blocks.map(({ prefix, status }) => [prefix, status])).toEqual([
    ['good', 'converted'],
    ['bad', 'kept'],
  ]);
  const { tensors } = await readCheckpoint(path('out'));
  for (const [key, tensor] of broken) expect(tensors.get(key)).toEqual(tensor);
});

test('every block that cannot be fused is listed at once, whatever is wrong with it', async () => {
  const [partial, nan, half, overflow] = ['p.', 'n.', 'h.', 'o.'].map((prefix) => roughBlock(prefix));
  partial!.delete('p.rbr_1x1.bn.running_var');
  (nan!.get('n.rbr_1x1.conv.weight')!.data as Float32Array)[3] = Number.NaN;
  half!.set('h.rbr_dense.conv.weight', new Tensor('F16', [8, 8, 3, 3], new Uint16Array(576).fill(0x7c00)));
  (overflow!.get('o.rbr_dense.conv.weight')!.data as Float32Array)[0] = 3e38;
  (overflow!.get('o.rbr_dense.bn.running_var')!.data as Float32Array)[0] = 0;
  (overflow!.get('o.rbr_dense.bn.weight')!.data as Float32Array)[0] = 1;
  const input = await write('in', roughBlock('good.'), partial!, nan!, half!);
  const problems = [
    { prefix: 'p', status: 'partial', reason: expect.stringContaining('p.rbr_1x1.bn.running_var') },
    {
      prefix: 'n',
      status: 'unsupported',
      reason: 'n.rbr_1x1.conv.weight: expected finite values but element 3 is NaN',
    },
    { prefix: 'h', status: 'unsupported', reason: expect.stringMatching(/^h\.rbr_dense\.conv\.weight: .*\(Inf\)/) },
  ];
  await expect(convert(input, path('out'))).rejects.toMatchObject({
    code: 'ERR_REPFUSE_BLOCK',
    details: { file: input, blocks: problems },
  });
  // What inspect says beforehand, too.
  const { blocks } = await inspect(input);
  expect(blocks.map(({ status }) => status)).toEqual(['convertible', 'partial', 'unsupported', 'unsupported']);
  // Only fusing shows that a value would overflow: still nothing is written.
  const last = await write('last', roughBlock('good.'), overflow!);
  await expect(convert(last, path('out'))).rejects.toMatchObject({
    code: 'ERR_REPFUSE_BLOCK',
    details: { blocks: [{ prefix: 'o', status: 'unsupported', reason: expect.stringContaining('overflow') }] },
  });
  expect(names()).toEqual(['in', 'last']);
});

test('an ambiguous block is refused with what settles it, unless it is kept', async () => {
  // QARepVGG may add its input, for which there is no key.
  const qa = new Map([...roughBlock('qa.')].filter(([key]) => !/rbr_1x1|rbr_identity/.test(key)));
  qa.set('qa.rbr_1x1.weight', Tensor.f32([8, 8, 1, 1]));
  for (const [key, tensor] of qa) qa.set(key.replace('qa.rbr_dense.bn.', 'qa.bn.'), tensor);
  const input = await write('in', roughBlock('plain.'), qa);
  await expect(convert(input, path('out'))).rejects.toMatchObject({
    code: 'ERR_REPFUSE_BLOCK',
    details: { blocks: [{ prefix: 'qa', status: 'ambiguous', reason: expect.stringContaining("`keyless` 'qa=") }] },
  });
  const kept = await convert(input, path('out'), { keepBlocks: ['qa'] });
  expect(kept.blocks.map(({ prefix, status }) => [prefix, status])).toEqual([
    ['plain', 'converted'],
    ['qa', 'kept'],
  ]);
  const settled = await convert(input, path('settled'), { keyless: { qa: [] } });
  expect(settled.blocks.map(({ status }) => status)).toEqual(['converted', 'converted']);
});

test('a block with the tensors of two systems is refused', async () => {
  const both = roughBlock('both.');
  both.set('both.rbr_1x1.weight', Tensor.f32([8, 8, 1, 1]));
  const input = await write('in', both);
  await expect(convert(input, path('out'))).rejects.toMatchObject({
    code: 'ERR_REPFUSE_BLOCK',
    details: { blocks: [{ status: 'unsupported', reason: expect.stringContaining('both.rbr_1x1.conv.weight') }] },
  });
});

describe('told before any work', () => {
  const progress: ConvertProgress[] = [];
  const onProgress = (step: ConvertProgress) => progress.push(step);
  afterEach(() => expect(progress).toEqual([]));

  test('an output that cannot be written', async () => {
    const input = await write('in', roughBlock('a.'));
    await expect(convert(input, path('absent/out'), { onProgress })).rejects.toMatchObject({
      code: 'ERR_REPFUSE_FILE',
      message: expect.stringContaining('absent/out'),
    });
    symlinkSync(input, path('link'));
    for (const output of [input, path('link')]) {
      await expect(convert(input, output, { force: true, onProgress })).rejects.toMatchObject({
        code: 'ERR_REPFUSE_INVALID_ARGUMENT',
        message: expect.stringContaining('other than the input'),
      });
    }
  });

  test.each<[string, object]>([
    ['did you mean force?', { forse: true }],
    ['did you mean keepBlocks?', { keepBlock: ['a'] }],
    ['for eps but received -1', { eps: -1 }],
    ['for eps but received "1e-3"', { eps: '1e-3' }],
    ['for eps but received NaN', { eps: Number.NaN }],
  ])('a wrong option: %s', async (message, options) => {
    await expect(convert('in', path('out'), { ...options, onProgress })).rejects.toMatchObject({
      code: 'ERR_REPFUSE_INVALID_ARGUMENT',
      message: expect.stringContaining(message),
    });
  });
});

test('a block to keep that the file does not have is refused, with the nearest', async () => {
  const input = await write('in', roughBlock('stage1.0.'));
  await expect(convert(input, path('out'), { keepBlocks: ['stage1.O'] })).rejects.toMatchObject({
    code: 'ERR_REPFUSE_INVALID_ARGUMENT',
    message: expect.stringContaining('did you mean stage1.0?'),
  });
  await expect(convert(await write('no', OTHER_TENSORS), path('out'), { keepBlocks: ['x'] })).rejects.toThrow(
    'there is none',
  );
});

test('an existing output is refused before any work, and overwritten only by force', async () => {
  const input = await write('in', roughBlock('a.'));
  writeFileSync(path('out'), 'precious');
  await expect(convert(input, path('out'))).rejects.toMatchObject({ code: 'ERR_REPFUSE_EXISTS' });
  expect(readFileSync(path('out'), 'utf8')).toBe('precious');
  await convert(input, path('out'), { force: true });
  expect((await inspect(path('out'))).blocks[0]!.status).toBe('already-deployed');
});
