import { spawnSync } from 'node:child_process';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { dirname } from 'node:path';
import { pathToFileURL } from 'node:url';
import { convert, convertAll, readCheckpoint } from '../../lib';
import { temporaryOf, underway } from '../../lib/checkpoint/files/temporaries';
import type { BatchFiles, BatchProgress, BatchResult, ConvertAllOptions } from '../../lib/convert';
import { fixturePath } from '../support/fixtures';
import { refusal } from '../support/refusal';
import { roughBlock } from '../support/rough-block';
import { workplace } from './workplace';

const { path, write } = workplace();

/** Runs a batch to its end. */
async function all(files: Iterable<string>, options: Partial<ConvertAllOptions> = {}): Promise<BatchResult[]> {
  const results: BatchResult[] = [];
  for await (const result of convertAll(files, { outDir: path('out'), ...options })) results.push(result);
  return results;
}

/** Small checkpoints under these names. */
async function inputs(...names: string[]): Promise<string[]> {
  const files: string[] = [];
  for (const [seed, name] of names.entries()) {
    mkdirSync(dirname(path(name)), { recursive: true });
    files.push(await write(name, roughBlock('a.', 8, seed + 1)));
  }
  return files;
}

/** All files below a folder. */
const below = (folder: string) =>
  readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((name) => statSync(`${folder}/${name}`).isFile())
    .sort();

const lines = (file: string) =>
  readFileSync(file, 'utf8')
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line));

test('outputs lie as their inputs do, and are what convert makes; one failure does not stop the others', async () => {
  const files = await inputs('in/a.pth', 'in/deep/b.safetensors', 'in/deep/epoch_12.5', 'in/z.pth.tar');
  writeFileSync(path('in/broken.pth'), 'PK\x03\x04 and no more');
  writeFileSync(path('in/nothing.bin'), readFileSync(await write('plain', [])));
  const results = await all([...files, path('in/broken.pth'), path('in/nothing.bin'), path('in/absent')]);
  expect(results.map(({ name, status }) => `${name}: ${status}`)).toEqual([
    'a.pth: converted',
    'absent: failed',
    'broken.pth: failed',
    'deep/b.safetensors: converted',
    'deep/epoch_12.5: converted',
    'nothing.bin: unchanged',
    'z.pth.tar: converted',
  ]);
  expect(below(path('out'))).toEqual([
    'a.safetensors',
    'deep/b.safetensors',
    'deep/epoch_12.5.safetensors',
    'nothing.safetensors',
    'report.jsonl',
    'z.safetensors',
  ]);
  await convert(files[0]!, path('expected'));
  expect(readFileSync(path('out/a.safetensors')).equals(readFileSync(path('expected')))).toBe(true);
  expect(results[0]!.report).toMatchObject({ blocks: [{ status: 'converted' }], sha256: results[0]!.sha256 });
  expect(results[1]!.error).toMatchObject({ code: 'ERR_REPFUSE_FILE', message: expect.stringContaining('absent') });
  expect(results[2]!.error).toMatchObject({ code: 'ERR_REPFUSE_FORMAT' });
  const report = lines(path('out/report.jsonl'));
  expect(report.map(({ name, status }) => `${name}: ${status}`)).toEqual(
    results.map(({ name, status }) => `${name}: ${status}`),
  );
  expect(report[2]).toMatchObject({ file: path('in/broken.pth'), error: { code: 'ERR_REPFUSE_FORMAT' }, output: null });
});

test.each([1, 3, 16])('%i at a time: the same outputs', async (jobs) => {
  const files = await inputs(...Array.from({ length: 7 }, (_, i) => `in/${i}.pth`));
  const results = await all(files, { jobs, format: 'torch', dtype: 'f16', verify: true });
  expect(results.map(({ status }) => status)).toEqual(files.map(() => 'converted'));
  expect(new Set(results.map(({ output }) => output))).toEqual(new Set(files.map((_, i) => path(`out/${i}.pth`))));
  for (const file of files) expect((await readCheckpoint(file.replace('/in/', '/out/'))).format).toBe('torch-zip');
});

