import { type ReadCheckpointOptions, readCheckpoint } from '../../lib/checkpoint/read-checkpoint';
import type { Checkpoint } from '../../lib/checkpoint/state-dict';
import { refusal } from '../support/refusal';
import { temporaryFolder } from '../support/temporary';
import { call, dict, global, type Item, pickle, storage, tensor, torchFile, tuple } from '../support/torch-file';

const folder = temporaryFolder();
let files = 0;

function read(bytes: Uint8Array, options?: ReadCheckpointOptions): Promise<Checkpoint> {
  return readCheckpoint(folder.write(`${files++}.pth`, bytes), options);
}

function readRoot(root: Item, storages: Readonly<Record<string, ArrayBufferView>> = {}): Promise<Checkpoint> {
  return read(torchFile(root, storages));
}

const SIX = Float32Array.of(0, 1, 2, 3, 4, 5);
const PAIR = { size: [2], stride: [1] };
const values = (checkpoint: Checkpoint, name: string) => Array.from(checkpoint.tensors.get(name)!.data as Float32Array);

describe('dtypes (P03)', () => {
  test.each<[string, string, ArrayBufferView]>([
    ['Double', 'F64', Float64Array.of(1.5, -2)],
    ['Float', 'F32', Float32Array.of(1.5, -2)],
    ['Half', 'F16', Uint16Array.of(0x3e00, 0xc000)],
    ['BFloat16', 'BF16', Uint16Array.of(0x3fc0, 0xc000)],
    ['Long', 'I64', BigInt64Array.of(87075n, -(2n ** 62n))],
    ['Int', 'I32', Int32Array.of(1, -2)],
    ['Short', 'I16', Int16Array.of(1, -2)],
    ['Char', 'I8', Int8Array.of(1, -2)],
    ['Byte', 'U8', Uint8Array.of(1, 254)],
    ['Bool', 'BOOL', Uint8Array.of(1, 0)],
  ])('%sStorage is %s', async (name, dtype, data) => {
    const { tensors } = await readRoot(dict({ w: tensor({ storage: `torch.${name}Storage`, ...PAIR }) }), { 0: data });
    expect(tensors.get('w')).toMatchObject({ dtype, shape: [2], data });
  });

  test('a 0-dim int64 counter keeps its value and shape', async () => {
    const counter = tensor({ storage: 'torch.LongStorage', size: [], stride: [] });
    const { tensors } = await readRoot(dict({ num_batches_tracked: counter }), { 0: BigInt64Array.of(87075n) });
    expect(tensors.get('num_batches_tracked')).toMatchObject({
      dtype: 'I64',
      shape: [],
      data: BigInt64Array.of(87075n),
    });
  });

  const v3 = (dtype: string) =>
    call(
      'torch._utils._rebuild_tensor_v3',
      storage('torch.storage.UntypedStorage', '0'),
      0,
      tuple(2),
      tuple(1),
      false,
      call('collections.OrderedDict'),
      global(dtype),
    );

  test('an untyped storage takes the dtype of the tensor', async () => {
    const { tensors } = await readRoot(dict({ w: v3('torch.int16') }), { 0: Int16Array.of(7, -7) });
    expect(tensors.get('w')).toMatchObject({ dtype: 'I16', data: Int16Array.of(7, -7) });
  });

  test.each([
    ['torch.float8_e4m3fn', 'F8_E4M3', Uint8Array.of(1, 200)],
    ['torch.float8_e5m2fnuz', 'F8_E5M2FNUZ', Uint8Array.of(1, 200)],
    ['torch.uint16', 'U16', Uint16Array.of(1, 65535)],
    ['torch.uint32', 'U32', Uint32Array.of(1, 4294967295)],
    ['torch.uint64', 'U64', BigUint64Array.of(1n, 2n ** 64n - 1n)],
  ])('%s is carried as it is', async (name, dtype, data) => {
    const { tensors } = await readRoot(dict({ w: v3(name) }), { 0: data });
    expect(tensors.get('w')).toMatchObject({ dtype, shape: [2], data });
  });

  test('complex64 is carried as it is', async () => {
    const { tensors } = await readRoot(dict({ w: tensor({ storage: 'torch.ComplexFloatStorage', ...PAIR }) }), {
      0: SIX,
    });
    expect(tensors.get('w')!.dtype).toBe('C64');
    expect([...new Float32Array(tensors.get('w')!.data.buffer, 0, 4)]).toEqual([0, 1, 2, 3]);
  });

  test.each([
    ['of double complex numbers', tensor({ storage: 'torch.ComplexDoubleStorage', ...PAIR }), /ComplexDoubleStorage/],
    ['quantised storage', tensor({ storage: 'torch.QInt8Storage', ...PAIR }), /QInt8Storage/],
    ['of bits', v3('torch.bits8'), /torch.bits8/],
    ['quantised', call('torch._utils._rebuild_qtensor', 1), /quantised/],
    ['sparse', call('torch._utils._rebuild_sparse_tensor', 1), /sparse/],
    ['of a kind yet unknown', call('torch._utils._rebuild_tensor_v9', 1), /_rebuild_tensor_v9/],
  ])('a tensor that is %s stays unread, and does not vanish; alone it is refused by name', async (_, odd, message) => {
    const { tensors, unread, skipped } = await readRoot(dict({ good: tensor(PAIR), 'layer.weight': odd }), { 0: SIX });
    expect([...tensors.keys()]).toEqual(['good']);
    expect(unread.get('layer.weight')).toMatch(message);
    expect(skipped).toEqual([{ path: 'layer.weight', what: unread.get('layer.weight') }]);
    const error = await refusal(readRoot(dict({ 'layer.weight': odd }), { 0: SIX }));
    expect(error).toMatchObject({ code: 'ERR_REPFUSE_UNSUPPORTED_FORMAT', details: { tensor: 'layer.weight' } });
    expect(error.message).toMatch(message);
    expect(error.message).toContain('"layer.weight"');
  });

  test('a tensor that is malformed is refused by name', async () => {
    const odd = call('torch._utils._rebuild_tensor_v2', 1);
    const error = await refusal(readRoot(dict({ good: tensor(PAIR), 'layer.weight': odd }), { 0: SIX }));
    expect(error).toMatchObject({ code: 'ERR_REPFUSE_UNSUPPORTED_FORMAT', details: { tensor: 'layer.weight' } });
    expect(error.message).toMatch(/_rebuild_tensor_v2/);
  });
});

