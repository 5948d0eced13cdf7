import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { readCheckpoint } from '../../lib/checkpoint/read-checkpoint';
import { writeSafetensors } from '../../lib/checkpoint/write-safetensors';
import { Tensor } from '../../lib/tensor/tensor';
import { fixturePath, readManifest } from '../support/fixtures';

/** The command as a user starts it: dist/cli/main.js in a child process. */
const ROOT = resolve(__dirname, '..', '..');
const MAIN = join(ROOT, 'dist', 'cli', 'main.js');
const ACNET = fixturePath('trained', 'digits-acnet.pth');
const ACNET_DEPLOY = fixturePath('trained', 'digits-acnet.deploy.safetensors');
let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'repfuse-cli-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const path = (name: string) => join(folder, name);

function repfuse(...args: string[]) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [MAIN, ...args], { cwd: ROOT, encoding: 'utf8' });
  return { status, stdout, stderr };
}

/** A model file of the trained ACNet, its graph inside. */
function makeModel(): string {
  const { train_graph } = readManifest('trained', 'digits-acnet');
  writeFileSync(
    path('graph.json'),
    JSON.stringify({ ...train_graph, inputShape: [1, 8, 8], normalization: { scale: 1 / 16 } }),
  );
  const made = repfuse('convert', ACNET, '-o', path('model'), '--graph', path('graph.json'), '--verify');
  expect(made).toMatchObject({ status: 0 });
  expect(made.stdout).toMatch(/end to end: error \S+ of the peak/);
  return path('model');
}

test('inspect: blocks, families, forms, parameters; JSON for machines', () => {
  const { status, stdout, stderr } = repfuse('inspect', ACNET);
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  expect(stdout).toMatch(/stem\.conv4\.acb +acnet +train +convertible +square \+ ver \+ hor +3 +32->48 3x3/);
  expect(stdout).toContain('parameters 41 770 -> 24 946');
  const json = JSON.parse(repfuse('inspect', ACNET, '--json').stdout);
  expect(json).toMatchObject({
    format: 'torch-zip',
    keyPath: ['state_dict'],
    droppedPrefix: 'module.',
    otherTensors: 2,
  });
});

test('convert writes, --verify proves, results go to stdout and the rest to stderr', () => {
  const { status, stdout, stderr } = repfuse('convert', ACNET, '-o', path('out'), '--verify');
  expect(status).toBe(0);
  expect(stdout).toMatch(/stem\.conv1\.acb +acnet +train +converted/);
  expect(stdout).toContain('equal: every error is within 1e-5 of the peak');
  expect(stderr).toMatch(/^reading \.\.\.\nfusing \.\.\.\nwriting \.\.\.\nverifying \.\.\./);
  expect(stderr).toMatch(/wrote .*out in \d+ ms/);
  expect(repfuse('verify', ACNET, path('out')).status).toBe(0);
});

test('verify ends with 3 and names the worst block first', async () => {
  const { tensors } = await readCheckpoint(ACNET_DEPLOY);
  const weights = tensors.get('stem.conv3.acb.fused_conv.weight')!.data as Float32Array;
  weights[100]! += 1e-3 * weights.reduce((a, b) => Math.max(a, Math.abs(b)), 0);
  await writeSafetensors(path('changed'), tensors);
  const { status, stdout } = repfuse('verify', ACNET, path('changed'));
  expect(status).toBe(3);
  expect(stdout.split('\n')[1]).toMatch(/^stem\.conv3\.acb .* DIFFERS$/);
  expect(stdout).toContain('NOT EQUAL: worst block stem.conv3.acb');
  expect(JSON.parse(repfuse('verify', ACNET, path('changed'), '--json').stdout)).toMatchObject({ equal: false });
});

test('failures end with 1 and a coded message; with --json the error is JSON too', () => {
  const absent = repfuse('inspect', path('absent.pth'));
  expect(absent).toMatchObject({ status: 1, stdout: '' });
  expect(absent.stderr).toMatch(/^ERR_REPFUSE_FILE: .*absent\.pth/);
  const json = repfuse('convert', fixturePath('checkpoints/bad', 'nan-weight.pth'), '-o', path('out'), '--json');
  expect(json.status).toBe(1);
  expect(JSON.parse(json.stdout).error).toMatchObject({ code: 'ERR_REPFUSE_BLOCK' });
  writeFileSync(path('taken'), 'precious');
  expect(repfuse('convert', ACNET, '-o', path('taken'))).toMatchObject({ status: 1 });
  expect(readFileSync(path('taken'), 'utf8')).toBe('precious');
  expect(repfuse('convert', ACNET, '-o', path('taken'), '--force')).toMatchObject({ status: 0 });
  expect(repfuse('convert', path('taken'), '-o', path('again'), '--require-change')).toMatchObject({ status: 1 });
  const nothing = repfuse('convert', fixturePath('checkpoints/bad', 'no-blocks.pth'), '-o', path('none'));
  expect(nothing).toMatchObject({ status: 0 });
  expect(nothing.stdout).toContain('nothing to convert');
  expect(existsSync(path('none'))).toBe(false);
});

test('usage errors end with 2 and suggest the nearest', () => {
  const flag = repfuse('convert', ACNET, '-o', path('out'), '--verfy');
  expect(flag.status).toBe(2);
  expect(flag.stderr).toContain('Did you mean --verify?');
  const command = repfuse('inspekt', ACNET);
  expect(command.status).toBe(2);
  expect(command.stderr).toContain('Did you mean inspect?');
  expect(repfuse('convert', ACNET).status).toBe(2);
  expect(repfuse('convert', ACNET, '-o', path('out'), '--eps', 'small').status).toBe(2);
  expect(repfuse().status).toBe(2);
});

