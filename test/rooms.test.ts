import { readdirSync, readFileSync } from 'node:fs';
import { dirname, relative, resolve } from 'node:path';

/** The rooms of lib/, top first: imports point only downwards (DESIGN.md section 3). */
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
  'native',
  'arguments',
  'errors',
  'printable',
  'platform-types',
];
const LIB = resolve(__dirname, '..', 'lib');

function roomOf(path: string): string {
  return relative(LIB, path).split(/[/.]/)[0]!;
}

/** Every relative import of a file, as the room it leads to. */
function importedRooms(file: string, text: string): string[] {
  const targets = [...text.matchAll(/(?:from|import|import\(|require\()\s*'(\.[^']*)'/g)].map((match) => match[1]!);
  return targets
    .map((target) => resolve(dirname(file), target))
    .filter((path) => path.startsWith(LIB))
    .map(roomOf);
}

/** Imports that point up the list. `native` takes the types of tensor data, which are no code. */
function upwardImports(file: string, text: string): string[] {
  const code = text.replace(/import type [^;]*;/g, '');
  const from = ROOMS.indexOf(roomOf(file));
  return importedRooms(file, code).filter((room) => ROOMS.indexOf(room) < from);
}

const files = readdirSync(LIB, { recursive: true, encoding: 'utf8' })
  .filter((name) => name.endsWith('.ts'))
  .map((name) => resolve(LIB, name));

test('every file of lib/ stands in a known room', () => {
  expect(files.length).toBeGreaterThan(10);
  expect(files.filter((file) => !ROOMS.includes(roomOf(file)))).toEqual([]);
});

test('imports point only downwards', () => {
  const upward = files.flatMap((file) =>
    upwardImports(file, readFileSync(file, 'utf8')).map((room) => `${relative(LIB, file)} -> ${room}`),
  );
  expect(upward).toEqual([]);
});

test('the check itself sees an upward import', () => {
  const file = resolve(LIB, 'tensor', 'tensor.ts');
  expect(upwardImports(file, "import { convert } from '../convert/convert';")).toEqual(['convert']);
  expect(upwardImports(file, "import { RepfuseError } from '../errors';")).toEqual([]);
});
