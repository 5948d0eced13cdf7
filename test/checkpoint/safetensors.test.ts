import { truncateSync } from 'node:fs';
import { readCheckpoint } from '../../lib/checkpoint/read-checkpoint';
import { readSafetensors } from '../../lib/checkpoint/safetensors/safetensors';
import { Tensor } from '../../lib/tensor/tensor';
import { memoryAccess } from '../support/memory-access';
import { refusal } from '../support/refusal';
import { temporaryFolder } from '../support/temporary';

const folder = temporaryFolder();

/** A file from the text of its header and its data; `length` is what the first eight bytes claim. */
function encode(header: string | Uint8Array, data: Uint8Array = new Uint8Array(), length?: bigint): Uint8Array {
  const json = Buffer.from(header);
  const prefix = Buffer.alloc(8);
  prefix.writeBigUInt64LE(length ?? BigInt(json.length));
  return Buffer.concat([prefix, json, data]);
}

function header(entries: Record<string, unknown>): string {
  return JSON.stringify(entries);
}

const entry = (dtype: unknown, shape: unknown, offsets: unknown) => ({ dtype, shape, data_offsets: offsets });

async function read(
  bytes: Uint8Array,
): Promise<{ tensors: Map<string, Tensor>; metadata: Readonly<Record<string, string>> }> {
  const { tensors: stored, metadata } = await readSafetensors(memoryAccess(bytes));
  const tensors = new Map<string, Tensor>();
  for (const [name, { dtype, shape, read }] of stored) tensors.set(name, new Tensor(dtype, shape, await read()));
  return { tensors, metadata };
}

describe('reading', () => {
  const data = new Uint8Array(Float32Array.of(1, -2, 3).buffer);
  const good = encode(header({ a: entry('F32', [3], [0, 12]) }), data);

  test('a header of odd length leaves the data unaligned, and they are copied (S02)', async () => {
    for (let pad = 0; pad < 8; pad++) {
      const bytes = encode(header({ a: entry('F32', [3], [0, 12]) }) + ' '.repeat(pad), data);
      // A slice of a pool at an odd offset, as Buffer.concat and small reads make them.
      for (let shift = 0; shift < 4; shift++) {
        const pool = Buffer.alloc(bytes.length + 9);
        pool.set(bytes, shift);
        const { tensors } = await read(pool.subarray(shift, shift + bytes.length));
        const got = tensors.get('a')!.data as Float32Array;
        expect([...got]).toEqual([1, -2, 3]);
        expect(got.byteOffset % 4).toBe(0);
        expect(got.buffer).not.toBe(pool.buffer);
      }
    }
  });

  test.each<[string, number, number[]]>([
    ['F64', 8, [2]],
    ['F32', 4, [1, 2]],
    ['F16', 2, [2]],
    ['BF16', 2, [2]],
    ['I64', 8, [2]],
    ['I32', 4, [2]],
    ['I16', 2, [2]],
    ['I8', 1, [2]],
    ['U8', 1, [2]],
    ['BOOL', 1, [2]],
  ])('%s', async (dtype, width, shape) => {
    const bytes = Uint8Array.from({ length: 2 * width }, (_, i) => i % 2);
    const { tensors } = await read(encode(header({ a: entry(dtype, shape, [0, 2 * width]) }), bytes));
    const got = tensors.get('a')!;
    expect(got).toMatchObject({ dtype, shape, size: 2 });
    expect([...new Uint8Array(got.data.buffer)]).toEqual([...bytes]);
  });

  test('scalars, empty tensors, metadata and names in file order', async () => {
    const entries = {
      __metadata__: { format: 'pt', '': 'x' },
      z: entry('U8', [], [0, 1]),
      empty: entry('F32', [0, 5], [1, 1]),
      a: entry('U8', [1], [1, 2]),
    };
    const { tensors, metadata } = await read(encode(header(entries), Uint8Array.of(7, 8)));
    expect([...tensors.keys()]).toEqual(['z', 'empty', 'a']);
    expect(tensors.get('z')!.shape).toEqual([]);
    expect(tensors.get('empty')!.size).toBe(0);
    expect(metadata).toEqual({ format: 'pt', '': 'x' });
  });

  test('each tensor has memory of its own', async () => {
    const entries = { a: entry('U8', [1], [0, 1]), b: entry('U8', [1], [1, 2]) };
    const { tensors } = await read(encode(header(entries), Uint8Array.of(7, 8)));
    expect(tensors.get('a')!.data.buffer.byteLength).toBe(1);
    expect(tensors.get('a')!.data.buffer).not.toBe(tensors.get('b')!.data.buffer);
  });

  test('a file without tensors', async () => {
    expect((await read(encode('{}'))).tensors.size).toBe(0);
  });

  test('a header whose length looks like the magic number of another format', async () => {
    for (const length of [0x0280, 0x8b1f]) {
      const text = header({ a: entry('F32', [3], [0, 12]) }).padEnd(length, ' ');
      const { format, tensors } = await readCheckpoint(folder.write('odd.bin', encode(text, data)));
      expect([format, tensors.size]).toEqual(['safetensors', 1]);
    }
  });

  test('keyPath does not apply', async () => {
    const error = await refusal(readCheckpoint(folder.write('flat.safetensors', good), { keyPath: ['model'] }));
    expect(error.code).toBe('ERR_REPFUSE_KEY');
  });
});

