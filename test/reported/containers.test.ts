import { copyFileSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { basename } from 'node:path';
import { convert, inspect, readCheckpoint, verify, writeNpz, writeTorch } from '../../lib';
import { DTYPES, type DType } from '../../lib/tensor/dtype';
import { Tensor } from '../../lib/tensor/tensor';
import { workplace } from '../convert/workplace';
import { refusal } from '../support/refusal';
import { reportedPath } from '../support/reported';
import { roughBlock } from '../support/rough-block';
import { call, dict, type Item, storage, tensor, torchFile, tuple } from '../support/torch-file';

const { path, write } = workplace();

describe('containers of point 8', () => {
  test.each([
    ['Q40', 'repvgg-numpy.pdparams', 'pickle', 'stage1.0'],
    ['Q43', 'complex-beside-repvgg.pth', 'torch-zip', 'stage1.0'],
    ['Q44', 'f8-beside-repvgg.safetensors', 'safetensors', 'stage1.0'],
    ['Q46', 'sharded-bin/pytorch_model.bin.index.json', 'torch-index', 'stage1.0'],
    ['Q48', 'backbone-and-head.pth', 'torch-zip', 'backbone.stage1.0'],
  ])('%s: %s is converted, to every format', async (_, file, format, prefix) => {
    for (const name of ['out.safetensors', 'out.pth', 'out.npz']) {
      const report = await convert(reportedPath(file), path(name), { verify: true });
      expect(report.format).toBe(format);
      expect(report.blocks.map((block) => [block.prefix, block.status])).toEqual([[prefix, 'converted']]);
      expect(report.verification).toMatchObject({ equal: true, otherTensors: [] });
    }
  });

  test('what is not computed with is in the output byte for byte', async () => {
    const before = await readCheckpoint(reportedPath('f8-beside-repvgg.safetensors'));
    await convert(reportedPath('f8-beside-repvgg.safetensors'), path('x.pth'));
    const after = await readCheckpoint(path('x.pth'));
    expect(after.tensors.get('extra.f8')).toEqual(before.tensors.get('extra.f8'));
    expect(after.tensors.get('extra.f8')!.dtype).toBe('F8_E4M3');
  });

  test('a head beside its backbone: both are there, and what lies beside them is told', async () => {
    const report = await convert(reportedPath('backbone-and-head.pth'), path('x.pth'));
    expect(report.skipped).toEqual([{ path: 'epoch', what: 'number 1' }]);
    const { tensors } = await readCheckpoint(path('x.pth'));
    expect([...tensors.keys()].sort()).toEqual([
      'backbone.linear.weight',
      'backbone.stage1.0.rbr_reparam.bias',
      'backbone.stage1.0.rbr_reparam.weight',
      'head.fc.bias',
      'head.fc.weight',
    ]);
    const part = await readCheckpoint(reportedPath('backbone-and-head.pth'), { keyPath: ['head'] });
    expect([...part.tensors.keys()]).toEqual(['fc.weight', 'fc.bias']);
  });
});

describe('types that are not computed with', () => {
  const carried = (Object.keys(DTYPES) as DType[]).filter((dtype) => !DTYPES[dtype].floating);

  test.each(carried)('%s beside a block is carried; within it makes it unsupported', async (dtype) => {
    const { array, bytes } = DTYPES[dtype];
    const raw = (shape: number[]) => {
      const size = shape.reduce((a, b) => a * b, 1);
      const bits = Uint8Array.from({ length: size * bytes }, (_, i) => (dtype === 'BOOL' ? i % 2 : (i * 37 + 1) % 256));
      return new Tensor(dtype, shape, new array(bits.buffer, 0, size));
    };
    const file = await write('a.safetensors', roughBlock('a.'), [['extra', raw([2, 3])]]);
    for (const name of ['out.safetensors', 'out.pth', 'out.npz']) {
      const report = await convert(file, path(name), { verify: true, dtype: name === 'out.npz' ? 'f16' : undefined });
      expect(report.blocks.map(({ status }) => status)).toEqual(['converted']);
      expect(report.verification!.equal).toBe(true);
      const kept = (await readCheckpoint(path(name))).tensors.get('extra');
      if (kept === undefined) expect(report.notes.join()).toMatch(/left out.*npz cannot hold.*extra/);
      else expect(kept).toEqual(raw([2, 3]));
      expect(kept === undefined).toBe(name === 'out.npz' && dtype.startsWith('F8'));
    }
    const within = await write('b.safetensors', roughBlock('a.'), [['a.rbr_1x1.conv.weight', raw([8, 8, 1, 1])]]);
    const [block] = (await inspect(within)).blocks;
    expect(block).toMatchObject({ prefix: 'a', status: 'unsupported' });
    expect(block!.reason).toMatch(new RegExp(`^a\\.rbr_1x1\\.conv\\.weight: dtype ${dtype} `));
  });

  const own = (key: string, ...size: number[]) =>
    tensor({ key, size, stride: size.map((_, axis) => size.slice(axis + 1).reduce((a, b) => a * b, 1)) });
  const [storages, block]: [Record<string, Float32Array>, [string, Item][]] = [{}, []];
  for (const [name, { shape, data, dtype }] of roughBlock('a.'))
    if (dtype === 'F32') {
      storages[name] = data as Float32Array;
      block.push([name, own(name, ...shape)]);
    }
  const unread: [string, Item, RegExp][] = [
    ['quantised', call('torch._utils._rebuild_qtensor', storage('torch.QInt8Storage', '0'), 0, tuple(1)), /quantised/],
    ['sparse', call('torch._utils._rebuild_sparse_tensor', 1), /sparse/],
    ['without data', call('torch._utils._rebuild_meta_tensor_no_storage', 1), /_rebuild_meta_tensor_no_storage/],
  ];

  test.each(unread)(
    'a tensor that is %s is left out and told; a block that has it is unsupported',
    async (_, odd, what) => {
      writeFileSync(path('a.pth'), torchFile(dict([...block, ['extra', odd]]), storages));
      const report = await convert(path('a.pth'), path('out.pth'), { verify: true });
      expect(report.blocks.map(({ status }) => status)).toEqual(['converted']);
      expect(report.skipped).toEqual([{ path: 'extra', what: expect.stringMatching(what) }]);
      expect(report.verification).toMatchObject({ equal: true, notes: [expect.stringMatching(/not compared: extra/)] });

      const rest: (readonly [string, Item])[] = block.map(([name, item]): [string, Item] => [
        name,
        name === 'a.rbr_dense.conv.weight' ? odd : item,
      ]);
      writeFileSync(path('b.pth'), torchFile(dict(rest), storages));
      expect((await inspect(path('b.pth'))).blocks).toMatchObject([
        { prefix: 'a', status: 'unsupported', reason: expect.stringMatching(/^a\.rbr_dense\.conv\.weight is /) },
      ]);
      const error = await refusal(convert(path('b.pth'), path('b.out.pth')));
      expect(error.code).toBe('ERR_REPFUSE_BLOCK');
    },
  );

  test('packed types of safetensors are left out and told', async () => {
    const file = await write('a.safetensors', roughBlock('a.'), [
      ['extra', new Tensor('U8', [3], Uint8Array.of(1, 2, 3))],
    ]);
    const bytes = readFileSync(file);
    writeFileSync(
      file,
      Buffer.from(bytes.toString('latin1').replace('"U8","shape":[3]', '"F4","shape":[6]'), 'latin1'),
    );
    const report = await convert(file, path('out.safetensors'), { verify: true });
    expect(report.skipped).toEqual([{ path: 'extra', what: 'a tensor of type F4' }]);
    expect(report.verification!.equal).toBe(true);
  });
});

describe('shards of torch with an index', () => {
  const PARTS = [1, 2].map((part) => `pytorch_model-0000${part}-of-00002.bin`);
  const INDEX = 'pytorch_model.bin.index.json';
  beforeEach(() => {
    for (const part of [...PARTS, INDEX]) copyFileSync(reportedPath(`sharded-bin/${part}`), path(part));
  });
  const index = (change: (weightMap: Record<string, unknown>, all: Record<string, unknown>) => unknown) => {
    const all = JSON.parse(readFileSync(path(INDEX), 'utf8'));
    writeFileSync(path(INDEX), JSON.stringify(change(all.weight_map, all) ?? all));
    return readCheckpoint(path(INDEX));
  };

  test.each([
    ['../x.bin', /"\.\.\/x\.bin" is no file name/],
    ['/etc/passwd', /no file name/],
    ['a\\b', /no file name/],
    ['..', /no file name/],
    [7, /no file name/],
  ])('a shard called %j is refused', async (name, message) => {
    const error = await refusal(
      index((map) => {
        map.x = name;
      }),
    );
    expect(error).toMatchObject({ code: 'ERR_REPFUSE_FORMAT', details: { tensor: 'x' } });
    expect(error.message).toMatch(message);
  });

  test('names of Object.prototype are only names', async () => {
    for (const name of ['__proto__', 'constructor', 'toString']) {
      writeFileSync(path(INDEX), `{"weight_map": {${JSON.stringify(name)}: ${JSON.stringify(PARTS[0])}}}`);
      const error = await refusal(readCheckpoint(path(INDEX)));
      expect(error).toMatchObject({ code: 'ERR_REPFUSE_FORMAT', details: { tensor: name, shard: PARTS[0] } });
    }
  });

  test.each([
    ['a name twice', `{"weight_map": {"a": "x", "a": "y"}}`, /duplicate name "a"/],
    ['no map', '{"metadata": {}}', /weight_map is no object/],
    ['a list for a map', '{"weight_map": []}', /weight_map is no object/],
    ['a cut', '{"weight_map": {"a": "b"', /no JSON/],
    ['metadata that are null', `{"metadata": null, "weight_map": {"a": "x"}}`, /x/],
  ])('an index with %s is refused', async (_, text, message) => {
    writeFileSync(path(INDEX), text);
    expect((await refusal(readCheckpoint(path(INDEX)))).message).toMatch(message);
  });

  test('an index that names itself', async () => {
    const error = await refusal(
      index((map) => {
        for (const name of Object.keys(map)) map[name] = INDEX;
      }),
    );
    expect(error).toMatchObject({ code: 'ERR_REPFUSE_FORMAT', details: { shard: INDEX } });
  });

  test('what a shard has and the index does not name is told, not taken', async () => {
    const { tensors, skipped } = await index((map) => {
      delete map['linear.weight'];
    });
    expect(tensors.has('linear.weight')).toBe(false);
    expect(skipped.map(({ path: where }) => where)).toEqual([`${PARTS[1]}: linear.weight`]);
  });

  test('shards of safetensors and of torch mix', async () => {
    const { tensors } = await readCheckpoint(path(PARTS[1]!));
    await write(PARTS[1]!, tensors);
    expect((await readCheckpoint(path(INDEX))).tensors.size).toBe(18);
  });
});

describe('parts of one network', () => {
  const set = (names: string[], key = '0') =>
    dict(names.map((name) => [name, tensor({ key, size: [2], stride: [1] })] as const));
  const read = async (root: Item, keyPath?: string[]) => {
    writeFileSync(path('parts.pth'), torchFile(root, { 0: Float32Array.of(1, 2) }));
    const { keyPath: found, tensors, alternatives } = await readCheckpoint(path('parts.pth'), { keyPath });
    return { keyPath: found, names: [...tensors.keys()], alternatives };
  };

  test.each<[string, Item, string[], string[]]>([
    [
      'backbone, neck and head',
      dict({ backbone: set(['a']), neck: set(['b']), bbox_head: set(['c']) }),
      [],
      ['backbone.a', 'neck.b', 'bbox_head.c'],
    ],
    [
      'under a customary name',
      dict({ model: dict({ encoder: set(['a']), decoder: set(['b']) }), step: 1 }),
      ['model'],
      ['encoder.a', 'decoder.b'],
    ],
    [
      'beside an optimizer',
      dict({ backbone: set(['a']), head: set(['b']), optimizer: dict({ state: set(['m']) }) }),
      [],
      ['backbone.a', 'head.b'],
    ],
  ])('%s', async (_, root, keyPath, names) => {
    expect(await read(root)).toEqual({ keyPath, names, alternatives: [] });
  });

  test('averaged weights in parts come before plain ones in parts', async () => {
    const parts = dict({ backbone: set(['a']), head: set(['b']) });
    const other = dict({ backbone: set(['a']), head: set(['b']) });
    expect(await read(dict({ model: parts, ema: other }))).toEqual({
      keyPath: ['ema'],
      names: ['backbone.a', 'head.b'],
      alternatives: [['model']],
    });
    expect((await read(dict({ model: parts, ema: other }), ['model'])).names).toEqual(['backbone.a', 'head.b']);
  });

  test.each<[string, Item]>([
    ['a generator and a discriminator', dict({ generator: set(['a']), discriminator: set(['b']) })],
    ['one encoder twice', dict({ encoder_q: set(['a']), encoder_k: set(['a']) })],
  ])('%s: which one is a matter for the caller', async (_, root) => {
    const error = await refusal(read(root));
    expect(error).toMatchObject({ code: 'ERR_REPFUSE_AMBIGUOUS', details: { option: 'keyPath' } });
  });
});

describe('a cut file is named by tensor, bytes needed and bytes left', () => {
  test.each([
    'repvgg-numpy.pdparams',
    'f8-beside-repvgg.safetensors',
    'sharded-bin/pytorch_model-00001-of-00002.bin',
    'complex-beside-repvgg.pth',
  ])('%s', async (file) => {
    const bytes = readFileSync(reportedPath(file));
    const cut = path(basename(file));
    const known = new Set((await readCheckpoint(reportedPath(file))).tensors.keys());
    for (const share of [0.5, 0.6, 0.7]) {
      writeFileSync(cut, bytes);
      truncateSync(cut, Math.floor(bytes.length * share));
      const error = await refusal(readCheckpoint(cut));
      expect(error.message).toMatch(/truncated/);
      const { tensor: name, needed, left } = error.details as { tensor: string; needed: number; left: number };
      expect(known.has(name)).toBe(true);
      expect(needed).toBeGreaterThan(left);
      for (const fact of [name, String(left)]) expect(error.message).toContain(fact);
    }
  });

  test('an archive that lacks only its directory', async () => {
    const bytes = readFileSync(reportedPath('complex-beside-repvgg.pth'));
    writeFileSync(path('cut.pth'), bytes.subarray(0, bytes.length - 500));
    expect((await refusal(readCheckpoint(path('cut.pth')))).message).toMatch(
      /truncated: .* directory .* \d+ whole entries/,
    );
  });

  test.each(['cut.npz', 'cut.pth'])('our own %s', async (name) => {
    const tensors = new Map([
      ['first', Tensor.f32([4])],
      ['second', Tensor.f32([1000])],
      ['third', Tensor.f32([4])],
    ]);
    await (name === 'cut.npz' ? writeNpz : writeTorch)(path(name), tensors);
    truncateSync(path(name), readFileSync(path(name)).length - 3000);
    const error = await refusal(readCheckpoint(path(name)));
    expect(error.details).toMatchObject({ tensor: 'second', needed: expect.any(Number), left: expect.any(Number) });
    expect(error.message).toMatch(/truncated.*"second"/);
  });

  test('an index whose shard is cut', async () => {
    const index = 'pytorch_model.bin.index.json';
    for (const part of ['pytorch_model-00001-of-00002.bin', 'pytorch_model-00002-of-00002.bin', index])
      copyFileSync(reportedPath(`sharded-bin/${part}`), path(part));
    truncateSync(path('pytorch_model-00002-of-00002.bin'), 2000);
    const error = await refusal(verify(path(index), path(index)));
    expect(error.details).toMatchObject({ shard: 'pytorch_model-00002-of-00002.bin', tensor: expect.any(String) });
    expect(error.message).toMatch(/truncated/);
  });
});