describe('parameters and buffers (P01)', () => {
  const parameter = (...rest: Item[]) => call('torch._utils._rebuild_parameter', tensor(PAIR), true, ...rest);

  test('every tensor is read, however it is wrapped', async () => {
    const checkpoint = await readRoot(
      dict({
        buffer: tensor(PAIR),
        parameter: parameter(call('collections.OrderedDict')),
        'with state': call('torch._utils._rebuild_parameter_with_state', tensor(PAIR), true, null, dict({ tag: 1 })),
        constructed: call('torch.nn.parameter.Parameter', tensor(PAIR), true),
        'with attributes': call(
          'torch._tensor._rebuild_from_type_v2',
          global('torch._utils._rebuild_tensor_v2'),
          global('torch.Tensor'),
          tuple(storage('torch.FloatStorage', '0'), 0, tuple(2), tuple(1), false, null),
          dict({ tag: 1 }),
        ),
      }),
      { 0: SIX },
    );
    expect([...checkpoint.tensors.keys()]).toEqual([
      'buffer',
      'parameter',
      'with state',
      'constructed',
      'with attributes',
    ]);
    for (const name of checkpoint.tensors.keys()) expect(values(checkpoint, name)).toEqual([0, 1]);
    expect(checkpoint.skipped).toEqual([]);
  });

  test('an OrderedDict with its metadata, and one made from pairs', async () => {
    const ordered = Buffer.concat([
      call('collections.OrderedDict'),
      Buffer.from('('),
      ...['b', 'a'].flatMap((name) => [Buffer.concat([pickle(name).subarray(2, -1)]), tensor(PAIR)]),
      Buffer.from('u'),
      dict({ _metadata: 1 }),
      Buffer.from('b'),
    ]);
    expect([...(await readRoot(ordered, { 0: SIX })).tensors.keys()]).toEqual(['b', 'a']);
    const pairs = call('collections.OrderedDict', [['b', tensor(PAIR)], tuple('a', tensor(PAIR))]);
    expect([...(await readRoot(pairs, { 0: SIX })).tensors.keys()]).toEqual(['b', 'a']);
  });
});

