import { execFileSync, spawnSync } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';

/** The loader in its natural habitat: a child process over dist/, copied without any binary. */
const ROOT = resolve(__dirname, '..', '..');
const folder = mkdtempSync(join(tmpdir(), 'repfuse-load-'));
const binary = process.env.REPFUSE_NATIVE_PATH
  ? resolve(ROOT, process.env.REPFUSE_NATIVE_PATH)
  : join(ROOT, 'build', 'Release', 'repfuse.node');

beforeAll(() => {
  execFileSync('cp', ['-r', join(ROOT, 'dist'), join(ROOT, 'package.json'), folder]);
  symlinkSync(join(ROOT, 'node_modules'), join(folder, 'node_modules'));
});

afterAll(() => rmSync(folder, { recursive: true, force: true }));

function run(code: string, env: NodeJS.ProcessEnv = {}, flags: string[] = [], cwd = folder): string {
  const clean = { ...process.env, REPFUSE_NATIVE_PATH: '', REPFUSE_ISA: '', REPFUSE_NUM_THREADS: '', ...env };
  const child = spawnSync(process.execPath, [...flags, '-e', code], { cwd, env: clean, encoding: 'utf8' });
  return child.stdout + child.stderr;
}

const PRINT_ERROR = `
  const { info } = require('./dist');
  try { info(); console.log('loaded'); } catch (error) { console.log(error.code + '\\n' + error.message); }`;

test('importing loads no binary; reading tensors works without one', () => {
  expect(run(`const { Tensor } = require('./dist'); console.log(Tensor.f32([2]).bytes)`)).toBe('8\n');
});

test('no binary: every cause and the command that helps, in one error', () => {
  const text = run(PRINT_ERROR);
  expect(text).toContain('ERR_REPFUSE_NO_NATIVE');
  expect(text).toContain('local build: Could not locate the bindings file');
  expect(text).toMatch(/Possible solutions:\n {2}- /);
  expect(text).not.toContain(ROOT);
});

test('REPFUSE_NATIVE_PATH names the binary: one that cannot be loaded is an error, whatever else there is', () => {
  expect(run(PRINT_ERROR, { REPFUSE_NATIVE_PATH: binary })).toBe('loaded\n');
  const text = run(PRINT_ERROR, { REPFUSE_NATIVE_PATH: join(folder, 'absent.node') });
  expect(text).toMatch(/^ERR_REPFUSE_NO_NATIVE\n/);
  expect(text).toMatch(/REPFUSE_NATIVE_PATH=\S+absent\.node: Cannot find module/);
  expect(text).not.toContain('local build:');
  const other = run(PRINT_ERROR, { REPFUSE_NATIVE_PATH: join(folder, 'package.json') });
  expect(other).toMatch(/^ERR_REPFUSE_NO_NATIVE\n/);
  expect(other).toMatch(/REPFUSE_NATIVE_PATH=\S+package\.json: it is no native addon of repfuse/);
});

test('a damaged binary is named as such', () => {
  mkdirSync(join(folder, 'build', 'Release'), { recursive: true });
  writeFileSync(
    join(folder, 'build', 'Release', 'repfuse.node'),
    'not an ELF file at all, however long it may be'.repeat(100),
  );
  const text = run(PRINT_ERROR);
  expect(text).toContain('ERR_REPFUSE_NO_NATIVE');
  expect(text).toContain('damaged: rebuild it here');
});

test('a local build is found through bindings', () => {
  mkdirSync(join(folder, 'build', 'Release'), { recursive: true });
  copyFileSync(binary, join(folder, 'build', 'Release', 'repfuse.node'));
  expect(run(PRINT_ERROR)).toBe('loaded\n');
  expect(run(PRINT_ERROR, { REPFUSE_NATIVE_PATH: 'absent.node' })).toContain('absent.node: Cannot find module');
});

test('the package of this platform is used where there is no local build; one that is broken is told', () => {
  const name = `@repfuse/${process.platform}-${process.arch}`;
  const home = mkdtempSync(join(tmpdir(), 'repfuse-platform-'));
  const place = join(home, 'node_modules', name);
  const others = { NODE_PATH: join(ROOT, 'node_modules') };
  try {
    execFileSync('cp', ['-r', join(ROOT, 'dist'), join(ROOT, 'package.json'), home]);
    mkdirSync(place, { recursive: true });
    writeFileSync(join(place, 'package.json'), JSON.stringify({ name, version: '0.0.0', main: 'repfuse.node' }));
    copyFileSync(binary, join(place, 'repfuse.node'));
    expect(run(PRINT_ERROR, others, [], home)).toBe('loaded\n');
    writeFileSync(join(place, 'repfuse.node'), 'no binary');
    const text = run(PRINT_ERROR, others, [], home);
    expect(text).toContain('local build: Could not locate the bindings file');
    expect(text).toMatch(new RegExp(`${name}: .*(invalid ELF header|file too short)`));
  } finally {
    rmSync(home, { recursive: true, force: true });
  }
});

test('--no-addons is recognised', () => {
  expect(run(PRINT_ERROR, {}, ['--no-addons'])).toContain('start Node without that option');
});

test('REPFUSE_ISA forces a level; one that does not exist is refused by name', () => {
  const code = `
    const { info } = require('./dist');
    try { console.log(info().isa); } catch (error) { console.log(error.code, error.message); }`;
  expect(run(code, { REPFUSE_ISA: 'scalar' })).toBe('scalar\n');
  expect(run(code, { REPFUSE_ISA: 'sse9' })).toMatch(
    /^ERR_REPFUSE_NATIVE Expected one of scalar.* for REPFUSE_ISA but received "sse9"/,
  );
});

test('REPFUSE_NUM_THREADS sets the default, and a bad value is refused', () => {
  const code = `
    const { info } = require('./dist');
    try { console.log(info().threads); } catch (error) { console.log(error.code, error.message); }`;
  expect(run(code, { REPFUSE_NUM_THREADS: '3' })).toBe('3\n');
  for (const bad of ['many', ' ', '0', '2.5', '65', '-1', '1e400'])
    expect(run(code, { REPFUSE_NUM_THREADS: bad })).toBe(
      `ERR_REPFUSE_INVALID_ARGUMENT Expected an integer from 1 to 64 for REPFUSE_NUM_THREADS but received ${JSON.stringify(bad)}\n`,
    );
});
