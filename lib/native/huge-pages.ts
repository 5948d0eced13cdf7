import { loadAddon } from './load';

const SMALLEST = 1 << 22;

/** Asks for huge pages behind large memory that has just been allocated. Nothing happens without the addon. */
export function adviseHugePages<T extends ArrayBuffer>(bytes: Uint8Array<T>): Uint8Array<T> {
  if (bytes.length < SMALLEST) return bytes;
  try {
    loadAddon().adviseHugePages(bytes);
  } catch {
    // Only a hint: reading works without the addon.
  }
  return bytes;
}