describe('hostile headers (S03) are refused before memory is taken', () => {
  const four = new Uint8Array(4);
  const one = (dtype: unknown, shape: unknown, offsets: unknown) =>
    encode(header({ a: entry(dtype, shape, offsets) }), four);
  const deep = (depth: number) => '['.repeat(depth) + ']'.repeat(depth);
  const raw = (text: string) => encode(text, four);
  const tensorText = '{"dtype":"F32","shape":[1],"data_offsets":[0,4]}';

  test.each<[string, Uint8Array, RegExp, string?]>([
    ['no bytes', new Uint8Array(), /too short/],
    ['seven bytes', new Uint8Array(7), /too short/],
    ['a length of 2^64 - 1', encode('{}', four, 2n ** 64n - 1n), /too large/],
    ['a length over the limit', encode('{}', four, 100_000_001n), /too large/],
    ['a length beyond the end', encode('{}', four, 99n), /truncated/],
    ['no header', encode('', four), /no JSON object/],
    ['a list', raw('[]'), /no JSON object/],
    ['a leading blank', raw(' {}'), /no JSON object/],
    ['a byte order mark', raw('\ufeff{}'), /no JSON object/],
    ['no JSON', raw('{"a":'), /not JSON/],
    ['JSON and more', raw('{}{}'), /not JSON/],
    ['bytes that are not UTF-8', encode(Uint8Array.of(0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d)), /UTF-8/],
    ['one name twice', raw(`{"a":${tensorText},"a":${tensorText}}`), /duplicate name "a"/],
    ['one name twice, spelt differently', raw(`{"a":${tensorText},"\\u0061":${tensorText}}`), /duplicate name "a"/],
    [
      'one field twice',
      raw('{"a":{"dtype":"F32","dtype":"I32","shape":[1],"data_offsets":[0,4]}}'),
      /duplicate name "dtype"/,
    ],
    ['metadata twice', raw(`{"__metadata__":{},"__metadata__":{},"a":${tensorText}}`), /duplicate/],
    ['metadata that is no object', raw(`{"__metadata__":[],"a":${tensorText}}`), /metadata/, '__metadata__'],
    ['metadata with a number', raw(`{"__metadata__":{"x":1},"a":${tensorText}}`), /metadata/, '__metadata__'],
    ['an entry that is no object', raw('{"a":1}'), /"a".*no object/, 'entry'],
    ['an entry that is null', raw('{"a":null}'), /"a".*no object/, 'entry'],
    ['no dtype', one(undefined, [1], [0, 4]), /dtype nothing/, 'dtype'],
    ['an unknown dtype', one('F31', [1], [0, 4]), /"F31"/, 'dtype'],
    ['a dtype of Object.prototype', one('constructor', [1], [0, 4]), /"constructor"/, 'dtype'],
    ['no shape', one('F32', undefined, [0, 4]), /shape nothing/, 'shape'],
    ['a negative size', one('F32', [-1], [0, 4]), /shape \[-1\]/, 'shape'],
    ['a size with a fraction', one('F32', [0.5], [0, 4]), /shape/, 'shape'],
    [
      'a size of 2^53 + 1',
      raw('{"a":{"dtype":"F32","shape":[9007199254740993],"data_offsets":[0,4]}}'),
      /shape/,
      'shape',
    ],
    ['a size that is text', one('F32', ['1'], [0, 4]), /shape/, 'shape'],
    [
      'a million elements in four bytes',
      one('F32', [1000, 1000], [0, 4]),
      /4000000 bytes but the offsets span 4/,
      'shape',
    ],
    ['a product beyond 2^64', one('F32', [2 ** 31, 2 ** 31, 4], [0, 4]), /"a"/, 'shape'],
    ['a product of infinity and zero', one('F32', [...Array(24).fill(2 ** 50), 0], [0, 0]), /"a"/, 'shape'],
    ['no offsets', one('F32', [1], undefined), /offsets nothing/, 'data_offsets'],
    ['one offset', one('F32', [1], [0]), /offsets \[0\]/, 'data_offsets'],
    ['begin after end', one('F32', [1], [4, 0]), /reversed/, 'data_offsets'],
    ['a negative offset', one('F32', [1], [-4, 0]), /negative/, 'data_offsets'],
    [
      'an offset of 2^53 + 1',
      raw('{"a":{"dtype":"U8","shape":[0],"data_offsets":[9007199254740993,9007199254740993]}}'),
      /offsets/,
      'data_offsets',
    ],
    ['an end beyond the file', one('F32', [2], [0, 8]), /truncated: tensor "a" ends at byte 8 of 4/, 'data_offsets'],
    ['a hole', one('U8', [3], [1, 4]), /hole of 1 bytes/, 'data_offsets'],
    [
      'an overlap',
      encode(header({ a: entry('U8', [3], [0, 3]), b: entry('U8', [2], [2, 4]) }), four),
      /"b".*overlap/,
      'data_offsets',
    ],
    ['trailing bytes', one('U8', [3], [0, 3]), /1 trailing bytes/],
  ])('%s', async (_, ...[bytes, message, field]) => {
    const error = await refusal(read(bytes));
    expect(error.code).toBe('ERR_REPFUSE_FORMAT');
    expect(error.message).toMatch(message);
    expect(error.message.length).toBeLessThan(400);
    if (field !== undefined) expect(error.details.field).toBe(field);
  });

  const texts = (count: number) => Array.from({ length: count }, (_, i) => `"${i}":"x"`).join();

  test('a large header is read in turns, and an abort ends it', async () => {
    const text = `{${Array.from({ length: 90_000 }, (_, i) => `"${i}":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}`).join()}}`;
    const file = memoryAccess(encode(text));
    let turns = 0;
    const timer = setInterval(() => turns++, 1);
    expect((await readSafetensors(file)).tensors.size).toBe(90_000);
    clearInterval(timer);
    expect(turns).toBeGreaterThan(0);
    const abort = new AbortController();
    const work = readSafetensors(file, abort.signal);
    setTimeout(() => abort.abort(new Error('enough')), 1);
    await expect(work).rejects.toThrow('enough');
  });

  test.each<[string, () => string, RegExp]>([
    [
      'a shape of a million nested lists',
      () => `{"a":{"dtype":"F32","shape":[${deep(1e6)}],"data_offsets":[0,4]}}`,
      /nested/,
    ],
    ['five million lists', () => `{"a":[${'[],'.repeat(5e6)}[]]}`, /values/],
    ['a name of a megabyte', () => `{"${'n'.repeat(1 << 20)}":1}`, /no object/],
    [
      'a name of a megabyte for a tensor',
      () => `{"${'n'.repeat(1 << 20)}":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}`,
      /1048576 characters \(limit 4096\)/,
    ],
    ['very many texts', () => `{"__metadata__":{${texts(65_537)}}}`, /more than 65536 entries/],
    [
      'too many tensors',
      () =>
        `{${Array.from({ length: 100_001 }, (_, i) => `"${i}":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}`).join()}}`,
      /more than 100000 tensors/,
    ],
  ])('%s', async (_, text, message) => {
    const error = await refusal(read(raw(text())));
    expect(error.message).toMatch(message);
    expect(error.message.length).toBeLessThan(400);
  });

  test('__proto__ is only a name', async () => {
    const { tensors } = await read(raw(`{"__proto__":${tensorText}}`));
    expect([...tensors.keys()]).toEqual(['__proto__']);
    expect(({} as { dtype?: string }).dtype).toBeUndefined();
  });

  test('a sparse file that claims a terabyte', async () => {
    const bytes = encode(header({ a: entry('U8', [2 ** 40], [0, 2 ** 40]) }));
    const path = folder.write('sparse.safetensors', bytes);
    let grown = true;
    try {
      truncateSync(path, bytes.length + 2 ** 40);
    } catch {
      grown = false; // a file system that holds no such file
    }
    const error = await refusal(readCheckpoint(path));
    expect(error.message).toMatch(grown ? /too large for memory/ : /truncated/);
  });
});
