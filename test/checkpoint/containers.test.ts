import { readCheckpoint } from '../../lib/checkpoint/read-checkpoint';
import { writeSafetensors } from '../../lib/checkpoint/safetensors/write-safetensors';
import { inspect } from '../../lib/convert';
import { elementCount, Tensor } from '../../lib/tensor/tensor';
import { refusal } from '../support/refusal';
import { roughBlock } from '../support/rough-block';
import { temporaryFolder } from '../support/temporary';
import { dict, type Item, instance, tensor, torchFile, zipArchive } from '../support/torch-file';

const folder = temporaryFolder();

function npy(values: Float32Array, shape: string): Buffer {
  const text = `{'descr': '<f4', 'fortran_order': False, 'shape': ${shape}, }`;
  const header = `${text.padEnd(117)}\n`;
  const start = Buffer.from('\x93NUMPY\x01\x00', 'latin1');
  return Buffer.concat([start, Buffer.of(header.length, 0), Buffer.from(header), Buffer.from(values.buffer)]);
}

test.each([false, true])('an .npz archive is a state dict (deflated: %s)', async (deflate) => {
  const values = Float32Array.from({ length: 1 << 15 }, (_, i) => i % 97);
  const entries = [
    { name: 'a.weight.npy', bytes: npy(values, '(256, 128)'), deflate },
    { name: 'b.npy', bytes: npy(Float32Array.of(7), '()'), deflate },
  ];
  const { format, tensors } = await readCheckpoint(folder.write('x.npz', zipArchive(entries)));
  expect(format).toBe('npz');
  expect([...tensors.keys()]).toEqual(['a.weight', 'b']);
  expect(tensors.get('a.weight')).toMatchObject({ dtype: 'F32', shape: [256, 128], data: values });
  expect(tensors.get('b')).toMatchObject({ shape: [], data: Float32Array.of(7) });
});

describe('an index of safetensors files', () => {
  const index = (weightMap: object) =>
    folder.write('model.safetensors.index.json', Buffer.from(JSON.stringify({ metadata: {}, weight_map: weightMap })));

  beforeAll(async () => {
    await writeSafetensors(folder.path('one.safetensors'), new Map([['a', Tensor.f32([2], [1, 2])]]));
    const second = new Map([
      ['b', Tensor.f32([1], [3])],
      ['extra', Tensor.f32([1], [4])],
    ]);
    await writeSafetensors(folder.path('two.safetensors'), second);
  });

  test('is read as one checkpoint; what it does not name is listed', async () => {
    const checkpoint = await readCheckpoint(index({ a: 'one.safetensors', b: 'two.safetensors' }));
    expect(checkpoint.format).toBe('safetensors-index');
    expect([...checkpoint.tensors].map(([name, { data }]) => [name, ...(data as Float32Array)])).toEqual([
      ['a', 1, 2],
      ['b', 3],
    ]);
    expect(checkpoint.skipped.map(({ path }) => path)).toEqual(['two.safetensors: extra']);
  });

  test.each([
    ['leads out of its folder', { a: '../one.safetensors' }, 'ERR_REPFUSE_FORMAT'],
    ['names an absolute path', { a: '/etc/passwd' }, 'ERR_REPFUSE_FORMAT'],
    ['names a file that is missing', { a: 'three.safetensors' }, 'ERR_REPFUSE_FILE'],
    ['names a tensor that its file lacks', { c: 'one.safetensors' }, 'ERR_REPFUSE_FORMAT'],
    ['names nothing', {}, 'ERR_REPFUSE_FORMAT'],
  ])('that %s is refused', async (_, weightMap, code) => {
    expect((await refusal(readCheckpoint(index(weightMap)))).code).toBe(code);
  });
});

test('a pickled network of an unknown class under `model` gives its weights and what its modules say (P11)', async () => {
  const own = { size: [2], stride: [1] };
  const norm = instance(
    'torch.nn.modules.batchnorm.BatchNorm2d',
    dict({
      _parameters: dict({ weight: tensor({ key: '0', ...own }) }),
      _buffers: dict({ running_var: tensor({ key: '1', ...own }) }),
      _modules: dict({}),
      eps: 3,
      padding_mode: 'zeros',
    }),
  );
  const net = instance(
    'net.Model',
    dict({ _parameters: dict({}), _buffers: dict({}), _modules: dict({ bn: norm }), padding_mode: 'reflect' }),
  );
  const bytes = torchFile(dict({ epoch: 1, model: net }), { 0: Float32Array.of(1, 2), 1: Float32Array.of(3, 4) });
  const { keyPath, tensors, modules } = await readCheckpoint(folder.write('module.pt', bytes));
  expect(keyPath).toEqual(['model']);
  expect([...tensors.keys()]).toEqual(['bn.weight', 'bn.running_var']);
  expect(modules.get('bn')).toEqual({ type: 'torch.nn.modules.batchnorm.BatchNorm2d', eps: 3 });
  expect(modules.get('')).toEqual({ type: 'net.Model', paddingMode: 'reflect' });
});

test('a whole pickled module is read as the state dict that it holds, and converted', async () => {
  const stateDict = roughBlock('stage1.0.');
  const keys = [...stateDict.keys()];
  const module = (path: string): Item => {
    const below = keys.filter((key) => key.startsWith(path)).map((key) => key.slice(path.length).split('.'));
    const own = below.filter(({ length }) => length === 1).map(([name]) => name!);
    const children = [...new Set(below.filter(({ length }) => length > 1).map(([name]) => name!))];
    const stored = (name: string) => {
      const { shape, dtype } = stateDict.get(path + name)!;
      const stride = shape.map((_, axis) => elementCount(shape.slice(axis + 1)));
      const type = dtype === 'I64' ? 'torch.LongStorage' : 'torch.FloatStorage';
      return tensor({ storage: type, key: String(keys.indexOf(path + name)), size: shape, stride });
    };
    const state = {
      _parameters: dict(own.map((name) => [name, stored(name)] as const)),
      _buffers: dict({}),
      _modules: dict(children.map((name) => [name, module(`${path}${name}.`)] as const)),
    };
    return instance('my_project.nets.Part', dict(state));
  };
  const storages = Object.fromEntries(keys.map((key, index) => [index, stateDict.get(key)!.data]));
  const bytes = torchFile(module(''), storages);
  const { keyPath, tensors } = await readCheckpoint(bytes);
  expect(keyPath).toEqual([]);
  expect(new Map([...tensors].sort())).toEqual(new Map([...stateDict].sort()));
  const { blocks } = await inspect(bytes);
  expect(blocks.map(({ prefix, status }) => ({ prefix, status }))).toEqual([
    { prefix: 'stage1.0', status: 'convertible' },
  ]);
});