describe('strides (P04)', () => {
  test('a transposed window is gathered row by row', async () => {
    const checkpoint = await readRoot(dict({ w: tensor({ size: [2, 3], stride: [1, 2] }) }), { 0: SIX });
    expect(checkpoint.tensors.get('w')!.shape).toEqual([2, 3]);
    expect(values(checkpoint, 'w')).toEqual([0, 2, 4, 1, 3, 5]);
  });

  test('stride 0 repeats; offsets and steps count in elements', async () => {
    const checkpoint = await readRoot(
      dict({
        expanded: tensor({ offset: 5, size: [2, 2], stride: [0, 0] }),
        rows: tensor({ size: [2, 3], stride: [0, 1] }),
        stepped: tensor({ offset: 1, size: [2], stride: [3] }),
        'one element': tensor({ offset: 3, size: [1, 1], stride: [99, 7] }),
        scalar: tensor({ offset: 4, size: [], stride: [] }),
        empty: tensor({ offset: 99, size: [0, 3], stride: [3, 1] }),
      }),
      { 0: SIX },
    );
    expect(values(checkpoint, 'expanded')).toEqual([5, 5, 5, 5]);
    expect(values(checkpoint, 'rows')).toEqual([0, 1, 2, 0, 1, 2]);
    expect(values(checkpoint, 'stepped')).toEqual([1, 4]);
    expect(values(checkpoint, 'one element')).toEqual([3]);
    expect(values(checkpoint, 'scalar')).toEqual([4]);
    expect(checkpoint.tensors.get('empty')).toMatchObject({ shape: [0, 3], size: 0 });
  });

  test('every permutation of a 4-dim tensor, against a plain index formula', async () => {
    const shape = [2, 3, 4, 5];
    const strides = [60, 20, 5, 1];
    const data = Float64Array.from({ length: 120 }, (_, i) => i);
    for (const order of permutations([0, 1, 2, 3])) {
      const spec = {
        storage: 'torch.DoubleStorage',
        size: order.map((axis) => shape[axis]!),
        stride: order.map((axis) => strides[axis]!),
      };
      const { tensors } = await readRoot(dict({ w: tensor(spec) }), { 0: data });
      const expected: number[] = [];
      const visit = (axis: number, at: number): void => {
        if (axis === 4) expected.push(at);
        else for (let i = 0; i < spec.size[axis]!; i++) visit(axis + 1, at + i * spec.stride[axis]!);
      };
      visit(0, 0);
      expect(Array.from(tensors.get('w')!.data as Float64Array)).toEqual(expected);
    }
  });

  test('a signalling NaN keeps its bits through a gather', async () => {
    const bits = Uint32Array.of(0x7f800001, 0, 0xffc12345, 0);
    const { tensors } = await readRoot(dict({ w: tensor({ size: [2], stride: [2] }) }), { 0: bits });
    const { data } = tensors.get('w')!;
    expect([...new Uint32Array(data.buffer, data.byteOffset, 2)]).toEqual([0x7f800001, 0xffc12345]);
  });

  test('windows of one storage share its memory, a gathered one is alone', async () => {
    const { tensors } = await readRoot(
      dict({
        whole: tensor({ size: [6], stride: [1] }),
        tied: tensor({ size: [2, 3], stride: [3, 1] }),
        part: tensor({ offset: 2, ...PAIR }),
        other: tensor({ key: '1', ...PAIR }),
        gathered: tensor({ size: [3], stride: [2] }),
      }),
      { 0: SIX, 1: Float32Array.of(8, 9) },
    );
    const buffer = (name: string) => tensors.get(name)!.data.buffer;
    expect(buffer('tied')).toBe(buffer('whole'));
    expect(buffer('part')).toBe(buffer('whole'));
    expect(buffer('other')).not.toBe(buffer('whole'));
    expect(buffer('gathered')).not.toBe(buffer('whole'));
    expect(buffer('whole').byteLength).toBe(24);
    (tensors.get('whole')!.data as Float32Array)[2] = 42;
    expect(Array.from(tensors.get('part')!.data as Float32Array)).toEqual([42, 3]);
    expect(Array.from(tensors.get('gathered')!.data as Float32Array)).toEqual([0, 2, 4]);
  });
});

