import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { writeSafetensors } from '../../lib/checkpoint/safetensors/write-safetensors';
import { Tensor } from '../../lib/tensor/tensor';
import { roughBlock } from '../support/rough-block';
import { childEnvironment, MAIN, workplace } from './command';

const { path, node, repfuse } = workplace();

async function write(name: string, ballast = 0): Promise<void> {
  mkdirSync(path('ckpts/deep'), { recursive: true });
  const tensors = roughBlock('a.', 64);
  for (let i = 0; i < ballast; i++)
    tensors.set(`ballast.${i}`, Tensor.f32([1 << 20], new Float32Array(1 << 20).fill(i)));
  await writeSafetensors(path(`ckpts/${name}`), tensors);
}

test('a pattern: outputs, a line for each file, a summary, report.jsonl; resume and json', async () => {
  await write('a.pth');
  await write('deep/b.pth');
  writeFileSync(path('ckpts/c.pth'), 'no checkpoint');
  writeFileSync(path('ckpts/notes.txt'), 'not asked for');
  const { status, stdout, stderr } = repfuse('convert', 'ckpts/**/*.pth', '--out-dir', 'out', '--jobs', '2');
  expect({ status, stderr }).toEqual({ status: 1, stderr: '' });
  expect(stdout).toMatch(/^a\.pth: converted: 1 of 1 blocks fused -> out\/a\.safetensors \(\d+ ms\)$/m);
  expect(stdout).toMatch(/^c\.pth: failed: ERR_REPFUSE_FORMAT: ckpts\/c\.pth: /m);
  expect(stdout).toMatch(/\n3 files in [\d.]+ s: 2 converted, 1 failed\n$/);
  expect(existsSync(path('out/deep/b.safetensors'))).toBe(true);
  const lines = readFileSync(path('out/report.jsonl'), 'utf8').trimEnd().split('\n');
  expect(lines.map((line) => JSON.parse(line).name).sort()).toEqual(['a.pth', 'c.pth', 'deep/b.pth']);

  const again = repfuse('convert', 'ckpts/**/*.pth', '--out-dir', 'out', '--resume', '--json');
  expect(again.status).toBe(1);
  expect(JSON.parse(again.stdout)).toMatchObject({
    files: 3,
    skipped: 2,
    failed: 1,
    failures: [{ file: 'ckpts/c.pth', code: 'ERR_REPFUSE_FORMAT' }],
  });
});

test('outputs below the inputs are no inputs of a later run; files and patterns mix; names are taken literally', async () => {
  await write('a.pth');
  await write('[odd].pth');
  const args = ['ckpts/[odd].pth', 'ckpts/**/*.pth', '--out-dir', 'ckpts/out', '--format', 'torch'];
  expect(repfuse('convert', ...args).stdout).toContain('2 files');
  expect(readdirSync(path('ckpts/out')).sort()).toEqual(['[odd].pth', 'a.pth', 'report.jsonl']);
  expect(repfuse('convert', ...args, '--resume').stdout).toContain('2 files in');
});

test('--shard for the tasks of a cluster', async () => {
  for (const name of ['a', 'b', 'c']) await write(name);
  for (const shard of ['0/2', '1/2'])
    expect(repfuse('convert', 'ckpts/*', '--out-dir', 'out', '--shard', shard).status).toBe(0);
  expect(readdirSync(path('out')).sort()).toEqual([
    'a.safetensors',
    'b.safetensors',
    'c.safetensors',
    'report.0-of-2.jsonl',
    'report.1-of-2.jsonl',
  ]);
});

test.each([
  [['ckpts/a'], 2, 'either -o, --output or --out-dir'],
  [['ckpts/a', '-o', 'x', '--out-dir', 'y'], 2, 'either -o, --output or --out-dir'],
  [['ckpts/a', 'ckpts/b', '-o', 'x'], 2, 'several go to --out-dir'],
  [['ckpts/a', '--out-dir', 'out', '--shard', '2/2'], 2, 'i from 0 to n - 1'],
  [['ckpts/a', '--out-dir', 'out', '--jobs', '0'], 2, 'integer of at least 1'],
  [['none/*.pth', '--out-dir', 'out'], 1, 'Expected files for "none/*.pth" but found none'],
])('%j is refused', async (args, code, message) => {
  await write('a');
  await write('b');
  const { status, stderr } = repfuse('convert', ...args);
  expect({ status, stderr }).toEqual({ status: code, stderr: expect.stringContaining(message) });
  expect(existsSync(path('out'))).toBe(false);
});

/** Runs a batch, sends Ctrl-C after the first line of results, and tells how it ended. */
async function interrupted(args: string[]): Promise<{ code: number | null; errors: string }> {
  const child = spawn(process.execPath, [MAIN, ...args], { cwd: path(), env: childEnvironment() });
  let errors = '';
  child.stdout.once('data', () => child.kill('SIGINT'));
  child.stderr.on('data', (chunk) => {
    errors += chunk;
  });
  return await new Promise((done) => child.on('close', (code) => done({ code, errors })));
}

test('Ctrl-C: the files that were being written are gone, the rest is for --resume', async () => {
  for (let i = 0; i < 6; i++) await write(`${i}`, i === 0 ? 0 : 8);
  const { code, errors } = await interrupted(['convert', 'ckpts/*', '--out-dir', 'out', '--jobs', '2']);
  expect(code).toBe(130);
  expect(errors).toMatch(/interrupted: \d of 6 files were done, no file is half written; --resume goes on from there/);
  expect(readdirSync(path('out')).filter((name) => !/^(\d\.safetensors|report\.jsonl)$/.test(name))).toEqual([]);
  const { stdout } = repfuse('convert', 'ckpts/*', '--out-dir', 'out', '--resume');
  expect(stdout).toMatch(/\n6 files in .* s: \d converted, \d skipped\n$/);
});

test('memory is that of one file, whatever the number: at most twice the largest and 100 MB', async () => {
  for (let i = 0; i < 10; i++) await write(`${i}`, 16);
  const largest = statSync(path('ckpts/0')).size;
  expect(largest).toBeGreaterThan(60e6);
  const tellPeak = path('tell-peak.cjs');
  // VmHWM is of this program alone; resourceUsage().maxRSS begins with what the parent that forked it had.
  writeFileSync(
    tellPeak,
    "process.on('exit', () => process.stderr.write(/VmHWM:.*/.exec(require('node:fs').readFileSync('/proc/self/status', 'utf8'))[0]));",
  );
  const peakOf = (...args: string[]) => {
    const { status, stderr } = node(['--require', tellPeak, MAIN, ...args]);
    expect(status).toBe(0);
    return Number(/VmHWM:\s+(\d+) kB/.exec(stderr)![1]) * 1024;
  };
  const one = peakOf('convert', 'ckpts/0', '--out-dir', 'one');
  const ten = peakOf('convert', 'ckpts/*', '--out-dir', 'ten');
  expect(ten).toBeLessThan(2 * largest + 100e6);
  expect(ten).toBeLessThan(one + largest);
});
