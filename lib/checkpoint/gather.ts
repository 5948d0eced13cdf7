import { allocate } from './files/random-access';

/** Row-major without gaps; the stride of an axis of one element does not matter. */
export function isContiguous(shape: readonly number[], stride: readonly number[]): boolean {
  let expected = 1;
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    if (shape[axis] !== 1 && stride[axis] !== expected) return false;
    expected *= shape[axis]!;
  }
  return true;
}

/** Copies elements by their bit patterns (a NaN keeps its payload), last axis innermost. */
export function gather(
  storage: Uint8Array<ArrayBuffer>,
  width: number,
  offset: number,
  shape: readonly number[],
  stride: readonly number[],
  count: number,
): ArrayBuffer {
  const { buffer } = allocate(count * width);
  const array = { 1: Uint8Array, 2: Uint16Array, 4: Uint32Array, 8: BigUint64Array }[width]!;
  const source = new array(storage.buffer, storage.byteOffset, Math.floor(storage.byteLength / width));
  const target = new array(buffer);
  const rank = shape.length;
  const columns = shape[rank - 1]!;
  const step = stride[rank - 1]!;
  const index = new Array<number>(rank).fill(0);
  let from = offset;
  for (let to = 0; to < count; ) {
    for (let column = 0; column < columns; column++) target[to++] = source[from + column * step]!;
    for (let axis = rank - 2; axis >= 0; axis--) {
      from += stride[axis]!;
      if (++index[axis]! < shape[axis]!) break;
      from -= shape[axis]! * stride[axis]!;
      index[axis] = 0;
    }
  }
  return buffer;
}