test('run: classes from a model file, input from safetensors or npy', async () => {
  const model = makeModel();
  const images = fixturePath('trained', 'digits-test.safetensors');
  const golden = await readCheckpoint(fixturePath('trained', 'digits-acnet.safetensors'));
  const predictions = [...(golden.tensors.get('predictions')!.data as Uint8Array)];
  const { status, stdout } = repfuse('run', model, '--input', images, '--tensor', 'images');
  expect(status).toBe(0);
  const classes = stdout
    .trim()
    .split('\n')
    .slice(1)
    .map((line) => Number(line.trim().split(/ +/)[1]));
  expect(classes).toEqual(predictions);

  const pixels = (await readCheckpoint(images)).tensors.get('images')!.data as Uint8Array;
  const header = `${"{'descr': '|u1', 'fortran_order': False, 'shape': (3, 1, 8, 8), }".padEnd(117)}\n`;
  const npy = Buffer.concat([
    Buffer.from('\x93NUMPY\x01\x00', 'latin1'),
    Buffer.from([header.length, 0]),
    Buffer.from(header),
    pixels.subarray(0, 192),
  ]);
  writeFileSync(path('x.npy'), npy);
  const json = repfuse('run', model, '--input', path('x.npy'), '--json', '--output', path('y'));
  expect(JSON.parse(json.stdout).shape).toEqual([3, 10]);
  const written = (await readCheckpoint(path('y'))).tensors.get('output')!;
  expect([...(written.data as Float32Array)]).toEqual(JSON.parse(json.stdout).data);
  expect(repfuse('run', ACNET_DEPLOY, '--input', images).stderr).toContain('holds no graph');
});

test('doctor says what runs here', () => {
  const { status, stdout } = repfuse('doctor');
  expect(status).toBe(0);
  expect(stdout).toMatch(/native addon: loaded/);
  expect(stdout).toMatch(/CPU level: (scalar|avx2|avx512)/);
  const broken = spawnSync(process.execPath, ['--no-addons', MAIN, 'doctor', '--json'], { encoding: 'utf8' });
  expect(broken.status).toBe(1);
  expect(JSON.parse(broken.stdout).addon.error).toContain('ERR_REPFUSE_NO_NATIVE');
});

test('inspect works without the addon', () => {
  const { status, stdout } = spawnSync(process.execPath, ['--no-addons', MAIN, 'inspect', ACNET], {
    cwd: ROOT,
    encoding: 'utf8',
  });
  expect(status).toBe(0);
  expect(stdout).toContain('stem.conv1.acb');
});

describe('--help', () => {
  const commands = ['', 'inspect', 'convert', 'verify', 'run', 'doctor', 'build-native'];

  test.each(commands)('repfuse %s --help ends with an example', (command) => {
    const { status, stdout } = repfuse(...command.split(' ').filter(Boolean), '--help');
    expect(status).toBe(0);
    expect(stdout.trimEnd().split('\n').at(-1)).toMatch(/^ {2}\$ repfuse /);
  });

  test.each(commands.filter((name) => name !== 'build-native'))('the example of repfuse %s works', (command) => {
    if (command === 'run') makeModel();
    const { stdout } = repfuse(...command.split(' ').filter(Boolean), '--help');
    const example = stdout.trimEnd().split('\n').at(-1)!.replace('$ repfuse ', '').trim();
    // Outputs go to the temporary folder, inputs come from the clone.
    const args = example
      .split(/ +/)
      .map((word) =>
        word
          .replace(/^digits-acnet\.model\.safetensors$/, path('model'))
          .replace(/^digits-acnet\.deploy\.safetensors$/, path('out')),
      );
    expect(repfuse(...args)).toMatchObject({ status: 0 });
  });
});

test('Ctrl-C ends with 130 and leaves no half file', async () => {
  const tensors = new Map<string, Tensor>();
  const block = fixturePath('trained', 'digits-repvgg.pth');
  for (const [key, tensor] of (await readCheckpoint(block)).tensors) tensors.set(key, tensor);
  for (let i = 0; i < 24; i++) tensors.set(`ballast.${i}`, Tensor.f32([1 << 21], new Float32Array(1 << 21).fill(i)));
  await writeSafetensors(path('big'), tensors);
  const child = spawn(process.execPath, [MAIN, 'convert', path('big'), '-o', path('out')]);
  let errors = '';
  child.stderr.on('data', (chunk) => {
    errors += chunk;
    if (String(chunk).includes('writing')) child.kill('SIGINT');
  });
  const code = await new Promise((done) => child.on('exit', done));
  expect({ code, errors }).toEqual({ code: 130, errors: expect.stringContaining('interrupted: nothing was written') });
  expect(readdirSync(folder)).toEqual(['big']);
});

test('a reader that goes away is no failure', () => {
  const { status, stdout } = spawnSync(
    'bash',
    ['-c', `"${process.execPath}" "${MAIN}" inspect "${ACNET}" --json | head -n 1; exit \${PIPESTATUS[0]}`],
    { encoding: 'utf8' },
  );
  expect({ status, stdout }).toEqual({ status: 0, stdout: '{\n' });
});
