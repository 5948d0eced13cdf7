import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';

/** docs/transforms.md is one program in pieces: extracts it, with every line at its place, and runs it. */
const ROOT = resolve(__dirname, '..', '..');
const GUIDE = join(ROOT, 'docs', 'transforms.md');

function piecesOf(markdown: string): string[] {
  return [...markdown.matchAll(/^```js\n(.*?)^```$/gms)].map(([, code]) => code!);
}

/** The program, text between its pieces as empty lines, so that an error names the line of the page. */
function programOf(markdown: string): string {
  let isCode = false;
  return markdown
    .split('\n')
    .map((line) => {
      if (!line.startsWith('```')) return isCode ? line : '';
      isCode = line === '```js';
      return '';
    })
    .join('\n');
}

function run(program: string) {
  const { status, stdout, stderr } = spawnSync(process.execPath, ['-'], {
    cwd: ROOT,
    input: program,
    encoding: 'utf8',
  });
  return { status, stdout, stderr };
}

const markdown = readFileSync(GUIDE, 'utf8');

test('every piece of code of the guide runs, and what it asserts holds', () => {
  expect(run(programOf(markdown))).toEqual({ status: 0, stdout: '', stderr: '' });
});

test('every piece after the first asserts something', () => {
  const [setup, ...pieces] = piecesOf(markdown);
  expect(setup).toContain("require('repfuse')");
  expect(pieces.length).toBeGreaterThan(15);
  expect(pieces.filter((code) => !/\bassert\b/.test(code))).toEqual([]);
});

test('every transform has its section', () => {
  const titles = [...markdown.matchAll(/^## (I|II|III|IV|V|VI)\. /gm)].map(([, number]) => number);
  expect(titles).toEqual(['I', 'II', 'III', 'IV', 'V', 'VI']);
});

test.each([
  [
    'eps of I',
    'ops.batchNorm(run(biased, x), batchNorm)',
    'ops.batchNorm(run(biased, x), { ...batchNorm, eps: 1e-3 })',
  ],
  ['the bias of III', 'ops.conv2d(between, F2, b2)));', 'ops.conv2d(between, F2)));'],
  ['the frame of III', 'ops.padBorder(between, b1, 1)', 'ops.padBorder(between, random([16]), 1)'],
  ['the padding of VI', 'kernel: [1, 3], padding: [0, 1]', 'kernel: [1, 3], padding: [1, 0]'],
])('the assertions see a mistake in %s', (_, right, mistaken) => {
  expect(markdown).toContain(right);
  const { status, stderr } = run(programOf(markdown.replace(right, mistaken)));
  expect(status).toBe(1);
  expect(stderr).toMatch(/AssertionError|RepfuseError/);
});
