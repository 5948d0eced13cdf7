import { readdirSync, readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { OPERATORS } from '../../lib/graph/operators';

const ROOM = resolve(__dirname, '..', '..', 'lib', 'graph', 'operators');
const FILES = readdirSync(ROOM).map((name) => name.replace(/\.ts$/, ''));
/** What records are made of. */
const SHARED = ['fields', 'operator'];
const RECORDS = FILES.filter((name) => name !== 'index' && !SHARED.includes(name));

/** What a file of the room imports from lib/graph. */
function importsOf(name: string): string[] {
  const text = readFileSync(resolve(ROOM, `${name}.ts`), 'utf8');
  return [...text.matchAll(/from '(\.\/[^']*|\.\.\/[^.][^']*)'/g)].map((match) => match[1]!);
}

test('records import what they are made of, and rooms below', () => {
  expect(RECORDS.length).toBeGreaterThan(20);
  const known = SHARED.map((name) => `./${name}`);
  for (const name of RECORDS)
    expect([name, importsOf(name).filter((path) => !known.includes(path))]).toEqual([name, []]);
});

test('what records are made of imports neither records nor their list', () => {
  expect(importsOf('fields')).toEqual([]);
  expect(importsOf('operator')).toEqual(['./fields']);
});

test('every file of the room is in the list', () => {
  expect(RECORDS.filter((name) => !importsOf('index').includes(`./${name}`))).toEqual([]);
});

test.each(Object.entries(OPERATORS))(
  '%s can be run, eagerly and in the engine, and is written for ONNX',
  (_, record) => {
    const { run, native, stages, steps, onnx } = record;
    expect([run, native, stages].some((way) => way !== undefined)).toBe(true);
    expect([steps, native, stages].some((way) => way !== undefined)).toBe(true);
    expect(onnx).toBeDefined();
  },
);
