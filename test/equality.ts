import { expect } from '@jest/globals';

/**
 * What every test file gets before its tests: `toEqual` compares arrays of numbers by their bytes first. Jest visits each element as a property,
 * which takes a hundred times as long; it still does where bytes differ, and then says where.
 */
expect.addEqualityTesters([
  (a: unknown, b: unknown): boolean | undefined => {
    if (!ArrayBuffer.isView(a) || !ArrayBuffer.isView(b) || kindOf(a) !== kindOf(b)) return undefined;
    return bytesOf(a).equals(bytesOf(b)) || undefined;
  },
]);

function kindOf(view: ArrayBufferView): string {
  return Object.prototype.toString.call(view);
}

function bytesOf({ buffer, byteOffset, byteLength }: ArrayBufferView): Buffer {
  return Buffer.from(buffer as ArrayBuffer, byteOffset, byteLength);
}
