import { Tensor } from '../../lib';

/** Values that no argument of this package is, or that look like one and are not, by name. Made anew each time: some are used up. */
export const JUNK: Readonly<Record<string, () => unknown>> = {
  undefined: () => undefined,
  null: () => null,
  true: () => true,
  zero: () => 0,
  'minus one': () => -1,
  'one and a half': () => 1.5,
  NaN: () => Number.NaN,
  infinity: () => Number.POSITIVE_INFINITY,
  '1e308': () => 1e308,
  '2^31': () => 2 ** 31,
  '2^53 - 1': () => Number.MAX_SAFE_INTEGER,
  'empty string': () => '',
  x: () => 'x',
  __proto__: () => '__proto__',
  'string with NUL': () => 'a\0b',
  'long string': () => '\u001b[2J'.repeat(250),
  bigint: () => 10n,
  symbol: () => Symbol('junk'),
  function: () => () => {},
  class: () => class Junk {},
  object: () => ({}),
  'object without prototype': () => Object.create(null),
  'object that cannot be text': () => ({
    toString() {
      throw new TypeError('no text');
    },
  }),
  'object with a length': () => ({ length: -1 }),
  'getter that throws': () => ({
    get x() {
      throw new TypeError('a trap');
    },
  }),
  array: () => [],
  'array of undefined': () => [undefined],
  'array of numbers': () => [Number.NaN, -1],
  'array of symbols': () => [Symbol('junk')],
  'array of arrays': () => [[[]], []],
  'array with holes': () => new Array(1000),
  Date: () => new Date(0),
  RegExp: () => /x/,
  Map: () => new Map(),
  'Map of numbers': () => new Map([['x', 1]]),
  'Map of symbols': () => new Map([[Symbol('junk'), {}]]),
  Set: () => new Set([1]),
  Promise: () => Promise.resolve(1),
  Error: () => new Error('junk'),
  URL: () => new URL('https://example.org/x'),
  Float64Array: () => Float64Array.of(1, 2),
  BigInt64Array: () => BigInt64Array.of(1n),
  Buffer: () => Buffer.from('not what it should be'),
  ArrayBuffer: () => new ArrayBuffer(8),
  DataView: () => new DataView(new ArrayBuffer(8)),
  'empty tensor': () => Tensor.f32([0]),
  scalar: () => Tensor.f32([], [1]),
  'integer tensor': () => new Tensor('I64', [2], new BigInt64Array(2)),
  'half tensor': () => new Tensor('F16', [1, 2, 3, 3], new Uint16Array(18)),
  'tensor of five axes': () => Tensor.f32([1, 1, 1, 1, 1]),
  'forged tensor': () => Object.create(Tensor.prototype),
  'forged tensor with fields': () =>
    Object.assign(Object.create(Tensor.prototype), { dtype: 'F32', shape: [1, 2, 3, 3] }),
  'detached tensor': () => {
    const tensor = Tensor.f32([1, 2, 4, 4]);
    structuredClone(tensor.data, { transfer: [tensor.data.buffer as ArrayBuffer] });
    return tensor;
  },
  'Proxy that throws': () => new Proxy({}, TRAPS),
  'Proxy of an array that throws': () => new Proxy([], TRAPS),
  'Proxy of a function that throws': () => new Proxy(() => {}, TRAPS),
  'object of itself': () => {
    const own: Record<string, unknown> = {};
    own.own = own;
    return own;
  },
};

const trap = (): never => {
  throw new TypeError('a trap');
};
const TRAPS: ProxyHandler<object> = {
  get: trap,
  has: trap,
  ownKeys: trap,
  getPrototypeOf: trap,
  getOwnPropertyDescriptor: trap,
  set: trap,
  apply: trap,
};

/** Ways to spoil one argument, by name: by junk in its place, and, where it is a plain object or a list, in the place of each member. */
export function* spoiled(argument: unknown): Generator<readonly [how: string, argument: unknown]> {
  for (const [name, make] of Object.entries(JUNK)) yield [name, make()];
  if (Array.isArray(argument)) {
    for (let i = 0; i < Math.min(argument.length, 2); i++)
      for (const [name, make] of Object.entries(JUNK)) yield [`${name} at ${i}`, argument.with(i, make())];
  }
  if (!isPlain(argument)) return;
  for (const key of [...Object.keys(argument), 'threads', 'name', 'unheardOf']) {
    for (const [name, make] of Object.entries(JUNK)) yield [`${name} for ${key}`, { ...argument, [key]: make() }];
    yield [
      `a getter that throws for ${key}`,
      Object.defineProperty({ ...argument }, key, { get: trap, enumerable: true }),
    ];
    const member = argument[key];
    if (!isPlain(member) && !Array.isArray(member)) continue;
    for (const inner of Object.keys(member).slice(0, 12))
      for (const [name, make] of Object.entries(JUNK))
        yield [
          `${name} for ${key}.${inner}`,
          {
            ...argument,
            [key]: Array.isArray(member) ? member.with(Number(inner), make()) : { ...member, [inner]: make() },
          },
        ];
  }
}

function isPlain(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && Object.getPrototypeOf(value) === Object.prototype;
}
