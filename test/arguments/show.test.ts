import { checkArgument, checkOptions } from '../../lib/arguments/check';
import { integer, oneOf, optional, optionsOf } from '../../lib/arguments/schemas';
import { show } from '../../lib/arguments/show';
import { nearestOf } from '../../lib/arguments/suggest';
import { RepfuseError } from '../../lib/errors';
import { Tensor } from '../../lib/tensor/tensor';

test.each<[unknown, string]>([
  [undefined, 'undefined'],
  [-0.5, '-0.5'],
  ['x', '"x"'],
  ['x'.repeat(100), `"${'x'.repeat(60)}..."`],
  ['\u001b[2J\u009b\u202e\n', '"\\u001b[2J\\u009b\\u202e\\n"'],
  [12n, '12n'],
  [10n ** 400n, 'a huge bigint'],
  [Symbol('s'), 'the symbol "s"'],
  [() => 'secret', 'a function'],
  [Buffer.from('secret'), 'Uint8Array of 6 elements'],
  [new ArrayBuffer(8), 'ArrayBuffer of 8 bytes'],
  [new DataView(new ArrayBuffer(8)), 'a DataView'],
  [Tensor.f32([1, 3, 8, 8]), 'Tensor [1, 3, 8, 8] f32'],
  [new Tensor('BF16', [2], new Uint16Array(2)), 'Tensor [2] bf16'],
  [[1, 'a'], '[1, "a"]'],
  [new Array(1000).fill(1), 'an array of 1000'],
  [[[1]], 'an array of 1'],
  [new Map([[1, 2]]), 'a Map of 1'],
  [new Date(0), 'a Date'],
  [{}, 'an empty object'],
  [{ secret: 1 }, 'an object'],
  [Object.create(null), 'an empty object'],
  [new (class Foo {})(), 'an object of class Foo'],
  [new Proxy({}, {}), 'a Proxy'],
])('%# is shown as %s', (value, text) => {
  expect(show(value)).toBe(text);
});

test('a tensor whose buffer was taken is told from one that is whole', () => {
  const tensor = Tensor.f32([2]);
  structuredClone(tensor.data, { transfer: [tensor.data.buffer as ArrayBuffer] });
  expect(show(tensor)).toBe('Tensor [2] f32 whose elements are gone (its buffer was detached or resized)');
});

test.each<[string, string | undefined]>([
  ['strid', 'stride'],
  ['STRIDE', 'stride'],
  ['in_channels', 'inChannels'],
  ['stripes', 'stride'],
  ['straps', undefined],
  ['groups', undefined],
  ['', undefined],
  ['q', undefined],
])('nearest to %p is %p: at most two letters off', (name, nearest) => {
  expect(nearestOf(name, ['inChannels', 'stride', 'kx'])).toBe(nearest);
});

interface Options {
  readonly stride?: number | undefined;
  readonly mode?: 'a' | 'b' | undefined;
  readonly shard?: { readonly index: number; readonly count: number } | undefined;
}
const SHARD = optionsOf<NonNullable<Options['shard']>>()({ index: integer(0), count: integer() });
const OPTIONS = optionsOf<Options>()({
  stride: optional(integer()),
  mode: optional(oneOf(['a', 'b'])),
  shard: optional(SHARD),
});

test.each<[unknown, string, object]>([
  [null, 'Expected an object for the options of f but received null', {}],
  [[], 'Expected an object for the options of f but received []', {}],
  [
    { strid: 1 },
    'Expected an option of f but received strid: did you mean stride?',
    { option: 'strid', nearest: 'stride' },
  ],
  [{ 'a b': 1 }, 'Expected an option of f but received "a b" (there are stride, mode, shard)', { option: 'a b' }],
  [{ stride: '2' }, 'Expected an integer of at least 1 for stride but received "2"', { option: 'stride' }],
  [{ mode: 'c' }, 'Expected a or b for mode but received "c"', { option: 'mode' }],
  [
    { shard: { index: 0 } },
    'Expected an integer of at least 1 for shard.count but received undefined',
    { option: 'shard' },
  ],
  [
    { shard: { index: 0, count: 2.5 } },
    'Expected an integer of at least 1 for shard.count but received 2.5',
    { option: 'shard' },
  ],
])('%j: %s', (options, message, details) => {
  const check = () => checkOptions('f', OPTIONS, options);
  expect(check).toThrow(expect.objectContaining({ code: 'ERR_REPFUSE_INVALID_ARGUMENT', message, details }));
});

test('every property is read once, and what reading throws becomes the cause', () => {
  let reads = 0;
  const options = {
    get stride() {
      reads++;
      return reads;
    },
  };
  expect(checkOptions('f', OPTIONS, options)).toEqual({ stride: 1 });
  expect(reads).toBe(1);
  const trap = new Error('a trap');
  const throwing = {
    get stride(): number {
      throw trap;
    },
  };
  expect(() => checkOptions('f', OPTIONS, throwing)).toThrow(
    expect.objectContaining({ code: 'ERR_REPFUSE_INVALID_ARGUMENT', cause: trap }),
  );
});

test('an argument is named, and the place in it', () => {
  const check = () => checkArgument('shard', SHARD, { index: -1, count: 1 });
  expect(check).toThrow('Expected an integer of at least 0 for shard.index but received -1');
  expect(check).toThrow(expect.objectContaining({ details: { argument: 'shard' } }));
});

test('schemas and types agree, or do not compile', () => {
  const [stride, mode, shard] = [optional(integer()), optional(oneOf(['a', 'b'])), optional(SHARD)];
  const options = optionsOf<Options>();
  options({ stride, mode, shard });
  // @ts-expect-error a member without a schema
  options({ stride, mode });
  // @ts-expect-error a schema that takes less than the type
  options({ stride, shard, mode: optional(oneOf(['a'])) });
  // @ts-expect-error a schema of another type
  options({ stride: optional(oneOf(['1'])), mode, shard });
  // @ts-expect-error a schema without a member
  options({ stride, mode, shard, x: stride });
});

test('no message of an error holds what a terminal would act on', () => {
  expect(new RepfuseError('ERR_REPFUSE_FILE', 'a\u001b[2J\nb').message).toBe('a\\u001b[2J\nb');
});
