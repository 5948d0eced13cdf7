import { types } from 'node:util';
import * as v from 'valibot';

/**
 * What an argument or an option must be: a schema of valibot, the message of whose issues is what was expected, in words. Its type is our
 * own, so that the types of this package do not need those of valibot.
 */
export interface Schema<T = unknown> {
  readonly kind: 'schema';
  /** Only for the compiler. */
  readonly '~checked'?: T;
}

/** @internal As valibot knows it. */
export const inner = (schema: Schema): v.GenericSchema => schema as unknown as v.GenericSchema;
const outer = <T>(schema: v.GenericSchema): Schema<T> => schema as unknown as Schema<T>;

/** A value that a check accepts. `expected` follows the word Expected. */
export function value<T>(expected: string, accepts: (value: unknown) => boolean): Schema<T> {
  return outer(v.custom<T>(accepts, expected));
}

/** Whether all items of an array are accepted, the holes in it too, which its own `every` passes over. */
export function isListOf(list: unknown, accepts: (item: unknown) => boolean): boolean {
  if (!Array.isArray(list)) return false;
  for (let i = 0; i < list.length; i++) if (!accepts(list[i])) return false;
  return true;
}

/** May be missing, or undefined. */
export const optional = <T>(schema: Schema<T>): Schema<T | undefined> => outer(v.optional(inner(schema)));
/** May be missing, undefined or null. */
export const nullish = <T>(schema: Schema<T>): Schema<T | null | undefined> => outer(v.nullish(inner(schema)));
export const nullable = <T>(schema: Schema<T>): Schema<T | null> => outer(v.nullable(inner(schema)));
/** May be missing here: what needs it says so in its own words. */
export const missable = <T>(schema: Schema<T>): Schema<T> => outer(v.nullish(inner(schema)));

/** An object, whatever it holds. */
export const OBJECT: Schema<Record<string, unknown>> = value('an object', isPlainObject);

/** An object whose own members are each read once. */
export const recordOf = <T>(): Schema<Readonly<Record<string, T>>> =>
  outer(
    v.pipe(
      inner(OBJECT),
      v.transform((members) => ({ ...(members as object) })),
    ),
  );

const LARGEST = Number.MAX_SAFE_INTEGER;

export const integer = (least = 1, most = LARGEST): Schema<number> =>
  value(
    most === LARGEST ? `an integer of at least ${least}` : `an integer from ${least} to ${most}`,
    (number) => Number.isSafeInteger(number) && (number as number) >= least && (number as number) <= most,
  );
export const number = (least = Number.NEGATIVE_INFINITY): Schema<number> =>
  value(
    `a finite number${Number.isFinite(least) ? ` of at least ${least}` : ''}`,
    (number) => Number.isFinite(number) && (number as number) >= least,
  );
/** What is looked at elsewhere. */
export const unchecked = <T>(): Schema<T> => outer(v.optional(v.unknown()));
export const BOOLEAN: Schema<boolean> = value('true or false', (given) => typeof given === 'boolean');
export const TEXT: Schema<string> = value('a string', (given) => typeof given === 'string');
export const SIGNAL: Schema<AbortSignal> = value('an AbortSignal', (given) => given instanceof AbortSignal);
/** A function, whatever it takes. */
// biome-ignore lint/suspicious/noExplicitAny: nothing can be told of a function before it is called
export const FUNCTION: Schema<(...args: any[]) => any> = value('a function', (given) => typeof given === 'function');
/** Upper bound on the threads of one call (kMaxThreads of native/include/repfuse/parallel.h). */
export const MAX_THREADS = 64;
export const THREADS = integer(1, MAX_THREADS);

/** One of some words. */
export function oneOf<const Words extends readonly string[]>(words: Words): Schema<Words[number]> {
  return value(words.join(' or '), (word) => words.includes(word as string));
}

