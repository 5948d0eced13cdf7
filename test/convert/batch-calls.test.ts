import { readCheckpoint, writeTorch } from '../../lib';
import * as unpickling from '../../lib/checkpoint/pickle/unpickle-file';
import '../../lib/checkpoint/zip/zip'; // else loaded, file by file, with the first archive
import { convertOne } from '../../lib/convert/batch/convert-one';
import * as searching from '../../lib/families/sites';
import { mayHoldThread, ownThisThread } from '../../lib/native/own-thread';
import { roughBlock } from '../support/rough-block';
import { workplace } from './workplace';

// What the threads of a batch do for a small file: here on this thread.
const { path } = workplace();
const fs = require('node:fs') as typeof import('node:fs');

afterEach(() => jest.restoreAllMocks());

/** Counts the calls of `node:fs` from now on, by name. */
function countCalls(): Record<string, number> {
  jest.spyOn(performance, 'now').mockReturnValue(performance.now()); // however slow the machine is
  const counts: Record<string, number> = {};
  const count = (of: object, names: readonly string[], prefix: string) => {
    for (const name of names) {
      const real = (of as Record<string, (...args: unknown[]) => unknown>)[name]!;
      jest.spyOn(of as never, name as never).mockImplementation(((...args: unknown[]) => {
        counts[prefix + name] = (counts[prefix + name] ?? 0) + 1;
        return real.apply(of, args);
      }) as never);
    }
  };
  const names = [
    'access',
    'close',
    'fstat',
    'link',
    'lstat',
    'mkdir',
    'open',
    'read',
    'rename',
    'stat',
    'unlink',
    'write',
  ];
  count(fs, [...names.map((name) => `${name}Sync`), ...names], '');
  count(fs.promises, ['access', 'link', 'lstat', 'mkdir', 'open', 'rename', 'stat', 'unlink'], 'promises.');
  return counts;
}

async function convertFile(name: string, options: Parameters<typeof convertOne>[1] = {}) {
  ownThisThread();
  const item = {
    file: path(`${name}.pth`),
    name,
    output: path(`out/${name}.safetensors`),
    kind: 'checkpoint' as const,
    size: 0,
  };
  const { result } = await convertOne({ item, done: undefined }, { families: ['repvgg'], ...options });
  return result;
}

test('a small file is opened and read once, its output written once, all on the thread itself', async () => {
  await writeTorch(path('a.pth'), new Map(roughBlock('a.', 16, 1)));
  const counts = countCalls();
  expect(await convertFile('a')).toMatchObject({
    status: 'converted',
    sha256: expect.stringMatching(/^[0-9a-f]{64}$/),
  });
  expect(counts).toEqual({
    openSync: 2, // input and temporary file
    fstatSync: 1,
    readSync: 1,
    writeSync: 1,
    closeSync: 2,
    mkdirSync: 1,
    accessSync: 1,
    statSync: 2, // of the output: is it a folder, how large has it become
    lstatSync: 2, // before the work, and before it is written
    linkSync: 1,
    unlinkSync: 1,
  });
});

test('another format: its input is hashed from the bytes that were read', async () => {
  await writeTorch(path('a.pth'), new Map(roughBlock('a.', 16, 1)));
  const counts = countCalls();
  const result = await convertFile('a', { format: 'npz' });
  expect(result).toMatchObject({ status: 'converted', sha256: expect.stringMatching(/^[0-9a-f]{64}$/) });
  expect([counts.openSync, counts.readSync]).toEqual([2, 1]);
});

test('files of one layout are searched, and their pickle run, once; each has its own values', async () => {
  const run = jest.spyOn(unpickling, 'unpickleFile');
  const sites = jest.spyOn(searching, 'findSites');
  const weights: number[] = [];
  for (const seed of [1, 2, 3]) {
    await writeTorch(path(`${seed}.pth`), new Map(roughBlock('b.', 16, seed)));
    const result = await convertFile(String(seed));
    expect(result.status).toBe('converted');
    const { tensors } = await readCheckpoint(result.output!);
    weights.push(Number(tensors.get('b.rbr_reparam.weight')!.data[0]));
    if (seed === 1) sites.mockClear();
  }
  expect(run).toHaveBeenCalledTimes(1);
  expect(sites).not.toHaveBeenCalled();
  expect(new Set(weights).size).toBe(3);
});

test('a thread is held until its event loop has not turned for long, and again when it has', async () => {
  ownThisThread();
  expect(mayHoldThread()).toBe(true);
  const started = performance.now();
  while (performance.now() - started < 150);
  expect(mayHoldThread()).toBe(false);
  expect(mayHoldThread()).toBe(false);
  await new Promise((resolve) => setImmediate(() => setImmediate(resolve)));
  expect(mayHoldThread()).toBe(true);
});
