import { readdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { ERROR_CODES } from '../lib/errors';

const ROOT = resolve(__dirname, '..');

/** Codes by the files below a folder that name them; the table itself and this test aside. */
function codesIn(folder: string, pattern: RegExp): Map<string, string[]> {
  const found = new Map<string, string[]>();
  for (const name of readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' })) {
    const path = join(folder, name);
    if (!/\.(ts|cc|h|md)$/.test(name) || name.includes('fixtures') || /^(lib|test)\/errors(\.test)?\.ts$/.test(path))
      continue;
    for (const [code] of readFileSync(join(ROOT, path), 'utf8')
      .replace(/^\s*(\/\/|\/?\*).*$/gm, '')
      .matchAll(pattern))
      found.set(code, [...(found.get(code) ?? []), path]);
  }
  return found;
}

const CODES = Object.keys(ERROR_CODES);
const NAMED = /\bERR_REPFUSE_[A-Z_]+[A-Z]\b/g;

test('every code of the table is thrown by lib/, and no other is', () => {
  const thrown = codesIn('lib', NAMED);
  expect([...thrown.keys()].sort()).toEqual([...CODES].sort());
});

test('every code is expected by a test, and no other is', () => {
  const expected = codesIn('test', NAMED);
  expect(CODES.filter((code) => !expected.has(code))).toEqual([]);
  // `refusal` and `refusalOf` check each error that tests meet against the table.
  const others = [...expected.keys()].filter((code) => !CODES.includes(code));
  expect(others).toEqual([]);
});

test.each(['docs', 'native'])('what %s/ says of codes is of the table', (folder) => {
  expect([...codesIn(folder, NAMED).keys()].filter((code) => !CODES.includes(code))).toEqual([]);
});
