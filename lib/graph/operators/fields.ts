import { isListOf as isList } from '../../arguments/schemas';
import { OpenSize } from '../../sizes/size';
import { parseSize } from '../../sizes/text';

/** Far above any real network, low enough that a hostile file cannot keep the checks busy for long. */
const MAX_NAME_LENGTH = 1000;
const MAX_LIST_LENGTH = 100_000;
export const MAX_INTEGER = 2 ** 31 - 1;
/** Most entries of a list of sizes that is a value. */
const MAX_SIZES = 256;
/** Most axes of a tensor. */
export const MAX_RANK = 8;

/** What a field of untrusted JSON must hold: the words of the error, and the check, which leaves a `T`. */
export interface Rule<T = unknown> {
  readonly expected: string;
  readonly accepts: (value: unknown) => boolean;
  /** Only for the compiler. */
  readonly '~checked'?: T;
}

const isInteger = (value: unknown, minimum: number) =>
  Number.isSafeInteger(value) && (value as number) >= minimum && (value as number) <= MAX_INTEGER;
const isFloat32 = (value: unknown) => typeof value === 'number' && Number.isFinite(Math.fround(value));

/** A list of bounded length; the holes in it are looked at too. */
export const isListOf = (value: unknown, accepts: (item: unknown) => boolean, maximum = MAX_LIST_LENGTH) =>
  Array.isArray(value) && value.length <= maximum && isList(value, accepts);

export const NAME: Rule<string> = {
  expected: `a name of 1 to ${MAX_NAME_LENGTH} characters`,
  accepts: (value) => typeof value === 'string' && value.length > 0 && value.length <= MAX_NAME_LENGTH,
};
/** Of a size that is not known before a run; expressions of sizes speak of it. */
export const OPEN_SIZE: Rule<string> = {
  expected: 'a name of letters, digits, _ and .',
  accepts: (value) => typeof value === 'string' && /^(?!(floor|min|max)$)[A-Za-z_][A-Za-z0-9_.]{0,99}$/.test(value),
};
export const NAMES: Rule<readonly string[]> = {
  expected: `a list of at most ${MAX_LIST_LENGTH} names`,
  accepts: (value) => isListOf(value, (item) => typeof item === 'string' && item.length <= MAX_NAME_LENGTH),
};
export const BOOLEAN: Rule<boolean> = { expected: 'true or false', accepts: (value) => typeof value === 'boolean' };
export const NOT_NEGATIVE: Rule<number> = {
  expected: 'a finite number of at least 0',
  accepts: (value) => Number.isFinite(value) && (value as number) >= 0,
};
export const NONZERO: Rule<number> = {
  expected: 'a finite number other than 0',
  accepts: (value) => Number.isFinite(value) && value !== 0,
};
export const NUMBER: Rule<number> = { expected: 'a finite number within the range of float32', accepts: isFloat32 };
export const NUMBERS: Rule<readonly number[]> = {
  expected: 'a list of finite numbers',
  accepts: (value) => isListOf(value, Number.isFinite),
};
export const NONZERO_NUMBERS: Rule<readonly number[]> = {
  expected: 'a list of finite numbers other than 0',
  accepts: (value) => isListOf(value, NONZERO.accepts),
};
/** Of a slice, one an axis. */
export const STEPS: Rule<readonly number[]> = {
  expected: `at most ${MAX_RANK} integers other than 0`,
  accepts: (value) => isListOf(value, (item) => isInteger(item, -MAX_INTEGER) && item !== 0, MAX_RANK),
};
/** Of a window, vertical and horizontal or every side. */
export const SIDES: Rule<readonly [number, number] | readonly [number, number, number, number]> = {
  expected: `2 or 4 integers from 0 to ${MAX_INTEGER}`,
  accepts: (value) => [2, 4].some((count) => integers(count, 0).accepts(value)),
};

export const INTEGER: Rule<number> = {
  expected: `an integer from -${MAX_INTEGER} to ${MAX_INTEGER}`,
  accepts: (value) => isInteger(value, -MAX_INTEGER),
};
export const integer = (minimum: number): Rule<number> => ({
  expected: `an integer from ${minimum} to ${MAX_INTEGER}`,
  accepts: (value) => isInteger(value, minimum),
});
export const integers = <List extends readonly number[]>(count: List['length'], minimum: number): Rule<List> => ({
  expected: `${count} integers from ${minimum} to ${MAX_INTEGER}`,
  accepts: (value) => isListOf(value, (item) => isInteger(item, minimum), count) && (value as []).length === count,
});
const isSize = (value: unknown, minimum: number) =>
  isInteger(value, minimum) || (typeof value === 'string' && parseSize(value) instanceof OpenSize);
/** Of a `NodeSize`, one an axis. */
export const anySizes = (minimum: number): Rule<readonly (number | string)[]> => ({
  expected: `at most ${MAX_RANK} integers from ${minimum} to ${MAX_INTEGER}, or expressions of open sizes`,
  accepts: (value) => isListOf(value, (item) => isSize(item, minimum), MAX_RANK),
});
/** Of a list that is a value. */
export const manySizes: Rule<readonly (number | string)[]> = {
  expected: `1 to ${MAX_SIZES} integers, or expressions of open sizes`,
  accepts: (value) => isListOf(value, (item) => isSize(item, -MAX_INTEGER), MAX_SIZES) && (value as []).length > 0,
};
export const sizeList = <List extends readonly (number | string)[]>(count: number, minimum: number): Rule<List> => ({
  expected: `${count} integers from ${minimum} to ${MAX_INTEGER}, or expressions of open sizes`,
  accepts: (value) => isListOf(value, (item) => isSize(item, minimum), count) && (value as []).length === count,
});
/** As many as a tensor has axes, or fewer. */
export const anyIntegers = (minimum: number): Rule<readonly number[]> => ({
  expected: `at most ${MAX_RANK} integers from ${minimum} to ${MAX_INTEGER}`,
  accepts: (value) => isListOf(value, (item) => isInteger(item, minimum), MAX_RANK),
});
/** Of an image, in any order. */
export const channelList: Rule<readonly number[]> = {
  expected: `1 to ${MAX_LIST_LENGTH} channels`,
  accepts: (value) => isListOf(value, (item) => isInteger(item, 0)) && (value as []).length > 0,
};
export const numbers = <List extends readonly number[]>(count: List['length']): Rule<List> => ({
  expected: `${count} finite numbers`,
  accepts: (value) => isListOf(value, Number.isFinite, count) && (value as []).length === count,
});
export const oneOf = <Word extends string>(words: readonly Word[]): Rule<Word> => ({
  expected: `one of ${words.join(', ')}`,
  accepts: (value) => words.includes(value as Word),
});
export const exactly = <Word extends string>(word: Word): Rule<Word> => ({
  expected: JSON.stringify(word),
  accepts: (value) => value === word,
});
export const optional = <T>({ expected, accepts }: Rule<T>): Rule<T | undefined> => ({
  expected: `${expected}, or nothing`,
  accepts: (value) => value === undefined || accepts(value),
});
export const nullable = <T>({ expected, accepts }: Rule<T>): Rule<T | null> => ({
  expected: `${expected}, or null`,
  accepts: (value) => value === null || accepts(value),
});
