import { execFileSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { gzipSync } from 'node:zlib';
import type { ReadProgress } from '../../lib/checkpoint/files/random-access';
import { type ReadCheckpointOptions, readCheckpoint } from '../../lib/checkpoint/read-checkpoint';
import { writeSafetensors } from '../../lib/checkpoint/safetensors/write-safetensors';
import { RepfuseError } from '../../lib/errors';
import { Tensor } from '../../lib/tensor/tensor';
import { fixturePath } from '../support/fixtures';
import { refusal } from '../support/refusal';
import { temporaryFolder } from '../support/temporary';
import { dict, pickle, tensor, torchFile } from '../support/torch-file';

const folder = temporaryFolder();

/** Larger than one chunk of reading. */
const LARGE = Float32Array.from({ length: 9 << 20 }, (_, i) => i);
const torchLarge = folder.write(
  'large.pth',
  torchFile(dict({ w: tensor({ size: [9 << 20], stride: [1] }) }), { 0: LARGE }),
);
const safetensorsLarge = folder.path('large.safetensors');
beforeAll(() => writeSafetensors(safetensorsLarge, new Map([['w', Tensor.f32([LARGE.length], LARGE)]])));

describe.each([
  ['torch zip', torchLarge],
  ['safetensors', safetensorsLarge],
])('a large %s file', (_, file) => {
  test('is read in chunks, with progress in bytes of the file', async () => {
    const seen: ReadProgress[] = [];
    const { tensors } = await readCheckpoint(file, { onProgress: (progress) => seen.push(progress) });
    const { data } = tensors.get('w')!;
    expect(Buffer.from(data.buffer, data.byteOffset).equals(Buffer.from(LARGE.buffer))).toBe(true);
    const total = seen[0]!.total;
    expect(total).toBeGreaterThan(LARGE.byteLength);
    expect(seen.every((progress, i) => progress.total === total && progress.done >= (seen[i - 1]?.done ?? 0))).toBe(
      true,
    );
    expect(seen.filter(({ done }) => done > 0.2 * total && done < 0.9 * total).length).toBeGreaterThan(0);
    expect(seen.at(-1)).toEqual({ phase: 'read', done: total, total });
  });

  test('can be left in the middle', async () => {
    const controller = new AbortController();
    const seen: number[] = [];
    const onProgress = ({ done, total }: ReadProgress) => {
      seen.push(done / total);
      if (done > 0.2 * total) controller.abort('enough');
    };
    await expect(readCheckpoint(file, { signal: controller.signal, onProgress })).rejects.toBe('enough');
    expect(Math.max(...seen)).toBeLessThan(0.9);
  });

  test('takes about its own size in memory', async () => {
    const before = process.memoryUsage().arrayBuffers;
    const { tensors } = await readCheckpoint(file);
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(1.1 * LARGE.byteLength);
    expect(tensors.get('w')!.data.buffer.byteLength).toBe(LARGE.byteLength);
  });
});

test('a signal that has fired reads nothing', async () => {
  await expect(readCheckpoint('/nowhere', { signal: AbortSignal.abort('never') })).rejects.toBe('never');
});

test.each([
  null,
  0,
  '',
  new RepfuseError('ERR_REPFUSE_FORMAT', 'of the caller'),
  new DOMException('late', 'TimeoutError'),
])('an abort while reading rejects with the very reason: %p', async (reason) => {
  const controller = new AbortController();
  const options = { signal: controller.signal, onProgress: () => controller.abort(reason) };
  for (const name of ['digits-repvgg.pth', 'digits-acnet.pth'])
    await expect(readCheckpoint(fixturePath('trained', name), options)).rejects.toBe(reason);
});

test('an error of the progress function comes through', async () => {
  const onProgress = () => {
    throw new TypeError('mine');
  };
  await expect(readCheckpoint(torchLarge, { onProgress })).rejects.toThrow('mine');
});

describe('what is no file', () => {
  test('a missing one', async () => {
    const file = folder.path('missing.pth');
    const error = await refusal(readCheckpoint(file));
    expect(error).toMatchObject({ code: 'ERR_REPFUSE_FILE', details: { file }, cause: { code: 'ENOENT' } });
    expect(error.message.split(file)).toHaveLength(3); // once by us, once by the system
  });

  test('a folder', async () => {
    mkdirSync(folder.path('folder'));
    expect((await refusal(readCheckpoint(folder.path('folder')))).code).toBe('ERR_REPFUSE_FILE');
  });

  test('a named pipe that nobody writes to', async () => {
    execFileSync('mkfifo', [folder.path('pipe')]);
    expect((await refusal(readCheckpoint(folder.path('pipe')))).message).toMatch(/regular file/);
  });
});

test.each<[string, unknown]>([
  ['a keyPath that is text', { keyPath: 'state_dict' }],
  ['a keyPath with a number', { keyPath: [1] }],
  ['a prefix that is no text', { prefix: 1 }],
])('%s is refused', async (_, options) => {
  const error = await refusal(readCheckpoint(torchLarge, options as ReadCheckpointOptions));
  expect(error.code).toBe('ERR_REPFUSE_INVALID_ARGUMENT');
});

describe('formats are told by content, never by name', () => {
  const tar = Buffer.alloc(1024);
  tar.write('model.pth', 0);
  tar.write('ustar\0', 257);

  test.each<[string, Uint8Array, RegExp]>([
    ['a pickle', pickle(dict({ a: 1 })), /bare pickle of dict of 1/],
    ['a pickle of protocol 4', Buffer.concat([Buffer.from([0x80, 4]), Buffer.from('N.')]), /bare pickle of None/],
    ['HDF5', Buffer.from('\x89HDF\r\n\x1a\n and more', 'latin1'), /HDF5/],
    ['.npy', Buffer.from('\x93NUMPY\x01\x00 and more', 'latin1'), /\.npy/],
    ['GGUF', Buffer.from('GGUF\x03\0\0\0'), /GGUF/],
    ['gzip', gzipSync('weights'), /gzip/],
    ['tar', tar, /tar/],
    ['a git-lfs pointer', Buffer.from('version https://git-lfs.github.com/spec/v1\n'), /git lfs pull/],
    ['HTML', Buffer.from('\n  <HTML><body>404'), /HTML/],
    ['ONNX', Buffer.from([0x08, 0x08, 0x12, 0x07, ...Buffer.from('pytorch')]), /ONNX/],
  ])('%s', async (_, bytes, message) => {
    const error = await refusal(readCheckpoint(folder.write('model.safetensors', bytes)));
    expect(error.code).toBe('ERR_REPFUSE_UNSUPPORTED_FORMAT');
    expect(error.message).toMatch(message);
  });

  test.each<[string, Uint8Array, RegExp]>([
    ['nothing', new Uint8Array(), /empty/],
    ['a few bytes', Uint8Array.of(1, 2, 3), /3 bytes is too short/],
    ['anything else', Buffer.from('hello, world'), /not recognised \(first bytes 68 65 6c 6c 6f 2c 20 77\)/],
    ['the start of a zip', Buffer.from('PK\x03\x04'), /zip/],
  ])('%s', async (_, bytes, message) => {
    const error = await refusal(readCheckpoint(folder.write('model.pth', bytes)));
    expect(error.code).toBe('ERR_REPFUSE_FORMAT');
    expect(error.message).toMatch(message);
  });

  test('safetensors under the name of a torch file, and the other way round', async () => {
    expect(
      (
        await readCheckpoint(
          folder.write('a.pth', torchFile(dict({ w: tensor({ size: [], stride: [] }) }), { 0: Float32Array.of(1) })),
        )
      ).format,
    ).toBe('torch-zip');
    expect((await readCheckpoint(fixturePath('checkpoints', 'repvgg-safetensors.ckpt.safetensors'))).format).toBe(
      'safetensors',
    );
  });
});
