import { writeFileSync } from 'node:fs';
import { paged } from '../../lib/checkpoint/files/random-access';
import type { OpenCheckpoint } from '../../lib/checkpoint/open-checkpoint';
import { readCheckpoint, withCheckpoint } from '../../lib/checkpoint/read-checkpoint';
import { writeSafetensors } from '../../lib/checkpoint/safetensors/write-safetensors';
import { Tensor } from '../../lib/tensor/tensor';
import { memoryAccess } from '../support/memory-access';
import { temporaryFolder } from '../support/temporary';
import { dict, tensor, torchFile } from '../support/torch-file';

const folder = temporaryFolder();
const SIZE = 1 << 15;
const filled = (value: number) => new Float32Array(SIZE).fill(value);

const file = folder.path('x.safetensors');
beforeAll(() =>
  writeSafetensors(
    file,
    new Map([
      ['a', Tensor.f32([SIZE], filled(1))],
      ['b', Tensor.f32([SIZE], filled(2))],
      ['small', Tensor.f32([3], [1, 2, 3])],
    ]),
  ),
);
const open = (path: string, body: (opened: OpenCheckpoint) => Promise<void>) => withCheckpoint(path, {}, body);

test('large tensors have a shape, but no elements before they are loaded and after they are released', async () => {
  await open(file, async (opened) => {
    const [a, small] = ['a', 'small'].map((key) => opened.tensors.get(key)!) as [Tensor, Tensor];
    expect([a.dtype, a.shape, a.size, a.bytes]).toEqual(['F32', [SIZE], SIZE, 4 * SIZE]);
    expect(a).toBeInstanceOf(Tensor);
    expect(() => a.data).toThrow('the elements of a are not loaded');
    expect(small.data).toEqual(Float32Array.of(1, 2, 3));
    await opened.load(['a', 'small']);
    expect(a.data).toEqual(filled(1));
    opened.release(['a', 'small']);
    expect(() => a.data).toThrow('not loaded');
    expect(small.data).toEqual(Float32Array.of(1, 2, 3));
  });
});

test('memory that was released is used again', async () => {
  await open(file, async (opened) => {
    await opened.load(['a']);
    const { buffer } = opened.tensors.get('a')!.data;
    opened.release(['a']);
    await opened.load(['b']);
    expect(opened.tensors.get('b')!.data.buffer).toBe(buffer);
    expect(opened.tensors.get('b')!.data).toEqual(filled(2));
    await opened.load(['a']);
    expect(opened.tensors.get('a')!.data.buffer).not.toBe(buffer);
  });
});

test('what was overwritten is read once more', async () => {
  await open(file, async (opened) => {
    await opened.load(['a', 'small']);
    for (const key of ['a', 'small']) (opened.tensors.get(key)!.data as Float32Array).fill(-1);
    await opened.load(['a']);
    expect(opened.tensors.get('a')!.data[0]).toBe(-1);
    await opened.reload(['a', 'small']);
    expect(opened.tensors.get('a')!.data).toEqual(filled(1));
    expect(opened.tensors.get('small')!.data).toEqual(Float32Array.of(1, 2, 3));
  });
});

test('G19: a kernel stored channels last is the same kernel', async () => {
  const shape = [2, 3, 2, 2];
  const plain = Float32Array.from({ length: 24 }, (_, i) => i);
  const last = plain.map((_, i) => {
    const [o, pixel, c] = [Math.floor(i / 12), Math.floor(i / 3) % 4, i % 3];
    return plain[o * 12 + c * 4 + pixel]!;
  });
  const described = dict({
    first: tensor({ key: '0', size: shape, stride: [12, 4, 2, 1] }),
    last: tensor({ key: '1', size: shape, stride: [12, 1, 6, 3] }),
  });
  writeFileSync(folder.path('layouts.pth'), torchFile(described, { 0: plain, 1: last }));
  const { tensors } = await readCheckpoint(folder.path('layouts.pth'));
  expect(tensors.get('last')!.shape).toEqual(shape);
  expect(tensors.get('last')!.data).toEqual(tensors.get('first')!.data);
});

test('only a tensor that has a whole storage of a torch file for itself may be written over', async () => {
  const whole = { size: [SIZE], stride: [1] };
  const described = dict({
    own: tensor({ key: '0', ...whole }),
    tied: tensor({ key: '1', ...whole }),
    twin: tensor({ key: '1', ...whole }),
    part: tensor({ key: '2', size: [SIZE / 2], stride: [1], offset: 4 }),
    turned: tensor({ key: '3', size: [2, SIZE / 2], stride: [1, 2] }),
  });
  const storages = { 0: filled(0), 1: filled(1), 2: filled(2), 3: filled(3) };
  await open(folder.write('shared.pth', torchFile(described, storages)), async (opened) => {
    const keys = [...opened.tensors.keys()];
    expect(keys.filter((key) => opened.isExclusive(key))).toEqual(['own', 'turned']);
    await opened.load(keys);
    const bufferOf = (key: string) => opened.tensors.get(key)!.data.buffer;
    expect(bufferOf('tied')).toBe(bufferOf('twin'));
    opened.release(['tied']);
    expect(opened.tensors.get('twin')!.data).toEqual(filled(1));
    await opened.load(['own']); // its memory must not be the twin's
    expect(bufferOf('own')).not.toBe(bufferOf('twin'));
  });
});

test('many small reads take few of the file, and see its bytes across pages', async () => {
  const bytes = Uint8Array.from({ length: 200_001 }, (_, i) => i % 251);
  let calls = 0;
  const source = memoryAccess(bytes);
  const counted = paged({
    size: source.size,
    read: (offset, into) => {
      calls++;
      return source.read(offset, into);
    },
  });
  for (let at = 0; at + 100 <= bytes.length; at += 97) {
    const into = new Uint8Array(100);
    await counted.read(at, into);
    expect(into).toEqual(bytes.subarray(at, at + 100));
  }
  expect(calls).toBe(4);
  const large = new Uint8Array(100_000);
  await counted.read(1, large);
  expect(large).toEqual(bytes.subarray(1, 100_001));
  expect(calls).toBe(5);
});