export const listOf = <T>(item: Schema<T>): Schema<readonly T[]> => outer(v.array(inner(item), 'an array'));
/** What one of two schemas accepts, in words for both. */
export const eitherOf = <A, B>(expected: string, a: Schema<A>, b: Schema<B>): Schema<A | B> =>
  outer(v.union([inner(a), inner(b)], expected));
export const TEXTS: Schema<readonly string[]> = value('an array of strings', areTexts);
/** Lists of names by name. */
export const TEXTS_BY_NAME: Schema<Readonly<Record<string, readonly string[]>>> = value(
  'an object of arrays of strings',
  (given) => isPlainObject(given) && Object.values(given as object).every(areTexts),
);
export const TEXT_MAP: Schema<ReadonlyMap<string, string>> = value(
  'a Map of strings',
  (given) => types.isMap(given) && [...given.values()].every((item) => typeof item === 'string'),
);
/** A Map, whatever it holds. */
export const MAP: Schema<ReadonlyMap<unknown, unknown>> = value('a Map', types.isMap);

/** A schema for each member of an interface, which take what the interface says and no more. */
type EntriesOf<T> = { readonly [K in keyof T]-?: Schema<T[K] | undefined> };
type CheckedBy<S> = S extends Schema<infer T> ? T : never;
type Agreeing<T, E> = {
  readonly [K in keyof E]: K extends keyof T
    ? [Exclude<T[K], undefined>] extends [CheckedBy<E[K]>]
      ? E[K]
      : never
    : never;
};

/**
 * The schema of an object of options: of all members of the interface `T`, which the compiler checks, and no others.
 *
 *     const CONV2D = optionsOf<Conv2dOptions>()({ stride: optional(PAIR), ... });
 */
export const optionsOf =
  <T extends object>() =>
  <const E extends EntriesOf<T>>(entries: E & Agreeing<T, E>): Schema<T> =>
    objectOf(v.strictObject(entries as unknown as v.ObjectEntries, messageOf(entries)));

/** The same for an object of which only these members are looked at, and taken. */
export const membersOf =
  <T extends object>() =>
  <const E extends EntriesOf<T>>(entries: E & Agreeing<T, E>): Schema<T> =>
    objectOf(v.object(entries as unknown as v.ObjectEntries, messageOf(entries)));

/** One of several kinds of object, told apart by the member `key`; other members are not looked at. */
export const variant =
  <T extends object>() =>
  (key: string, kinds: Readonly<Record<string, object>>): Schema<T> => {
    const options = Object.entries(kinds).map(([kind, members]) => {
      const entries = { [key]: v.literal(kind), ...members };
      return v.object(entries as v.ObjectEntries, messageOf(entries));
    });
    const words = Object.keys(kinds).join(' or ');
    const message = ({ path }: { readonly path?: unknown }) => (path === undefined ? 'an object' : words);
    return objectOf(v.variant(key, options as never, message as never));
  };

const objectOf = <T>(members: v.GenericSchema<never> | v.GenericSchema<Record<string, unknown>>): Schema<T> =>
  outer(v.pipe(inner(OBJECT), members as v.GenericSchema));

/** The words for what is wrong with an object itself: a name that is missing gets those of its schema, an unknown one all known names. */
function messageOf(entries: object) {
  const words = entries as Readonly<Record<string, { readonly message?: unknown }>>;
  return ({ path, expected }: { readonly path?: unknown; readonly expected: string | null }): string => {
    if (!Array.isArray(path)) return 'an object';
    if (expected === 'never') return Object.keys(words).join(' ');
    return String(words[String(path.at(-1).key)]?.message);
  };
}

function areTexts(given: unknown): boolean {
  return isListOf(given, (item) => typeof item === 'string');
}

/** No list, and nothing that holds data. */
function isPlainObject(given: unknown): boolean {
  return (
    typeof given === 'object' &&
    given !== null &&
    !Array.isArray(given) &&
    !ArrayBuffer.isView(given) &&
    !(Symbol.iterator in given)
  );
}
