import { floorOf, least, lowerBound, minus, most, plus, type Size } from './size';

/** Two sizes that must be equal, and are for some values of the open ones. */
export interface Requirement {
  readonly left: Size;
  readonly right: Size;
}

/** The size that two are together; undefined where they never are equal. Where they are for some open sizes, that is required. */
export type Meet = (left: Size, right: Size) => Size | undefined;

/** Of known sizes. */
export const meetKnown: Meet = (left, right) => (left === right ? left : undefined);

/** Numpy's rule: shapes meet from the right, a 1 spreads; undefined where they do not meet. An open size that meets another is no 1. */
export function broadcast(a: readonly Size[], b: readonly Size[], meet: Meet): Size[] | undefined {
  const rank = Math.max(a.length, b.length);
  const shape: Size[] = [];
  for (let i = 0; i < rank; i++) {
    const [one, other] = [a[a.length - rank + i] ?? 1, b[b.length - rank + i] ?? 1];
    const size = one === 1 ? other : other === 1 ? one : meet(one, other);
    if (size === undefined) return undefined;
    shape.push(size);
  }
  return shape;
}

/** How many elements a slice takes of an axis of `size`: negative places count from the end, those beyond it are the end. */
export function slicedSize(start: Size, end: Size, step: number, size: Size): Size {
  const last = minus(size, 1);
  const [first, stop] =
    step > 0
      ? [placeIn(start, size, 0, size), placeIn(end, size, 0, size)]
      : [placeIn(start, size, 0, last), placeIn(end, size, -1, last)];
  const span = step > 0 ? minus(stop, first) : minus(first, stop);
  return most(0, floorOf(plus(span, Math.abs(step) - 1), Math.abs(step)));
}

/** No size is larger: a place from here on is the end, its negative the start. */
const END = 2 ** 31 - 1;

/** A place of a slice within bounds; an open one counts from the end where it is never as much as 0. */
function placeIn(place: Size, size: Size, low: Size, high: Size): Size {
  if (typeof place === 'number' && Math.abs(place) >= END) return place > 0 ? high : low;
  const fromEnd = typeof place === 'number' ? place < 0 : lowerBound(minus(-1, place)) >= 0;
  return least(most(fromEnd ? plus(place, size) : place, low), high);
}