describe('resume', () => {
  const statuses = async (files: string[], options: Partial<ConvertAllOptions> = {}) =>
    (await all(files, { resume: true, ...options })).map(({ status }) => status);

  test('leaves out what is done: by content and options, as long as its output is there', async () => {
    const files = await inputs('in/a', 'in/b', 'in/c');
    expect(await statuses(files)).toEqual(['converted', 'converted', 'converted']);
    expect(await statuses(files)).toEqual(['skipped', 'skipped', 'skipped']);
    expect(lines(path('out/report.jsonl')).length).toBe(3);
    copyFileSync(path('in/a'), path('in/b')); // other content, of the same size
    rmSync(path('out/c.safetensors'));
    expect(await statuses(files)).toEqual(['skipped', 'converted', 'converted']);
    expect(readFileSync(path('out/b.safetensors')).subarray(-500)).toEqual(
      readFileSync(path('out/a.safetensors')).subarray(-500),
    );
    expect(await statuses(files, { eps: 1e-3 })).toEqual(['converted', 'converted', 'converted']);
    expect(await statuses(files, { eps: 1e-3 })).toEqual(['skipped', 'skipped', 'skipped']);
  });

  test('tries again what failed, and what was cut off while the report was written', async () => {
    const files = await inputs('in/a', 'in/b');
    writeFileSync(path('in/b'), 'broken');
    expect(await statuses(files)).toEqual(['converted', 'failed']);
    await inputs('in/a', 'in/b');
    const report = readFileSync(path('out/report.jsonl'), 'utf8');
    writeFileSync(path('out/report.jsonl'), report.slice(0, report.indexOf('\n') - 5)); // the output is there, its line is not
    expect(await statuses(files)).toEqual(['converted', 'converted']);
  });

  test('a last line that was torn takes no other with it; one that only lacks its end counts', async () => {
    const files = await inputs('in/a', 'in/b', 'in/ü');
    expect(await statuses(files)).toEqual(['converted', 'converted', 'converted']);
    const report = path('out/report.jsonl');
    const whole = readFileSync(report);
    writeFileSync(report, whole.subarray(0, -1));
    expect(await statuses(files)).toEqual(['skipped', 'skipped', 'skipped']);
    for (const cut of [2, 40, whole.length - whole.indexOf(0xc3) - 1]) {
      writeFileSync(report, whole.subarray(0, -cut)); // the last one in the middle of a letter
      expect((await statuses(files)).filter((status) => status === 'converted').length).toBe(1);
      expect(lines(report).length).toBe(3); // each is JSON
      expect(await statuses(files)).toEqual(['skipped', 'skipped', 'skipped']);
    }
    writeFileSync(report, Buffer.concat([whole, Buffer.alloc(500)])); // as after a loss of power
    expect(await statuses(files)).toEqual(['skipped', 'skipped', 'skipped']);
    expect(readFileSync(report)).toEqual(whole);
  });

  test('a run that was killed before its first line is resumed', async () => {
    const files = await inputs('in/a');
    const [result] = await all(files);
    writeFileSync(path('out/report.jsonl'), '');
    expect(await statuses(files)).toEqual(['converted']);
    expect(result!.output).toBe(path('out/a.safetensors'));
  });

  test('what killed runs left is gone, what running ones write is not', async () => {
    const files = await inputs('in/a', 'in/x/b');
    await all(files);
    const dead = spawnSync(process.execPath, ['-e', '']).pid;
    const named = (file: string, pid: number) => {
      const [, start, , end] = /^(.*-)([0-9a-z]+)(-[0-9a-f]+\.tmp)$/.exec(temporaryOf(file))!;
      return `${start}${pid.toString(36)}${end}`;
    };
    const left = [named(path('out/a.safetensors'), dead), named(path('out/x/b.safetensors'), process.pid)];
    const running = temporaryOf(path('out/a.safetensors'));
    underway.add(running);
    const others = [
      running,
      named(path('out/a.safetensors'), process.ppid),
      named(path('out/other.safetensors'), dead),
      path('out/.a.safetensors.tmp'),
      path('out/.a.safetensors.0123456789ab.tmp'),
    ];
    for (const file of [...left, ...others]) writeFileSync(file, 'half');
    expect(await statuses(files)).toEqual(['skipped', 'skipped']);
    underway.delete(running);
    expect(left.filter(existsSync)).toEqual([]);
    expect(others.filter(existsSync)).toEqual(others);
    for (const file of others) rmSync(file);
  });

  test('without it nothing is overwritten', async () => {
    const files = await inputs('in/a', 'in/b');
    await all(files);
    const again = await all(files);
    expect(again.map(({ error }) => error?.code)).toEqual(['ERR_REPFUSE_EXISTS', 'ERR_REPFUSE_EXISTS']);
    expect((await all(files, { force: true })).map(({ status }) => status)).toEqual(['converted', 'converted']);
  });
});

