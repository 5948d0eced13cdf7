import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { readCheckpoint, writeNpz, writeTorch } from '../../lib';
import { writeNewFile } from '../../lib/checkpoint/files/new-file';
import { ZipWriter } from '../../lib/checkpoint/zip/zip-writer';
import { DTYPES, type DType } from '../../lib/tensor/dtype';
import { Tensor } from '../../lib/tensor/tensor';
import { refusal } from '../support/refusal';
import { temporaryFolder } from '../support/temporary';

const folder = temporaryFolder();

const TORCH: Record<DType, string> = {
  F64: 'Double',
  F32: 'Float',
  F16: 'Half',
  BF16: 'BFloat16',
  I64: 'Long',
  I32: 'Int',
  I16: 'Short',
  I8: 'Char',
  U8: 'Byte',
  BOOL: 'Bool',
  C64: 'ComplexFloat',
  U16: 'uint16',
  U32: 'uint32',
  U64: 'uint64',
  F8_E4M3: 'float8_e4m3fn',
  F8_E5M2: 'float8_e5m2',
  F8_E8M0: 'float8_e8m0fnu',
  F8_E4M3FNUZ: 'float8_e4m3fnuz',
  F8_E5M2FNUZ: 'float8_e5m2fnuz',
};
const NUMPY: Partial<Record<DType, string>> = {
  F64: '<f8',
  F32: '<f4',
  F16: '<f2',
  I64: '<i8',
  I32: '<i4',
  I16: '<i2',
  I8: '|i1',
  U8: '|u1',
  BOOL: '|b1',
  U16: '<u2',
  U32: '<u4',
  U64: '<u8',
  C64: '<c8',
};

/** A tensor of every type, and every shape that may cause trouble; bytes 1, 2, 3, ... */
function everything(types: readonly DType[]): Map<string, Tensor> {
  const filled = (dtype: DType, shape: readonly number[]) => {
    const { array, bytes } = DTYPES[dtype];
    const size = shape.reduce((a, b) => a * b, 1);
    const raw = Uint8Array.from({ length: size * bytes }, (_, i) => (dtype === 'BOOL' ? i % 2 : (i * 7 + 1) % 251));
    return new Tensor(dtype, shape, new array(raw.buffer, 0, size));
  };
  return new Map([
    ...types.map((dtype) => [`of.type.${dtype}`, filled(dtype, [2, 3])] as const),
    ['scalar', filled('F32', [])],
    ['empty', filled('F32', [2, 0, 3])],
    ['long', filled('F32', [300_000])],
    ['vector ünïcode', filled('I64', [1])],
  ]);
}

/** What Python sees in an archive. */
function seenByPython(file: string): Record<string, [string, number[], string, number]> {
  const script = resolve(__dirname, '..', 'support', 'read_archive.py');
  const { status, stdout, stderr } = spawnSync('python3', [script, file], { encoding: 'utf8' });
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  return JSON.parse(stdout);
}

const bytesOf = ({ data }: Tensor) => Buffer.from(data.buffer, data.byteOffset, data.byteLength);
const digest = (tensor: Tensor) => createHash('sha256').update(bytesOf(tensor)).digest('hex');

