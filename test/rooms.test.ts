import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';

/** The rooms of lib/, top first: imports point only downwards (ARCHITECTURE.md). */
const ROOMS = [
  'index',
  'cli',
  'convert',
  'engine',
  'nets',
  'graph',
  'onnx',
  'blocks',
  'families',
  'algebra',
  'ops',
  'checkpoint',
  'tensor',
  'sizes',
  'native',
  'arguments',
  'errors',
  'printable',
  'platform-types',
];
const ROOT = resolve(__dirname, '..');
const LIB = join(ROOT, 'lib');

function roomOf(path: string): string {
  return relative(LIB, path).split(/[/.]/)[0]!;
}

/** Every file of lib/ that a file imports, types included. */
function importedFiles(file: string, text: string): string[] {
  const code = text.replace(/\/\*[\s\S]*?\*\/|^\s*\/\/.*$/gm, '');
  const targets = [...code.matchAll(/(?:from|import|import\(|require\()\s*'(\.[^']*)'/g)].map((match) => match[1]!);
  return targets
    .map((target) => resolve(dirname(file), target))
    .filter((path) => path.startsWith(LIB))
    .map((path) => [`${path}.ts`, join(path, 'index.ts')].find((each) => existsSync(each)) ?? path);
}

/** Rooms above a file's own that it imports from. */
function upwardImports(file: string, text: string): string[] {
  const from = ROOMS.indexOf(roomOf(file));
  return importedFiles(file, text)
    .map(roomOf)
    .filter((room) => ROOMS.indexOf(room) < from);
}

/** Files that reach themselves through imports: the first such way from each that begins one. */
function circles(imports: ReadonlyMap<string, readonly string[]>): string[] {
  const found: string[] = [];
  const done = new Set<string>();
  const way: string[] = [];
  const visit = (file: string) => {
    const begin = way.indexOf(file);
    if (begin >= 0) found.push([...way.slice(begin), file].join(' -> '));
    if (begin >= 0 || done.has(file)) return;
    way.push(file);
    for (const next of imports.get(file) ?? []) visit(next);
    way.pop();
    done.add(file);
  };
  for (const file of imports.keys()) visit(file);
  return found;
}

const files = readdirSync(LIB, { recursive: true, encoding: 'utf8' })
  .filter((name) => name.endsWith('.ts'))
  .map((name) => join(LIB, name));

test('every file of lib/ stands in a known room, and every room is in use', () => {
  expect(files.length).toBeGreaterThan(10);
  expect(files.filter((file) => !ROOMS.includes(roomOf(file)))).toEqual([]);
  const used = new Set(files.map(roomOf));
  expect(ROOMS.filter((room) => !used.has(room))).toEqual([]);
});

test('every import of lib/ leads to a file, and points only downwards, types included', () => {
  const texts = files.map((file) => [file, readFileSync(file, 'utf8')] as const);
  const known = new Set(files);
  const lost = texts.flatMap(([file, text]) => importedFiles(file, text).filter((target) => !known.has(target)));
  expect(lost).toEqual([]);
  const upward = texts.flatMap(([file, text]) =>
    upwardImports(file, text).map((room) => `${relative(LIB, file)} -> ${room}`),
  );
  expect(upward).toEqual([]);
});

test('no file of lib/ reaches itself through its imports, types included', () => {
  const short = (file: string) => relative(LIB, file);
  const imports = files.map(
    (file) => [short(file), importedFiles(file, readFileSync(file, 'utf8')).map(short)] as const,
  );
  expect(imports.flatMap(([, targets]) => targets).length).toBeGreaterThan(files.length);
  expect(circles(new Map(imports))).toEqual([]);
});

test('the checks themselves see an upward import, of a type as well, and a circle', () => {
  const file = join(LIB, 'tensor', 'tensor.ts');
  expect(upwardImports(file, "import { convert } from '../convert/convert';")).toEqual(['convert']);
  expect(upwardImports(file, "import type {\n  A,\n} from '../convert/convert';")).toEqual(['convert']);
  expect(upwardImports(file, "import { RepfuseError } from '../errors';")).toEqual([]);
  const imports = { a: ['b', 'c'], b: ['d'], c: ['d'], d: ['b'] };
  expect(circles(new Map(Object.entries(imports)))).toEqual(['b -> d -> b']);
});

/** The folders and files that a table of ARCHITECTURE.md names in its first column. */
function rowsOf(guide: string, heading: string): string[] {
  const [, section = ''] = guide.split(new RegExp(`^## ${heading}.*$`, 'm'));
  const [table] = section.split(/^## /m);
  return [...table!.matchAll(/^\| `([^`<]+)`/gm)].map(([, name]) => name!);
}

test('the rooms that ARCHITECTURE.md lists are those that there are', () => {
  const guide = readFileSync(join(ROOT, 'ARCHITECTURE.md'), 'utf8');
  const rooms = rowsOf(guide, 'lib/').map((name) => name.replace(/\/$|\.ts$/g, ''));
  expect(rooms).toEqual(ROOMS);
  const folders = rowsOf(guide, 'native/');
  expect(folders.length).toBeGreaterThan(5);
  expect(folders.filter((name) => !existsSync(join(ROOT, 'native', name)))).toEqual([]);
});
