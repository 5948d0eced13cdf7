import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import type { Worker } from 'node:worker_threads';
import { roughBlock } from '../support/rough-block';
import { workplace } from './workplace';

const { path, write } = workplace();

// The threads of a batch load the package's one file of code: these tests are of dist/.
const dist = require('../../dist') as typeof import('../../lib');
type Options = Parameters<typeof dist.convertAll>[1];
type Result = import('../../lib').BatchResult;

/** So many that threads are worth their start. */
const FILES = 60;

async function inputs(): Promise<string[]> {
  mkdirSync(path('in'), { recursive: true });
  const files: string[] = [];
  for (let i = 0; i < FILES; i++) files.push(await write(`in/${i}.pth`, roughBlock('a.', 8, i + 1)));
  writeFileSync(path('in/7.pth'), 'PK\x03\x04 and no more');
  return files;
}

async function all(files: string[], options: Partial<Options> = {}): Promise<Result[]> {
  const results: Result[] = [];
  for await (const result of dist.convertAll(files, { outDir: path('out'), ...options })) results.push(result);
  return results;
}

const outputs = (folder: string) => readdirSync(path(folder)).filter((name) => name !== 'report.jsonl');
const lines = (folder: string) =>
  readFileSync(path(`${folder}/report.jsonl`), 'utf8')
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line));
/** Without what differs from run to run. */
const comparable = (results: readonly object[], folder: string) =>
  results
    .map((result) =>
      JSON.parse(
        JSON.stringify(result, (key, value) => (/milliseconds/i.test(key) ? 0 : value)).replaceAll(folder, 'out'),
      ),
    )
    .sort((a, b) => (a.name < b.name ? -1 : 1));

test('files, results, errors and report are those of one job', async () => {
  const files = await inputs();
  const alone = await all(files, { outDir: path('one'), families: ['repvgg'], rules: dist.FAMILY_RULES });
  const together = await all(files, { outDir: path('two'), families: ['repvgg'], rules: dist.FAMILY_RULES, jobs: 4 });
  expect(comparable(together, '/two')).toEqual(comparable(alone, '/one'));
  expect(comparable(lines('two'), '/two')).toEqual(comparable(lines('one'), '/one'));
  expect(together.filter(({ status }) => status === 'failed')).toMatchObject([
    { name: '7.pth', error: { code: 'ERR_REPFUSE_FORMAT', message: expect.stringContaining('7.pth') } },
  ]);
  expect(outputs('two')).toEqual(outputs('one'));
  for (const name of outputs('one'))
    expect(readFileSync(path(`two/${name}`))).toEqual(readFileSync(path(`one/${name}`)));
  const again = await all(files, {
    outDir: path('two'),
    families: ['repvgg'],
    rules: dist.FAMILY_RULES,
    jobs: 4,
    resume: true,
  });
  expect(again.filter(({ status }) => status === 'skipped').length).toBe(FILES - 1);
});

test('an abort stops all threads, leaves nothing half written, and resume does the rest', async () => {
  const files = await inputs();
  const controller = new AbortController();
  const enough = new Error('enough');
  let done = 0;
  const loop = async () => {
    for await (const _ of dist.convertAll(files, { outDir: path('out'), jobs: 4, signal: controller.signal }))
      if (++done === 5) controller.abort(enough);
  };
  await expect(loop()).rejects.toBe(enough);
  expect(done).toBe(5);
  expect(outputs('out').filter((name) => !/^\d+\.safetensors$/.test(name))).toEqual([]);
  expect(outputs('out').length).toBeLessThan(FILES - 1);
  const rest = await all(files, { resume: true, jobs: 2 });
  expect(rest.filter(({ status }) => status === 'skipped').length).toBeGreaterThanOrEqual(4);
  expect(rest.filter(({ status }) => status === 'failed').map(({ name }) => name)).toEqual(['7.pth']);
  expect(outputs('out').length).toBe(FILES - 1);
});

test('leaving the loop ends the threads', async () => {
  const files = await inputs();
  const started: Worker[] = [];
  const threads = require('node:worker_threads') as { Worker: typeof Worker };
  const { Worker: Plain } = threads;
  threads.Worker = class extends Plain {
    constructor(...args: ConstructorParameters<typeof Worker>) {
      super(...args);
      started.push(this);
    }
  };
  /** Those that have ended have none. */
  const numbers = () => started.map(({ threadId }) => threadId);
  try {
    for await (const _ of dist.convertAll(files, { outDir: path('out'), jobs: 2 })) {
      expect(numbers()).toEqual([expect.any(Number), expect.any(Number)]);
      expect(Math.min(...numbers())).toBeGreaterThan(0);
      break;
    }
  } finally {
    threads.Worker = Plain;
  }
  expect(numbers()).toEqual([-1, -1]);
  expect(outputs('out').filter((name) => !/^\d+\.safetensors$/.test(name))).toEqual([]);
});