describe.each([
  { format: 'torch', write: writeTorch, names: TORCH, reads: 'torch-zip' },
  { format: 'npz', write: writeNpz, names: NUMPY, reads: 'npz' },
] as const)('$format', ({ format, write, names, reads }) => {
  const types = Object.keys(names) as DType[];
  const tensors = everything(types);

  test("is read by Python's zipfile and pickle as torch.load(weights_only=True) and numpy would, and by us", async () => {
    const file = folder.path(format);
    await write(file, tensors);
    const seen = seenByPython(file);
    expect(Object.keys(seen)).toEqual([...tensors.keys()]);
    for (const [name, tensor] of tensors) {
      expect([name, ...seen[name]!.slice(0, 3)]).toEqual([
        name,
        (names as typeof TORCH)[tensor.dtype],
        tensor.shape,
        digest(tensor),
      ]);
      if (tensor.size > 0) expect(seen[name]![3] % 64).toBe(0);
    }
    const ours = await readCheckpoint(file);
    expect(ours.format).toBe(reads);
    expect([...ours.tensors.keys()]).toEqual([...tensors.keys()]);
    for (const [name, tensor] of tensors) {
      const got = ours.tensors.get(name)!;
      expect([name, got.dtype, got.shape, digest(got)]).toEqual([name, tensor.dtype, tensor.shape, digest(tensor)]);
    }
  });

  test('equal tensors give equal bytes, nothing is overwritten, an abort leaves nothing', async () => {
    const [a, b] = [folder.path(`${format}.a`), folder.path(`${format}.b`)];
    await write(a, tensors);
    await write(b, tensors);
    expect(readFileSync(a).equals(readFileSync(b))).toBe(true);
    expect((await refusal(write(a, tensors))).code).toBe('ERR_REPFUSE_EXISTS');
    const stopped = write(folder.path(`${format}.c`), tensors, { signal: AbortSignal.abort('') });
    await expect(stopped).rejects.toBe('');
    expect(() => readFileSync(folder.path(`${format}.c`))).toThrow('ENOENT');
  });

  test('progress reaches its total', async () => {
    const steps: { done: number; total: number }[] = [];
    await write(folder.path(`${format}.progress`), tensors, { onProgress: (step) => steps.push(step) });
    expect(steps.at(-1)!.done).toBe(steps.at(-1)!.total);
    expect(steps.every(({ done, total }) => done <= total)).toBe(true);
  });
});

test('numpy has no bfloat16: refused, the tensor named', async () => {
  const error = await refusal(
    writeNpz(folder.path('bf16.npz'), new Map([['w', new Tensor('BF16', [1], new Uint16Array(1))]])),
  );
  expect(error).toMatchObject({ code: 'ERR_REPFUSE_INVALID_ARGUMENT', details: { tensor: 'w' } });
});

test('archives of more than 4 GiB, and of more than 65,535 entries, have zip64 directories', async () => {
  const many = folder.path('many');
  await writeNewFile(many, {}, async (sink) => {
    const zip = new ZipWriter(sink, 64);
    for (let i = 0; i < 70_000; i++) await zip.add(`${i}`, Buffer.from([i & 255]));
    await zip.finish();
  });
  expect(pythonSees(many, "z.read('69999')[0], len(z.namelist())")).toBe(`${69999 & 255} 70000`);
  // Nothing of that size is written: the sink counts, and keeps the headers.
  const large = Buffer.alloc(1 << 27);
  const kept: Buffer[] = [];
  let skipped = 0;
  const zip = new ZipWriter(
    {
      async write(bytes) {
        if (bytes.buffer === large.buffer) skipped += bytes.length;
        else kept.push(Buffer.from(bytes));
      },
      rewriteStart: async () => {},
    },
    64,
  );
  await zip.add('large', ...new Array(33).fill(large));
  await zip.add('behind', Buffer.from('x'));
  await zip.finish();
  const all = Buffer.concat(kept);
  const size = 33 * 2 ** 27;
  expect(skipped).toBe(size);
  // Local header, central header, the offset of what lies behind: each in 64 bits, and the directory of zip64.
  const of = (value: number) => {
    const bytes = Buffer.alloc(8);
    bytes.writeBigUInt64LE(BigInt(value));
    return bytes;
  };
  const sizes = Buffer.concat([of(size), of(size)]);
  expect(all.indexOf(sizes)).toBeGreaterThan(0);
  expect(all.indexOf(sizes, all.indexOf(sizes) + 1)).toBeGreaterThan(all.indexOf('behind'));
  expect(all.includes(Buffer.concat([of(1), of(1), of(size + kept[0]!.length)]))).toBe(true);
  expect(all.includes(Buffer.from('PK\x06\x06'))).toBe(true);
});

function pythonSees(file: string, expression: string): string {
  const code = `import sys,zipfile\nz=zipfile.ZipFile(sys.argv[1])\nprint(*(${expression}))`;
  const { stdout, stderr } = spawnSync('python3', ['-c', code, file], { encoding: 'utf8' });
  expect(stderr).toBe('');
  return stdout.trim();
}
