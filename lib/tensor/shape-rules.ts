import { met } from '../sizes/conditions';
import { ceilOf, greater, leastOf, lesser, minus, type Size, type Sizes, sum } from '../sizes/size';

/** The elements of a shape, if its sizes are whole and there are no more than `most`. */
export function boundedCount(shape: readonly number[], most: number): number | undefined {
  if (shape.includes(0) && shape.every((size) => Number.isSafeInteger(size) && size >= 0)) return 0;
  let count = 1;
  for (const size of shape) {
    count *= size; // exact up to the first product beyond 2^53, which ends it
    if (!Number.isSafeInteger(count) || size < 1) return undefined;
  }
  return count <= most ? count : undefined;
}

/** Numpy's rule: shapes meet from the right, a 1 spreads; undefined where they do not meet. */
export function broadcastShape(a: readonly number[], b: readonly number[]): number[] | undefined;
export function broadcastShape(a: Sizes, b: Sizes): Size[] | undefined;
export function broadcastShape(a: Sizes, b: Sizes): Size[] | undefined {
  const rank = Math.max(a.length, b.length);
  const shape: Size[] = [];
  for (let i = 0; i < rank; i++) {
    const size = met(a[a.length - rank + i] ?? 1, b[b.length - rank + i] ?? 1);
    if (size === undefined) return undefined;
    shape.push(size);
  }
  return shape;
}

/**
 * How many elements a slice takes of an axis. Of an open one as long as it does not end before it begins, which a run then refuses.
 *
 * @returns undefined where it depends on open sizes from which end a place counts
 */
export function slicedSize(start: Size, end: Size, step: number, size: Size): Size | undefined {
  if (typeof start === 'number' && typeof end === 'number' && typeof size === 'number')
    return sliceRange(start, end, step, size).count;
  const [first, last] = [placeOf(start, size), placeOf(end, size)];
  if (first === undefined || last === undefined) return undefined;
  if (step > 0) return ceilOf(minus(lesser(last, size), greater(first, 0)), step);
  // Backwards from the last element at most, to the first at most.
  return ceilOf(minus(lesser(first, minus(size, 1)), greater(isBeyond(end) ? -1 : last, -1)), -step);
}

/** A place counted from the start: of a negative one from the end. */
function placeOf(place: Size, size: Size): Size | undefined {
  if (typeof place === 'number' && place > FAR) return size;
  if (leastOf(place) >= 0) return place;
  return leastOf(minus(0, place)) > 0 ? sum(size, place) : undefined;
}

/** Before the first element, whatever the size is. */
function isBeyond(place: Size): boolean {
  return typeof place === 'number' && place < -FAR;
}

/** Beyond any size: what exporters write for an end wherever it is. */
const FAR = 2 ** 30;

/** What a slice takes of an axis of `size`: negative places count from the end, those beyond it are the end. */
export function sliceRange(
  start: number,
  end: number,
  step: number,
  size: number,
): { readonly first: number; readonly step: number; readonly count: number } {
  const place = (index: number, low: number, high: number) =>
    Math.min(Math.max(index < 0 ? index + size : index, low), high);
  const first = step > 0 ? place(start, 0, size) : place(start, 0, size - 1);
  const last = step > 0 ? place(end, 0, size) : place(end, -1, size - 1);
  return { first, step, count: Math.max(0, Math.ceil((last - first) / step)) };
}
