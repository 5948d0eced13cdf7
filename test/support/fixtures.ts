import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';

export const FIXTURES = resolve(__dirname, '..', 'fixtures');

export type FixtureGroup = 'transforms' | 'conv2d' | 'blocks' | 'checkpoints' | 'checkpoints/bad' | 'trained';

/** The manifest of one case; see test/fixtures/README.md for its fields. */
// biome-ignore lint/suspicious/noExplicitAny: manifests are free-form JSON, each test knows its own fields
export type Manifest = Record<string, any>;

/** Names of all cases of a group, from index.json: a case that is missing on disk fails its test. */
export function fixtureCases(group: FixtureGroup): readonly string[] {
  const index = JSON.parse(readFileSync(join(FIXTURES, 'index.json'), 'utf8'));
  return index.groups[group].cases;
}

export function readManifest(group: FixtureGroup, name: string): Manifest {
  const manifest = JSON.parse(readFileSync(join(FIXTURES, group, `${name}.json`), 'utf8'));
  return { ...manifest, ...DECIDED_OTHERWISE[`${group}/${name}`] };
}

/** A whole pickled module is read as the state dict that it holds; its manifest, older than that decision, has it refused. */
const DECIDED_OTHERWISE: Readonly<Record<string, Manifest>> = {
  'checkpoints/bad/whole-module': { expect: 'load', keys: ['c.weight', 'c.bias'] },
};

export function fixturePath(group: FixtureGroup, file: string): string {
  return join(FIXTURES, group, file);
}

export type FixtureArray =
  | Float32Array
  | Float64Array
  | Uint8Array
  | BigInt64Array
  | Uint16Array
  | Int32Array
  | Int16Array
  | Int8Array;

const ARRAYS: Record<string, (bytes: ArrayBuffer) => FixtureArray> = {
  F32: (b) => new Float32Array(b),
  F64: (b) => new Float64Array(b),
  U8: (b) => new Uint8Array(b),
  I64: (b) => new BigInt64Array(b),
  I32: (b) => new Int32Array(b),
  I16: (b) => new Int16Array(b),
  I8: (b) => new Int8Array(b),
  BOOL: (b) => new Uint8Array(b),
  F16: (b) => new Uint16Array(b),
  BF16: (b) => new Uint16Array(b),
};

export interface FixtureTensor {
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly data: FixtureArray;
}

/**
 * Reads a safetensors file of the fixtures. On purpose not the product's reader: golden values must not pass through
 * the code under test.
 */
export function readFixtureTensors(path: string): Map<string, FixtureTensor> {
  const bytes = readFileSync(path);
  const headerBytes = Number(bytes.readBigUInt64LE(0));
  const header = JSON.parse(bytes.toString('utf8', 8, 8 + headerBytes));
  const tensors = new Map<string, FixtureTensor>();
  for (const [name, entry] of Object.entries<{ dtype: string; shape: number[]; data_offsets: [number, number] }>(
    header,
  )) {
    if (name === '__metadata__') continue;
    const [begin, end] = entry.data_offsets;
    const copy = new Uint8Array(bytes.subarray(8 + headerBytes + begin, 8 + headerBytes + end)).buffer as ArrayBuffer;
    tensors.set(name, { dtype: entry.dtype, shape: entry.shape, data: ARRAYS[entry.dtype]!(copy) });
  }
  return tensors;
}
