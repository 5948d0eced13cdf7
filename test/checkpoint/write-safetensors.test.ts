import { existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { readCheckpoint } from '../../lib/checkpoint/read-checkpoint';
import { writeSafetensors } from '../../lib/checkpoint/safetensors/write-safetensors';
import { DTYPES, type DType } from '../../lib/tensor/dtype';
import { Tensor } from '../../lib/tensor/tensor';
import { fixturePath, readFixtureTensors } from '../support/fixtures';
import { Random } from '../support/random';
import { refusal } from '../support/refusal';
import { temporaryFolder } from '../support/temporary';

const folder = temporaryFolder();
let folders = 0;

/** An empty folder, so that a left-over temporary file is seen. */
function emptyFolder(): string {
  const path = folder.path(`out${folders++}`);
  mkdirSync(path);
  return path;
}

const leftIn = (path: string) => readdirSync(dirname(path));
const one = new Map([['a', Tensor.f32([2], [1, 2])]]);

/** A tensor of random bits. */
function randomTensor(random: Random, dtype: DType): Tensor {
  const shape = Array.from({ length: random.int(0, 4) }, () => random.int(0, 5));
  const size = shape.reduce((product, dim) => product * dim, 1);
  const { array, bytes } = DTYPES[dtype];
  const bits = Uint8Array.from({ length: size * bytes }, () => random.int(0, dtype === 'BOOL' ? 1 : 255));
  return new Tensor(dtype, shape, new array(bits.buffer, 0, size));
}

const bytesOf = ({ data }: Tensor) => Buffer.from(data.buffer, data.byteOffset, data.byteLength);

describe('round trips', () => {
  test('every dtype, shape and bit pattern comes back', async () => {
    const random = new Random(7);
    for (let round = 0; round < 40; round++) {
      const dtypes = Object.keys(DTYPES) as DType[];
      const names = ['a', '__proto__', 'constructor', 'ä€😀', 'with "quotes" \\ and\nlines', '0', '', 'module', 'x.y'];
      const tensors = new Map(names.map((name) => [name, randomTensor(random, random.pick(dtypes))]));
      const file = `${emptyFolder()}/x.safetensors`;
      await writeSafetensors(file, tensors, { metadata: { __proto__x: 'y', 'ä"': '😀' } });
      const checkpoint = await readCheckpoint(file, { prefix: '' });
      expect([...checkpoint.tensors.keys()].sort()).toEqual([...names].sort());
      expect(checkpoint.metadata).toEqual({ __proto__x: 'y', 'ä"': '😀' });
      for (const [name, want] of tensors) {
        const got = checkpoint.tensors.get(name)!;
        expect([got.dtype, got.shape]).toEqual([want.dtype, want.shape]);
        expect(bytesOf(got).equals(bytesOf(want))).toBe(true);
      }
    }
  });

  test('another reader sees the same', async () => {
    const { tensors } = await readCheckpoint(fixturePath('checkpoints', 'repvgg-plain.pth'));
    const file = `${emptyFolder()}/x.safetensors`;
    await writeSafetensors(file, tensors);
    const read = readFixtureTensors(file);
    expect([...read.keys()].sort()).toEqual([...tensors.keys()].sort());
    for (const [name, want] of tensors) expect(read.get(name)).toMatchObject({ shape: want.shape, data: want.data });
  });

  test('a view of a larger buffer writes only itself', async () => {
    const view = new Float32Array(new Float32Array([9, 1, 2, 9]).buffer, 4, 2);
    const file = `${emptyFolder()}/x.safetensors`;
    await writeSafetensors(file, new Map([['a', Tensor.f32([2], view)]]));
    const { tensors } = await readCheckpoint(file);
    expect([...(tensors.get('a')!.data as Float32Array)]).toEqual([1, 2]);
  });
});

describe('layout', () => {
  test('data begin at 64 bytes, wide elements first, without holes; equal input gives equal bytes', async () => {
    const tensors = new Map<string, Tensor>([
      ['u8', new Tensor('U8', [3], Uint8Array.of(1, 2, 3))],
      ['f16', new Tensor('F16', [1], Uint16Array.of(4))],
      ['z', Tensor.f32([1], [5])],
      ['counter', new Tensor('I64', [], BigInt64Array.of(6n))],
      ['a', Tensor.f32([1], [7])],
    ]);
    const path = emptyFolder();
    await writeSafetensors(`${path}/x`, tensors, { metadata: { a: 'b' } });
    await writeSafetensors(`${path}/y`, new Map(tensors), { metadata: { a: 'b' } });
    const bytes = readFileSync(`${path}/x`);
    expect(bytes.equals(readFileSync(`${path}/y`))).toBe(true);
    const length = Number(bytes.readBigUInt64LE(0));
    expect((8 + length) % 64).toBe(0);
    const header = JSON.parse(bytes.toString('utf8', 8, 8 + length));
    expect(Object.keys(header)).toEqual(['__metadata__', 'counter', 'z', 'a', 'f16', 'u8']);
    expect(Object.values<{ data_offsets?: number[] }>(header).map((entry) => entry.data_offsets)).toEqual([
      undefined,
      [0, 8],
      [8, 12],
      [12, 16],
      [16, 18],
      [18, 21],
    ]);
    expect(bytes.length).toBe(8 + length + 21);
  });
});

describe('the file appears whole or not at all', () => {
  test('an existing file is left alone without force', async () => {
    const file = `${emptyFolder()}/x.safetensors`;
    writeFileSync(file, 'mine');
    const error = await refusal(writeSafetensors(file, one));
    expect(error).toMatchObject({ code: 'ERR_REPFUSE_EXISTS', details: { file } });
    expect(readFileSync(file, 'utf8')).toBe('mine');
    expect(leftIn(file)).toEqual(['x.safetensors']);
    await writeSafetensors(file, one, { force: true });
    expect((await readCheckpoint(file)).tensors.size).toBe(1);
    expect(leftIn(file)).toEqual(['x.safetensors']);
  });

  test('a dangling link is a name that is taken', async () => {
    const file = `${emptyFolder()}/x.safetensors`;
    symlinkSync('nowhere', file);
    expect((await refusal(writeSafetensors(file, one))).code).toBe('ERR_REPFUSE_EXISTS');
  });

  test('a file that appears while writing is not overwritten', async () => {
    const file = `${emptyFolder()}/x.safetensors`;
    const onProgress = () => writeFileSync(file, 'theirs');
    expect((await refusal(writeSafetensors(file, one, { onProgress }))).code).toBe('ERR_REPFUSE_EXISTS');
    expect(readFileSync(file, 'utf8')).toBe('theirs');
    expect(leftIn(file)).toEqual(['x.safetensors']);
  });

  test('of eight writers at once, one wins and the others are told', async () => {
    const file = `${emptyFolder()}/x.safetensors`;
    const writers = Array.from({ length: 8 }, (_, i) =>
      writeSafetensors(file, new Map([['a', Tensor.f32([1000], new Float32Array(1000).fill(i))]])).then(
        () => i,
        (error) => error.code,
      ),
    );
    const results = await Promise.all(writers);
    const winners = results.filter((result) => typeof result === 'number');
    expect(winners).toHaveLength(1);
    expect(results.filter((result) => result === 'ERR_REPFUSE_EXISTS')).toHaveLength(7);
    const { tensors } = await readCheckpoint(file);
    expect(new Set(tensors.get('a')!.data as Float32Array)).toEqual(new Set(winners));
    expect(leftIn(file)).toEqual(['x.safetensors']);
  });

  test('with force, eight writers at once leave one whole file', async () => {
    const file = `${emptyFolder()}/x.safetensors`;
    const write = (i: number) =>
      writeSafetensors(file, new Map([['a', Tensor.f32([1000], new Float32Array(1000).fill(i))]]), { force: true });
    await Promise.all(Array.from({ length: 8 }, (_, i) => write(i)));
    expect(new Set((await readCheckpoint(file)).tensors.get('a')!.data as Float32Array).size).toBe(1);
    expect(leftIn(file)).toEqual(['x.safetensors']);
  });

  test('an abort before, during and at the end removes the temporary file', async () => {
    const tensors = new Map(Array.from({ length: 5 }, (_, i) => [`t${i}`, Tensor.f32([1 << 17])]));
    for (const stop of [0, 2, 5]) {
      const file = `${emptyFolder()}/x.safetensors`;
      const controller = new AbortController();
      const enough = new Error('enough');
      let calls = 0;
      const onProgress = () => {
        if (calls++ === stop) controller.abort(enough);
      };
      const writing = writeSafetensors(file, tensors, { signal: controller.signal, onProgress });
      await expect(writing).rejects.toBe(enough);
      expect(readdirSync(dirname(file))).toEqual([]);
    }
    const file = `${emptyFolder()}/x.safetensors`;
    await expect(writeSafetensors(file, tensors, { signal: AbortSignal.abort('never') })).rejects.toBe('never');
  });

  test('an error of the progress function comes through, and nothing is left', async () => {
    const file = `${emptyFolder()}/x.safetensors`;
    const onProgress = () => {
      throw new TypeError('mine');
    };
    await expect(writeSafetensors(file, one, { onProgress })).rejects.toThrow('mine');
    expect(leftIn(file)).toEqual([]);
  });

  test('a folder that is missing, or in the way', async () => {
    const path = emptyFolder();
    const missing = await refusal(writeSafetensors(`${path}/none/x.safetensors`, one));
    expect(missing).toMatchObject({ code: 'ERR_REPFUSE_FILE', cause: { code: 'ENOENT' } });
    mkdirSync(`${path}/taken`);
    const taken = await refusal(writeSafetensors(`${path}/taken`, one, { force: true }));
    expect(taken.code).toBe('ERR_REPFUSE_FILE');
    expect(readdirSync(path)).toEqual(['taken']);
  });

  test.each<[string, Map<string, Tensor>, Record<string, unknown>]>([
    ['a tensor called __metadata__', new Map([['__metadata__', Tensor.f32([1])]]), {}],
    ['metadata that is no text', one, { a: 1 }],
  ])('%s is refused before anything is written', async (_, tensors, metadata) => {
    const file = `${emptyFolder()}/x.safetensors`;
    const error = await refusal(writeSafetensors(file, tensors, { metadata: metadata as Record<string, string> }));
    expect(error.code).toBe('ERR_REPFUSE_INVALID_ARGUMENT');
    expect(existsSync(file)).toBe(false);
    expect(leftIn(file)).toEqual([]);
  });
});

test('progress counts the bytes of the file', async () => {
  const file = `${emptyFolder()}/x.safetensors`;
  const seen: { phase: string; done: number; total: number }[] = [];
  await writeSafetensors(file, new Map([['a', Tensor.f32([5 << 20])]]), { onProgress: (p) => seen.push(p) });
  const size = readFileSync(file).length;
  expect(seen.length).toBeGreaterThan(2);
  expect(seen.every(({ phase, total }) => phase === 'write' && total === size)).toBe(true);
  expect(seen.at(-1)!.done).toBe(size);
});

describe('sources', () => {
  const source = (value: number, log: string[], length = 1 << 17) => ({
    dtype: 'F32' as const,
    shape: [length],
    load: async () => {
      log.push(`load ${value}`);
      return Tensor.f32([length], new Float32Array(length).fill(value));
    },
    release: () => void log.push(`release ${value}`),
  });

  test.each([
    ['six at most, of small ones', 1 << 10, 6],
    ['as many as take 8 MiB', 1 << 19, 3],
    ['two, of large ones', 1 << 21, 2],
  ])('are made ahead of what is written, %s, and let go when they are', async (_, length, ahead) => {
    const file = `${emptyFolder()}/x.safetensors`;
    const log: string[] = [];
    const indices = [0, 1, 2, 3, 4, 5, 6, 7, 8];
    await writeSafetensors(file, new Map(indices.map((i) => [`t${i}`, source(i, log, length)])));
    const { tensors } = await readCheckpoint(file);
    expect([...tensors.values()].map(({ data }) => data.at(-1))).toEqual(indices);
    expect(log.filter((entry) => entry.startsWith('release'))).toHaveLength(9);
    for (let i = 0; i + ahead + 1 < 9; i++) {
      const started = log.indexOf(`load ${i + ahead + 1}`);
      expect(log.indexOf(`release ${i}`)).toBeLessThan(started);
      if (i > 0) expect(log.indexOf(`release ${i - 1}`)).toBeLessThan(started);
    }
    expect(log.slice(0, ahead + 1).every((entry) => entry.startsWith('load'))).toBe(true);
  });

  test('that fail, or make something else than they said, leave no file and no work behind', async () => {
    const log: string[] = [];
    const failing = { ...source(1, log), load: () => Promise.reject(new TypeError('mine')) };
    const file = `${emptyFolder()}/x.safetensors`;
    await expect(
      writeSafetensors(
        file,
        new Map([
          ['a', source(0, log)],
          ['b', failing],
        ]),
      ),
    ).rejects.toThrow('mine');
    const other = { ...source(1, log), load: async () => Tensor.f32([2]) };
    expect((await refusal(writeSafetensors(file, new Map([['a', other]])))).details).toEqual({ tensor: 'a' });
    expect(readdirSync(dirname(file))).toEqual([]);
  });

  test('metadata that are known last are put in place', async () => {
    const file = `${emptyFolder()}/x.safetensors`;
    const metadata = { first: 'kept', digest: '????' };
    await writeSafetensors(file, new Map([['a', source(7, [])]]), {
      metadata,
      sealWith: async () => ({ digest: 'beef' }),
    });
    const read = await readCheckpoint(file);
    expect(read.metadata).toEqual({ first: 'kept', digest: 'beef' });
    expect(read.tensors.get('a')!.data[5]).toBe(7);
  });
});
