import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';

/** Runs every example as its reader would: its own process, the built package, nothing but the public API. */
const ROOT = resolve(__dirname, '..', '..');
const EXAMPLES = join(ROOT, 'examples');

/** The article's snippets: what each ends with is checked below. */
const SNIPPETS = [
  'acnet.cjs',
  'repvgg.cjs',
  'transform-i-conv-bn.cjs',
  'transform-ii-branches.cjs',
  'transform-iii-sequential.cjs',
  'transform-iv-concat.cjs',
  'transform-v-average-pooling.cjs',
  'transform-vi-scales.cjs',
];

/** Packages beside repfuse that an example needs: `npm run read-text` runs it. */
const PACKAGES: Readonly<Record<string, readonly string[]>> = { 'read-text.cjs': ['sharp'] };

function run(...args: string[]) {
  const { status, stdout, stderr } = spawnSync(process.execPath, args, { cwd: ROOT, encoding: 'utf8' });
  return { status, stdout, stderr };
}

test.each(SNIPPETS)('%s: before and after agree', (name) => {
  const { status, stdout, stderr } = run(join(EXAMPLES, name));
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  const [, relative, bound] = /relative to that: (\S+) \(bound (\S+)\)\nPASS\n$/.exec(stdout)!;
  expect(Number(relative)).toBeLessThanOrEqual(Number(bound));
  expect(Number(bound)).toBe(1e-5);
  const [, peak] = /largest value (\S+)\n/.exec(stdout)!;
  expect(Number(peak)).toBeGreaterThan(0);
});

test('the demo classifies as the golden files do', () => {
  const { status, stdout, stderr } = run(join(EXAMPLES, 'demo.cjs'));
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  expect(stdout.match(/every prediction as in PyTorch/g)).toHaveLength(3);
  for (const accuracy of ['99.6', '99.4', '98.8']) {
    expect(stdout).toContain(`accuracy ${accuracy} % train, ${accuracy} % deploy`);
  }
});

test('no example is left out, and all of them use the public API only', () => {
  const files = readdirSync(EXAMPLES).filter((name) => name.endsWith('js'));
  expect(files.sort()).toEqual([...SNIPPETS, 'demo.cjs', 'read-text.cjs'].sort());
  const all = readdirSync(EXAMPLES, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('js'));
  for (const name of all) {
    const required = [...readFileSync(join(EXAMPLES, name), 'utf8').matchAll(/require\('([^']+)'\)/g)].map(
      ([, id]) => id,
    );
    const others = required.filter((id) => !/^(repfuse|repfuse\/graph|node:\w+|\.\/support\/\w+\.cjs)$/.test(id!));
    expect(others).toEqual(PACKAGES[name] ?? []);
  }
});

test('the comparison fails where outputs differ by more than rounding, hold NaN, or are of another shape', () => {
  const compare = (after: string) =>
    run(
      '-e',
      `const { Tensor } = require('repfuse');
       const { compare } = require('./examples/support/compare.cjs');
       const before = Tensor.f32([1, 1, 1, 3], [1, -100, 2]);
       compare('x', before, ${after});`,
    );
  const verdict = ({ status, stdout }: ReturnType<typeof run>) => [status, stdout.trim().split('\n').at(-1)];
  expect(verdict(compare('before'))).toEqual([0, 'PASS']);
  expect(verdict(compare('Tensor.f32([1, 1, 1, 3], [1.0009, -100, 2])'))).toEqual([0, 'PASS']);
  expect(verdict(compare('Tensor.f32([1, 1, 1, 3], [1.002, -100, 2])'))).toEqual([1, 'FAIL']);
  expect(verdict(compare('Tensor.f32([1, 1, 1, 3], [1, NaN, 2])'))).toEqual([1, 'FAIL']);
  expect(verdict(compare('Tensor.f32([1, 1, 3, 1], [1, -100, 2])'))).toEqual([1, 'FAIL']);
});