test('all shards together take every file once, and the same ones whatever the order of the list', async () => {
  const files = await inputs(...Array.from({ length: 11 }, (_, i) => `in/${i % 3}/${i}`));
  for (const count of [1, 2, 4, 13]) {
    const taken: string[] = [];
    for (let index = 0; index < count; index++) {
      const outDir = path(`out${count}`);
      const list = index % 2 === 0 ? files : [...files].reverse();
      const results = await all(list, { outDir, shard: { index, count } });
      expect(results.every(({ status }) => status === 'converted')).toBe(true);
      expect(Math.abs(results.length - files.length / count)).toBeLessThan(1);
      taken.push(...results.map(({ file }) => file));
    }
    expect([...taken].sort()).toEqual([...files].sort());
    expect(below(path(`out${count}`)).filter((name) => name.endsWith('.safetensors')).length).toBe(11);
    if (count === 4) expect(existsSync(path('out4/report.3-of-4.jsonl'))).toBe(true);
  }
});

describe('stopping', () => {
  const bare = (names: string[]) => names.filter((name) => !/^\d+\.safetensors$|^report\.jsonl$/.test(name));

  test('an abort ends it, leaves nothing half written, and resume does the rest', async () => {
    const files = await inputs(...Array.from({ length: 8 }, (_, i) => `in/${i}`));
    const controller = new AbortController();
    const done: BatchResult[] = [];
    const enough = new Error('enough');
    const loop = async () => {
      for await (const result of convertAll(files, { outDir: path('out'), jobs: 3, signal: controller.signal })) {
        done.push(result);
        if (done.length === 2) controller.abort(enough);
      }
    };
    await expect(loop()).rejects.toBe(enough);
    expect(bare(below(path('out')))).toEqual([]);
    expect(done.length).toBe(2);
    const rest = await all(files, { resume: true });
    expect(rest.filter(({ status }) => status === 'skipped').length).toBeGreaterThanOrEqual(2);
    expect(rest.filter(({ status }) => !['skipped', 'converted'].includes(status))).toEqual([]);
  });

  test('leaving the loop stops the others', async () => {
    const files = await inputs(...Array.from({ length: 8 }, (_, i) => `in/${i}`));
    for await (const { status } of convertAll(files, { outDir: path('out'), jobs: 4 })) {
      expect(status).toBe('converted');
      break;
    }
    const left = below(path('out'));
    expect(bare(left)).toEqual([]);
    expect(left.length).toBeLessThan(8);
  });

  test('a signal that has fired converts nothing', async () => {
    const files = await inputs('in/a');
    await expect(all(files, { signal: AbortSignal.abort() })).rejects.toMatchObject({ name: 'AbortError' });
    expect(below(path('out'))).toEqual([]);
  });
});

test('progress: files, bytes, rate and time left', async () => {
  const files = await inputs('in/a', 'in/b', 'in/c');
  writeFileSync(path('in/b'), 'broken');
  const steps: BatchProgress[] = [];
  await all(files, { onProgress: (step) => steps.push(step) });
  expect(steps[0]).toMatchObject({ done: 0, total: 3, failed: 0, doneBytes: 0, secondsLeft: null });
  const size = (name: string) => statSync(path(`in/${name}`)).size;
  expect(steps.filter(({ file }) => file !== undefined)).toMatchObject([
    { done: 1, failed: 0, file: path('in/a'), doneBytes: size('a') },
    { done: 2, failed: 1, file: path('in/b') },
    { done: 3, failed: 1, file: path('in/c'), doneBytes: size('a') * 2 + 6, secondsLeft: 0 },
  ]);
  const last = steps.at(-1)!;
  expect(last.totalBytes).toBe(last.doneBytes);
  expect(last.filesPerSecond).toBeGreaterThan(0);
  expect(last.bytesPerSecond).toBeGreaterThan(0);
});

