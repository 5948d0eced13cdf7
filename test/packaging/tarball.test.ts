import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';

/** Packs what would be published, installs it somewhere else, uses it from CommonJS, ESM and TypeScript. */
const ROOT = resolve(__dirname, '..', '..');
const folder = mkdtempSync(join(tmpdir(), 'repfuse-pack-'));
const installed = join(folder, 'node_modules', 'repfuse');
const binary = resolve(ROOT, process.env.REPFUSE_NATIVE_PATH || 'build/Release/repfuse.node');
const NPM = ['--no-audit', '--no-fund', '--prefer-offline', '--loglevel=error'];
let packed: { filename: string; size: number; files: { path: string; mode: number }[] };

function run(command: string, args: string[], env: NodeJS.ProcessEnv = {}): string {
  return execFileSync(command, args, { cwd: folder, encoding: 'utf8', env: { ...process.env, ...env } });
}

beforeAll(() => {
  // --ignore-scripts: dist/ is built already, and the other test files are reading it.
  const report = execFileSync('npm', ['pack', '--json', '--ignore-scripts', '--pack-destination', folder, ...NPM], {
    cwd: ROOT,
    encoding: 'utf8',
  });
  packed = JSON.parse(report)[0];
  writeFileSync(join(folder, 'package.json'), JSON.stringify({ name: 'consumer', version: '1.0.0', private: true }));
  run('npm', ['install', join(folder, packed.filename), ...NPM]);
}, 180_000);

afterAll(() => rmSync(folder, { recursive: true, force: true }));

test('the tarball has no root binding.gyp, no install script, no tests, and is small', () => {
  const paths = packed.files.map(({ path }) => path);
  expect(paths).not.toContain('binding.gyp');
  expect(paths).toEqual(
    expect.arrayContaining(['dist/index.js', 'dist/index.mjs', 'dist/index.d.ts', 'dist/index.d.mts']),
  );
  expect(paths).toEqual(expect.arrayContaining(['native/sources.json', 'native/binding.gyp', 'CMakeLists.txt']));
  expect(paths.filter((path) => /^(test|benchmarks|node_modules|build)/.test(path))).toEqual([]);
  const { scripts } = JSON.parse(readFileSync(join(installed, 'package.json'), 'utf8'));
  expect(Object.keys(scripts).filter((name) => /^(pre|post)?install$/.test(name))).toEqual([]);
  expect(packed.size).toBeLessThan(2_000_000);
});

test('every native source and every kernel header that it needs is shipped', () => {
  const { sources } = JSON.parse(readFileSync(join(installed, 'native', 'sources.json'), 'utf8'));
  expect(sources.filter((path: string) => !existsSync(join(installed, path)))).toEqual([]);
});

test('npm ci from the lockfile compiles nothing', () => {
  rmSync(join(folder, 'node_modules'), { recursive: true });
  run('npm', ['ci', ...NPM]);
  expect(existsSync(join(installed, 'build'))).toBe(false);
}, 120_000);

test('the command keeps its run bit', () => {
  expect(statSync(join(installed, 'dist', 'cli', 'main.js')).mode & 0o111).not.toBe(0);
  expect(run(join(folder, 'node_modules', '.bin', 'repfuse'), ['--version']).trim()).toMatch(/^\d+\.\d+\.\d+/);
});

const USE = `
  const relu = ops.relu(Tensor.f32([1, 1, 1, 3], [-1, 0, 2]));
  console.log(info().version.length > 0, [...relu.data].join(), new RepfuseError('ERR_REPFUSE_FILE', 'x') instanceof Error);`;

test('from CommonJS', () => {
  writeFileSync(join(folder, 'use.cjs'), `const { Tensor, RepfuseError, info, ops } = require('repfuse');${USE}`);
  expect(run('node', ['use.cjs'], { REPFUSE_NATIVE_PATH: binary })).toBe('true 0,0,2 true\n');
});

test('from ESM, and both see one copy', () => {
  writeFileSync(
    join(folder, 'use.mjs'),
    `import { createRequire } from 'node:module';
     import { Tensor, RepfuseError, info, ops } from 'repfuse';${USE}
     console.log(createRequire(import.meta.url)('repfuse').RepfuseError === RepfuseError);`,
  );
  expect(run('node', ['use.mjs'], { REPFUSE_NATIVE_PATH: binary })).toBe('true 0,0,2 true\ntrue\n');
});

test('an uncaught error prints its message and a short stack, and classes have their own names', () => {
  writeFileSync(
    join(folder, 'fail.cjs'),
    `const { Engine, Tensor, ops } = require('repfuse');
     console.log(Tensor.name, Engine.name);
     ops.relu(1);`,
  );
  const { stdout, stderr, status } = spawnSync('node', ['fail.cjs'], { cwd: folder, encoding: 'utf8' });
  expect(stdout).toBe('Tensor Engine\n');
  expect(status).toBe(1);
  expect(stderr).toMatch(/^RepfuseError: Expected a .*tensor for input but received/m);
  expect(stderr).toContain("code: 'ERR_REPFUSE_INVALID_ARGUMENT'");
  expect(stderr.length).toBeLessThan(3000);
});

test.each(['cts', 'mts'])(
  'from TypeScript (.%s), types resolved through the exports map',
  (extension) => {
    const source = `
    import { type Info, RepfuseError, Tensor, info, ops } from 'repfuse';
    const shape: readonly number[] = ops.relu(Tensor.f32([1, 1, 1, 2])).shape;
    const code: 'ERR_REPFUSE_FILE' | string = new RepfuseError('ERR_REPFUSE_FILE', 'x').code;
    const current: () => Info = info;
    // @ts-expect-error a shape is not a string
    Tensor.f32('2');
    export { code, current, shape };`;
    writeFileSync(join(folder, `use.${extension}`), source);
    const tsc = join(ROOT, 'node_modules', 'typescript', 'bin', 'tsc');
    const types = ['--types', 'node', '--typeRoots', join(ROOT, 'node_modules', '@types')];
    run('node', [
      tsc,
      '--noEmit',
      '--strict',
      '--module',
      'nodenext',
      '--target',
      'es2022',
      '--lib',
      'es2022,esnext.disposable',
      ...types,
      `use.${extension}`,
    ]);
  },
  60_000,
);
