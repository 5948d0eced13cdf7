import { spawn, spawnSync } from 'node:child_process';
import { readCheckpoint } from '../../lib/checkpoint/read-checkpoint';
import { writeSafetensors } from '../../lib/checkpoint/safetensors/write-safetensors';
import { Tensor } from '../../lib/tensor/tensor';
import { fixturePath } from '../support/fixtures';
import { childEnvironment, MAIN, ROOT, workplace } from './command';

const { path, names } = workplace();

/** A checkpoint that takes a while to read and write. */
async function writeBigCheckpoint(): Promise<void> {
  const { tensors } = await readCheckpoint(fixturePath('trained', 'digits-repvgg.pth'));
  for (let i = 0; i < 24; i++) tensors.set(`ballast.${i}`, Tensor.f32([1 << 20], new Float32Array(1 << 20).fill(i)));
  await writeSafetensors(path('big'), tensors);
}

/** Starts a command and sends it a signal once stderr has the text, perhaps more often, 10 ms apart. */
async function interrupt(args: string[], text: string, signal: NodeJS.Signals = 'SIGINT', times = 1) {
  const child = spawn(process.execPath, [MAIN, ...args], { cwd: path(), env: childEnvironment() });
  let output = '';
  let errors = '';
  child.stdout.on('data', (chunk) => {
    output += chunk;
  });
  child.stderr.on('data', (chunk) => {
    const before = errors;
    errors += chunk;
    if (errors.includes(text) && !before.includes(text))
      for (let i = 0; i < times; i++) setTimeout(() => child.kill(signal), 10 * i);
  });
  return await new Promise<{ code: number | null; killedBy: string | null; output: string; errors: string }>((done) => {
    child.on('close', (code, killedBy) => done({ code, killedBy, output, errors }));
  });
}

describe('Ctrl-C ends with 130 and leaves no half file', () => {
  beforeEach(writeBigCheckpoint);
  afterEach(() => expect(names()).toEqual(['big']));

  test.each(['reading', 'writing'])('while %s', async (phase) => {
    const { code, errors } = await interrupt(['convert', 'big', '-o', 'out'], phase);
    expect({ code, errors }).toEqual({
      code: 130,
      errors: expect.stringContaining('interrupted: nothing was written'),
    });
  });

  test('when it comes more than once, as npx passes it on', async () => {
    const { code, killedBy } = await interrupt(['convert', 'big', '-o', 'out'], 'writing', 'SIGINT', 4);
    // The last may reach a process that has cleaned up and is on its way out: to a shell that is 130 as well.
    expect([130, 'SIGINT']).toContain(code ?? killedBy);
  });

  test('SIGTERM does the same, and --json says it', async () => {
    const { code, output } = await interrupt(['convert', 'big', '-o', 'out', '--json'], 'writing', 'SIGTERM');
    expect(code).toBe(130);
    expect(JSON.parse(output).error.code).toBe('ERR_REPFUSE_ABORTED');
  });
});

test('a whole file that was not verified yet stays, and the message says so', async () => {
  await writeBigCheckpoint();
  const { code, errors } = await interrupt(['convert', 'big', '-o', 'out', '--verify'], 'verifying');
  expect(code).toBe(130);
  expect(errors).toContain('interrupted: The operation was aborted after out was written and before it was verified');
  expect(names()).toEqual(['big', 'out']);
  expect((await readCheckpoint(path('out'))).tensors.size).toBeGreaterThan(24);
});

describe('a reader that goes away is no failure', () => {
  const pipe = (command: string) => spawnSync('bash', ['-c', command], { cwd: ROOT, encoding: 'utf8' });
  const repfuse = `"${process.execPath}" "${MAIN}"`;
  const file = fixturePath('trained', 'digits-acnet.pth');

  test('of stdout', () => {
    const { status, stdout } = pipe(`${repfuse} inspect "${file}" --json | head -n 1; exit \${PIPESTATUS[0]}`);
    expect({ status, stdout }).toEqual({ status: 0, stdout: '{\n' });
  });

  test('of stderr: the conversion goes on', () => {
    const command = `${repfuse} convert "${file}" -o "${path('out')}" 2> >(true)`;
    expect(pipe(command)).toMatchObject({ status: 0, stdout: expect.stringContaining('converted') });
    expect(names()).toEqual(['out']);
  });
});
