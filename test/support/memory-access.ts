import type { RandomAccess } from '../../lib/checkpoint/files/random-access';

/** The bytes of a typed array, wherever it lies in its buffer, as a file. */
export function memoryAccess(bytes: Uint8Array): RandomAccess {
  return {
    size: bytes.length,
    read: async (offset, into) => into.set(bytes.subarray(offset, offset + into.length)),
  };
}
