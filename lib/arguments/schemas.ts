import { types } from 'node:util';
import * as v from 'valibot';

/** What an argument or an option must be. The message of its issues is what was expected, in words. */
export type Schema<T = unknown> = v.GenericSchema<T>;

/** A value that a check accepts. `expected` follows the word Expected. */
export function value<T>(expected: string, accepts: (value: unknown) => boolean): Schema<T> {
  return v.custom<T>(accepts, expected);
}

/** May be missing, or undefined. */
export const optional = <T>(schema: Schema<T>) => v.optional(schema);
/** May be missing, undefined or null. */
export const nullish = <T>(schema: Schema<T>) => v.nullish(schema);
export const nullable = <T>(schema: Schema<T>) => v.nullable(schema);
/** May be missing here: what needs it says so in its own words. */
export const missable = <T>(schema: Schema<T>): Schema<T> => v.nullish(schema) as unknown as Schema<T>;

const PLAIN_OBJECT: Schema<Record<string, unknown>> = value('an object', isPlainObject);

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
export const unchecked = <T>(): Schema<T> => v.unknown() as unknown as Schema<T>;
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
export function oneOf<const Word extends string>(words: readonly Word[]): Schema<Word> {
  return value(alternatives(words), (word) => words.includes(word as Word));
}

/** `a, b or c`. */
function alternatives(words: readonly string[]): string {
  return words.length < 2 ? words.join() : `${words.slice(0, -1).join(', ')} or ${words.at(-1)}`;
}

export const listOf = <T>(item: Schema<T>): Schema<readonly T[]> => v.array(item, 'an array');
export const recordOf = <T>(item: Schema<T>): Schema<Record<string, T>> =>
  v.pipe(PLAIN_OBJECT, v.record(v.string(), item, 'an object')) as unknown as Schema<Record<string, T>>;
/** A Map, whatever it holds. */
export const MAP: Schema<ReadonlyMap<unknown, unknown>> = value('a Map', types.isMap);

/** A schema for each member of an interface, which take what the interface says and no more. */
type EntriesOf<T> = { readonly [K in keyof T]-?: Schema<T[K] | undefined> };
type Agreeing<T, E> = {
  readonly [K in keyof E]: K extends keyof T
    ? [Exclude<T[K], undefined>] extends [v.InferInput<E[K] & Schema>]
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
    const words = alternatives(Object.keys(kinds));
    const message = ({ path }: { readonly path?: unknown }) => (path === undefined ? 'an object' : words);
    return v.pipe(PLAIN_OBJECT, v.variant(key, options as never, message as never)) as unknown as Schema<T>;
  };

const objectOf = <T>(members: Schema<never> | v.GenericSchema<Record<string, unknown>>): Schema<T> =>
  v.pipe(PLAIN_OBJECT, members as v.GenericSchema<Record<string, unknown>>) as unknown as Schema<T>;

/** The words for what is wrong with an object itself: a name that is missing gets those of its schema, an unknown one all known names. */
function messageOf(entries: object) {
  const words = entries as Readonly<Record<string, { readonly message?: unknown }>>;
  return ({ path, expected }: { readonly path?: unknown; readonly expected: string | null }): string => {
    if (!Array.isArray(path)) return 'an object';
    if (expected === 'never') return Object.keys(words).join(' ');
    return String(words[String(path.at(-1).key)]?.message);
  };
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
