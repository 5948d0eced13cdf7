import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';

/** Files that the project speaks of are there: in Markdown, in scripts, in comments. */
const ROOT = resolve(__dirname, '..');
const TRACKED = execFileSync('git', ['ls-files', '--cached', '--others', '--exclude-standard'], {
  cwd: ROOT,
  encoding: 'utf8',
})
  .trim()
  .split('\n')
  .filter((path) => existsSync(join(ROOT, path)));

/** Paths below the folders of the clone, as a text mentions them; what has a placeholder or a star in it is none. */
function pathsIn(text: string): string[] {
  const mentioned =
    /(?<![\w./@<*-])((?:lib|test|native|docs|examples|scripts|benchmarks)\/[\w./-]+\.(?:ts|cts|mts|cjs|mjs|js|cc|h|inc|json|md|sh|py))(?![\w*<{-])/g;
  return [...text.matchAll(mentioned)].map(([, path]) => path!);
}

/** Guides by their names in capitals; licences are those of other packages. */
function guidesIn(text: string): string[] {
  return [...text.matchAll(/(?<![\w./@<*-])((?!LICENSE)[A-Z]{4,}\.md)\b/g)].map(([, name]) => name!);
}

function missing(file: string, text: string): string[] {
  const isThere = (path: string) =>
    [ROOT, join(ROOT, 'lib'), dirname(join(ROOT, file))].some((base) => existsSync(join(base, path)));
  return [...pathsIn(text), ...guidesIn(text)].filter((path) => !isThere(path));
}

const SPEAKING = TRACKED.filter(
  (path) =>
    /\.(md|sh|ts|cjs|mjs|cc|h|inc|gypi?|txt)$|^\.ci\/run$/.test(path) &&
    !/^test\/(fixtures\/|paths\.test\.ts$)|^CHANGELOG\.md$/.test(path),
);

test('every path that a document, a script or a comment speaks of exists', () => {
  const texts = SPEAKING.map((file) => [file, readFileSync(join(ROOT, file), 'utf8')] as const);
  expect(texts.flatMap(([, text]) => pathsIn(text)).length).toBeGreaterThan(20);
  expect(texts.flatMap(([file, text]) => missing(file, text).map((path) => `${file}: ${path}`))).toEqual([]);
});

test('every relative link of a document leads to a file', () => {
  const links = SPEAKING.filter((file) => file.endsWith('.md')).flatMap((file) => {
    const text = readFileSync(join(ROOT, file), 'utf8');
    return [...text.matchAll(/\]\(([^)#:\s]+)(?:#[^)]*)?\)/g)].map(([, target]) => [file, target!] as const);
  });
  expect(links.length).toBeGreaterThan(3);
  expect(links.filter(([file, target]) => !existsSync(join(ROOT, dirname(file), target)))).toEqual([]);
});

test('the check itself sees a path that is none', () => {
  expect(missing('lib/errors.ts', '// see docs/none.md, lib/errors.ts and DESIGN.md')).toEqual([
    'docs/none.md',
    'DESIGN.md',
  ]);
});
