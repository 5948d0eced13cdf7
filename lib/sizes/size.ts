import { floored, isAtLeast, larger, leastOf, MAX_TEXT, smaller } from './canonical';
import { parse } from './parse';
import {
  added,
  constantOf,
  divided,
  multiplied,
  namesIn,
  negated,
  numberOf,
  type Polynomial,
  textOf,
  UnusableSize,
} from './polynomial';

/**
 * A size: a number, or the text of an expression of open sizes (`floor((H + 31)/(32))`), which are 1 at least. What the functions of this room
 * return is in one canonical form: equal texts are equal sizes.
 */
export type Size = number | string;

export { UnusableSize };

/** Expressions that are remembered as what they were parsed to. */
const MAX_REMEMBERED = 4096;
const remembered = new Map<string, Polynomial>();

/** @throws UnusableSize */
export function polynomial(size: Size): Polynomial {
  if (typeof size === 'number') return constantOf(size);
  const known = remembered.get(size);
  if (known !== undefined) return known;
  const sum = parse(size);
  if (remembered.size >= MAX_REMEMBERED) remembered.clear();
  remembered.set(size, sum);
  return sum;
}

export function sizeOf(sum: Polynomial): Size {
  const value = numberOf(sum);
  if (value !== undefined) return value;
  const text = textOf(sum);
  if (text.length > MAX_TEXT) throw new UnusableSize(`a size of more than ${MAX_TEXT} characters`);
  return text;
}

/** Whether a text is a size, as untrusted files hold them. */
export function isSizeText(text: string): boolean {
  try {
    polynomial(text);
    return true;
  } catch (error) {
    if (error instanceof UnusableSize) return false;
    throw error;
  }
}

export const isOpen = (size: Size): size is string => typeof size === 'string';
/** Whether all sizes are numbers. */
export const areKnown = (shape: readonly Size[]): shape is readonly number[] => !shape.some(isOpen);

export function plus(...sizes: readonly Size[]): Size {
  return areKnown(sizes) ? total(sizes) : sizeOf(added(...sizes.map(polynomial)));
}

export function minus(a: Size, b: Size): Size {
  return typeof a === 'number' && typeof b === 'number' ? a - b : sizeOf(added(polynomial(a), negated(polynomial(b))));
}

export function times(...sizes: readonly Size[]): Size {
  if (areKnown(sizes)) return sizes.reduce((product, size) => product * size, 1);
  return sizeOf(sizes.map(polynomial).reduce(multiplied, constantOf(1)));
}

/** floor(a / b). */
export function floorOf(a: Size, b: Size): Size {
  return typeof a === 'number' && typeof b === 'number' && b !== 0
    ? Math.floor(a / b)
    : sizeOf(floored(polynomial(a), polynomial(b)));
}

/** ceil(a / b), of a positive b. */
export function ceilOf(a: Size, b: Size): Size {
  return typeof a === 'number' && typeof b === 'number' && b !== 0 ? Math.ceil(a / b) : floorOf(plus(a, b, -1), b);
}

/** a / b where that is a size for all values of the open ones; undefined where it is none, or only for some. */
export function quotient(a: Size, b: Size): Size | undefined {
  if (typeof a === 'number' && typeof b === 'number') return Number.isInteger(a / b) ? a / b : undefined;
  const result = divided(polynomial(a), polynomial(b));
  return result && sizeOf(result);
}

export function least(...sizes: readonly Size[]): Size {
  return areKnown(sizes) ? Math.min(...sizes) : sizeOf(sizes.map(polynomial).reduce(smaller));
}

export function most(...sizes: readonly Size[]): Size {
  return areKnown(sizes) ? Math.max(...sizes) : sizeOf(sizes.map(polynomial).reduce(larger));
}

/** Whether a >= b whatever the open sizes are; false also where that is not seen. */
export function isNeverLess(a: Size, b: Size): boolean {
  return typeof a === 'number' && typeof b === 'number' ? a >= b : isAtLeast(polynomial(a), polynomial(b));
}

/** A number that a size is never below; -Infinity where none is found. */
export function lowerBound(size: Size): number {
  return typeof size === 'number' ? size : leastOf(polynomial(size));
}

export function productOf(shape: readonly Size[]): Size {
  return times(...shape);
}

/** Names of the open sizes that a size depends on. */
export function openNames(size: Size): ReadonlySet<string> {
  return namesIn(polynomial(size));
}

function total(sizes: readonly number[]): number {
  return sizes.reduce((sum, size) => sum + size, 0);
}
