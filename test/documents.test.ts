import { readdirSync, readFileSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';

const ROOT = resolve(__dirname, '..');
const lines = readFileSync(join(ROOT, 'ARCHITECTURE.md'), 'utf8').split('\n');

/** Markdown of this repository that people write or read, its code and tables left out. */
function proseOf(file: string): string[] {
  const text = readFileSync(join(ROOT, file), 'utf8');
  return text
    .replaceAll(/^ *```[\s\S]*?^ *```/gm, '')
    .split('\n')
    .filter((line) => !/^(\||#| {4}|<|\[)/.test(line));
}

test('no line of prose is longer than 119 characters', () => {
  const within = (folder: string) =>
    readdirSync(join(ROOT, folder), { recursive: folder !== '', encoding: 'utf8' }).map((file) => join(folder, file));
  const files = ['', 'docs', 'test'].flatMap(within).filter((file) => file.endsWith('.md'));
  expect(files).toContain('README.md');
  expect(files.flatMap((file) => proseOf(file).filter((line) => line.length > 119))).toEqual([]);
});

test('its tables name every room of lib/ and every folder of native/src', () => {
  const named = lines.flatMap((line) => /^\| `([^`]+?)\/?` \|/.exec(line)?.[1] ?? []);
  const rooms = readdirSync(join(ROOT, 'lib'));
  expect(rooms.filter((room) => !named.includes(room))).toEqual([]);
  const folders = readdirSync(join(ROOT, 'native', 'src')).map((name) => `src/${name}`);
  const isNamed = (folder: string) => named.some((name) => name === folder || name.startsWith(`${folder}/`));
  expect(folders.filter((folder) => !isNamed(folder))).toEqual([]);
});

test('the files that it lists of a room are there', () => {
  const lists = lines.join('\n').matchAll(/^`(\w+)\/`\n((?:[* ] .*\n)+)/gm);
  const missing = [...lists].flatMap(([, room, list]) => {
    const files = readdirSync(join(ROOT, 'lib', room!), { recursive: true, encoding: 'utf8' });
    const there = new Set(files.map((path) => basename(path).replace(/\.ts$/, '')));
    const listed = [...list!.matchAll(/`([a-z][a-z-]+)(?:\/|\.ts)?`/g)].map(([, name]) => name!);
    return listed.filter((name) => !there.has(name)).map((name) => `${room}/${name}`);
  });
  expect(missing).toEqual([]);
});
