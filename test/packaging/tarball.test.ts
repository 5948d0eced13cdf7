import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, relative, resolve } from 'node:path';

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

/** Without skipLibCheck, Node's types or the DOM's: the declarations stand on their own. */
const COMPILER = {
  strict: true,
  noEmit: true,
  skipLibCheck: false,
  types: [],
  lib: ['es2022'],
  target: 'es2022',
  module: 'nodenext',
};

test.each(['cts', 'mts'])(
  'from TypeScript (.%s), types resolved through the exports map',
  (extension) => {
    const source = `
    import { Engine, type EngineValue, type Info, RepfuseError, Tensor, info, ops } from 'repfuse';
    import { appendStages } from 'repfuse/algebra';
    import { type Conv2dNode, graphMetadata, parseGraph } from 'repfuse/graph';
    const shape: readonly number[] = ops.relu(Tensor.f32([1, 1, 1, 2])).shape;
    const code: 'ERR_REPFUSE_FILE' | string = new RepfuseError('ERR_REPFUSE_FILE', 'x').code;
    const current: () => Info = info;
    const node: Conv2dNode | undefined = parseGraph({}).nodes.find((each) => each.op === 'conv2d');
    async function classify(engine: Engine, pixels: Tensor): Promise<[number, string | undefined]> {
      const { data } = await engine.run(pixels);
      const floats: Float32Array = data;
      const best = floats.indexOf(Math.max(...engine.runSync(pixels).data));
      for await (const { data } of engine.stream([pixels])) floats.set(data);
      for (const { data } of (await engine.runAll(pixels)).values()) floats.set(data);
      return [best, engine.labels?.[best]];
    }
    const first = ({ inputs: [input] }: Engine): EngineValue | undefined => input;
    // @ts-expect-error a shape is not a string
    Tensor.f32('2');
    export { appendStages, classify, code, current, first, graphMetadata, node, shape };`;
    writeFileSync(join(folder, `use.${extension}`), source);
    const compiler = { compilerOptions: COMPILER, files: [`use.${extension}`] };
    writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify(compiler));
    run('node', [join(ROOT, 'node_modules', 'typescript', 'bin', 'tsc'), '-p', '.']);
  },
  60_000,
);

test('every file of dist is one that a door leads to', () => {
  const { exports, bin } = JSON.parse(readFileSync(join(installed, 'package.json'), 'utf8'));
  const doors = Object.values<Record<string, Record<string, string>> | string>(exports)
    .flatMap((conditions) => (typeof conditions === 'string' ? [] : Object.values(conditions)))
    .flatMap((targets) => Object.values(targets));
  const reached = new Set([...doors, ...Object.values<string>(bin)].map((path) => join(installed, path)));
  for (const file of reached) {
    const text = readFileSync(file, 'utf8');
    for (const [, target = ''] of text.matchAll(/(?:from|import|import\(|require\()\s*['"](\.[^'"]*)['"]/g)) {
      const path = resolve(dirname(file), target);
      const declaration = [`${path.replace(/\.js$/, '')}.d.ts`, join(path, 'index.d.ts')];
      reached.add((/\.d\.m?ts$/.test(file) ? declaration : [path]).find((each) => existsSync(each))!);
    }
  }
  const shipped = packed.files
    .map(({ path }) => path)
    .filter((path) => /^dist\/(?!LICENSE|bundle\/batch-worker)/.test(path)); // the worker is loaded by threads
  expect([...reached].map((file) => relative(installed, file)).sort()).toEqual(shipped.sort());
});