function permutations(items: readonly number[]): number[][] {
  if (items.length < 2) return [[...items]];
  return items.flatMap((item) => permutations(items.filter((other) => other !== item)).map((rest) => [item, ...rest]));
}

describe('windows out of bounds (P07)', () => {
  const huge = 2n ** 53n;
  test.each<[string, Parameters<typeof tensor>[0], RegExp]>([
    [
      'a million elements on four bytes',
      { size: [1000, 1000], stride: [1000, 1] },
      /out of the bounds of storage data\/0/,
    ],
    ['an offset beyond the end', { offset: 1, size: [1], stride: [1] }, /bounds/],
    ['a stride beyond the end', { size: [2], stride: [1] }, /bounds/],
    ['a stride that overflows', { size: [2, 2], stride: [2 ** 52, 2 ** 52] }, /bounds/],
    ['an offset that overflows', { offset: 2 ** 53 - 1, size: [1], stride: [1] }, /bounds/],
    ['a negative offset', { offset: -1, size: [1], stride: [1] }, /offset -1 is negative/],
    ['a negative size', { size: [-1], stride: [1] }, /shape -1 is negative/],
    ['a negative stride', { size: [1], stride: [-1] }, /stride -1 is negative/],
    ['an expanded scalar of 2^61 elements', { size: [2 ** 31, 2 ** 30], stride: [0, 0] }, /too large/],
    ['an expanded scalar of 8 GiB', { size: [2 ** 31], stride: [0] }, /too large/],
    ['no elements in a shape that overflows', { size: [0, 2 ** 50, 2 ** 50], stride: [0, 0, 0] }, /too large/],
    ['sizes beyond any number', { size: Array(60).fill(2 ** 50), stride: Array(60).fill(0) }, /too large/],
    ['a size of 2^53', { size: [huge], stride: [0] }, /too large/],
    ['a size of 2^1000', { size: [10n ** 300n], stride: [0] }, /too large/],
    ['a size that is no integer', { size: [1.5], stride: [1] }, /no integer/],
    ['a size that is a float', { size: [Buffer.from('F1.0\n')], stride: [1] }, /no integer/],
    ['a size that is text', { size: ['1'], stride: [1] }, /no integer/],
    ['more sizes than strides', { size: [1, 1], stride: [1] }, /different lengths/],
    ['a hundred dimensions', { size: Array(100).fill(1), stride: Array(100).fill(1) }, /dimensions/],
    ['a storage that is missing', { key: '7', size: [1], stride: [1] }, /data\/7 is missing/],
    ['a storage that is another file', { key: '../data.pkl', size: [1], stride: [1] }, /missing/],
  ])('%s', async (_, spec, message) => {
    const before = process.memoryUsage().arrayBuffers;
    const error = await refusal(readRoot(dict({ 'layer.weight': tensor(spec) }), { 0: Float32Array.of(1) }));
    expect(error.message).toMatch(message);
    expect(error).toMatchObject({ code: 'ERR_REPFUSE_FORMAT', details: { tensor: 'layer.weight' } });
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(1 << 24);
  });

  test('many windows that only together are too large', async () => {
    const names = Array.from({ length: 40 }, (_, i) => [`w${i}`, tensor({ size: [1 << 20], stride: [0] })] as const);
    const error = await refusal(readRoot(dict(names), { 0: Float32Array.of(1) }));
    expect(error.message).toMatch(/too large for this file/);
  });

  test('a storage that is no storage', async () => {
    const bogus = call('torch._utils._rebuild_tensor_v2', null, 0, tuple(1), tuple(1), false, null);
    expect((await refusal(readRoot(dict({ 'layer.weight': bogus })))).message).toMatch(/no storage/);
  });
});