test('options of convert go to every file; a graph that does not fit one is its failure', async () => {
  const files = await inputs('in/a');
  expect(await all(files, { verify: true, ranges: true })).toMatchObject([
    { status: 'converted', report: { verification: { equal: true } } },
  ]);
  const graph = { input: 'x', output: 'y', nodes: [] };
  expect((await all(files, { graph, force: true }))[0]).toMatchObject({
    status: 'failed',
    error: { code: 'ERR_REPFUSE_GRAPH' },
  });
});

describe('refused before any work', () => {
  test.each<[string, string[], Partial<ConvertAllOptions>, RegExp]>([
    [
      'two inputs of one output',
      ['in/a.pth', 'in/a.pt'],
      {},
      /a\.safetensors would be the output of both .*a\.pt and .*a\.pth/,
    ],
    ['an output that is an input', ['in/a.pth', 'in/a.safetensors'], { outDir: 'in' }, /would be/],
    ['an unknown option', ['in/a'], { job: 2 } as object, /did you mean jobs\?/],
    ['no number of jobs', ['in/a'], { jobs: 0 }, /at least 1 for jobs/],
    ['a shard that is none', ['in/a'], { shard: { index: 2, count: 2 } }, /from 0 to 1 for shard\.index/],
    ['an option of convert', ['in/a'], { dtype: 'f8' as 'f16' }, /for dtype/],
    ['a graph for torch files', ['in/a'], { graph: {}, format: 'torch' }, /safetensors/],
  ])('%s', async (_, names, options, message) => {
    const files = await inputs(...names);
    const outDir = path(String(options.outDir ?? 'out'));
    const before = below(path('.'));
    const error = await refusal(all(files, { ...options, outDir }));
    expect(error.code).toBe('ERR_REPFUSE_INVALID_ARGUMENT');
    expect(error.message).toMatch(message);
    expect(below(path('.'))).toEqual(before);
  });

  test('a folder that cannot be made', async () => {
    const files = await inputs('in/a');
    expect(await refusal(all(files, { outDir: path('in/a/below') }))).toMatchObject({ code: 'ERR_REPFUSE_FILE' });
  });
});

test('the fixtures in one batch: hostile files fail by name, the others are converted', async () => {
  const group = (name: string) =>
    readdirSync(fixturePath('checkpoints', name))
      .filter((file) => /\.(pth|pt|safetensors)$/.test(file))
      .map((file) => fixturePath('checkpoints', `${name}/${file}`));
  const results = await all([...group('bad'), ...group('.').filter((file) => file.endsWith('.pth'))], { jobs: 2 });
  expect(results.filter(({ error }) => error?.code === 'UNEXPECTED')).toEqual([]);
  const good = results.filter(({ name }) => !name.startsWith('bad/'));
  for (const { name, status } of good)
    expect([name, status]).toEqual([name, /deploy/.test(name) ? 'unchanged' : 'converted']);
  expect(good.length).toBeGreaterThan(20);
  expect(results.filter(({ status }) => status === 'failed').length).toBeGreaterThan(40);
});

describe('the files of a batch', () => {
  test('a pattern, several, paths and URLs', async () => {
    await inputs('in/a.pth', 'in/b.pth', 'in/sub/c.pth', 'in/[d].pth');
    const names = async (files: BatchFiles) => {
      const found: string[] = [];
      for await (const { file } of convertAll(files, { outDir: path('out'), force: true })) found.push(file);
      return found.map((file) => file.slice(path('in').length + 1)).sort();
    };
    expect(await names(path('in/?.pth'))).toEqual(['a.pth', 'b.pth']);
    expect(await names([path('in/a*.pth'), path('in/**/c.pth')])).toEqual(['a.pth', 'sub/c.pth']);
    expect(await names(path('in/[d].pth'))).toEqual(['[d].pth']); // it exists under that very name
    expect(await names(pathToFileURL(path('in/b.pth')))).toEqual(['b.pth']);
    expect(await names(new Set([path('in/b.pth')]))).toEqual(['b.pth']);
  });

  test('a pattern that stands for nothing, and what are no files', async () => {
    const failing = (files: unknown) => refusal(all(files as string[]));
    expect(await failing(path('none*.pth'))).toMatchObject({ code: 'ERR_REPFUSE_FILE' });
    for (const wrong of [undefined, null, 3, {}, [3], [Buffer.alloc(3)], ''])
      expect(await failing(wrong)).toMatchObject({ code: 'ERR_REPFUSE_INVALID_ARGUMENT' });
  });
});
