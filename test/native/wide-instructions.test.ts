import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';

const SCRIPT = resolve(__dirname, '..', '..', 'scripts', 'check-wide-instructions.mjs');
const folder = mkdtempSync(join(tmpdir(), 'repfuse-objects-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const INTRINSICS =
  '#include <immintrin.h>\n__attribute__((target("avx2"))) void f(float* x) { _mm256_storeu_ps(x, _mm256_setzero_ps()); }\n';
const INLINE = 'inline int g(int x) { return x + 1; }\nint h(int x) { return g(x); }\nint (*p)(int) = g;\n';
const PLAIN = 'int plain(int x) { return x * 3; }\n';

function check(sources: Record<string, string>) {
  const objects = mkdtempSync(join(folder, 'case-'));
  mkdirSync(join(objects, 'native/src'), { recursive: true });
  for (const [name, code] of Object.entries(sources)) {
    writeFileSync(join(objects, `${name}.cc`), code);
    execFileSync('g++', ['-O0', '-c', join(objects, `${name}.cc`), '-o', join(objects, 'native/src', `${name}.o`)]);
  }
  const { status, stdout, stderr } = spawnSync(process.execPath, [SCRIPT, objects], { encoding: 'utf8' });
  return { status, text: stdout + stderr };
}

const onX64 = process.arch === 'x64';

test('plain baseline and kernel objects pass', () => {
  expect(
    check({ plain: PLAIN, kernel__avx2: onX64 ? INTRINSICS.replace('void f', 'void kernel') : PLAIN }),
  ).toMatchObject({ status: 0 });
});

test('a wide instruction in a baseline object is found', () => {
  const { status, text } = check({ leak: onX64 ? INTRINSICS : PLAIN, kernel__avx2: PLAIN });
  expect({ status, leak: /leak\.o: wide instruction/.test(text) }).toEqual(
    onX64 ? { status: 1, leak: true } : { status: 0, leak: false },
  );
});

test('a weak symbol in a kernel object is found', () => {
  const { status, text } = check({ plain: PLAIN, kernel__avx512: INLINE });
  expect(status).toBe(1);
  expect(text).toMatch(/kernel__avx512\.o: weak symbol/);
});

test('an empty folder is no pass', () => {
  expect(check({})).toMatchObject({ status: 1 });
});
