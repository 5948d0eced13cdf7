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
export function broadcastShape(a: readonly number[], b: readonly number[]): number[] | undefined {
  const rank = Math.max(a.length, b.length);
  const shape: number[] = [];
  for (let i = 0; i < rank; i++) {
    const [one, other] = [a[a.length - rank + i] ?? 1, b[b.length - rank + i] ?? 1];
    if (one !== other && one !== 1 && other !== 1) return undefined;
    shape.push(one === 1 ? other : one);
  }
  return shape;
}

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
