import { allocate } from './random-access';

/** Buffers kept for later; the smallest are dropped. */
const KEPT = 8;
/** Buffers of so many bytes get the size from which on huge pages stand behind them: one fault in place of hundreds. */
const LARGE = 1 << 19;
const HUGE = 1 << 22;

const free: ArrayBuffer[] = []; // by size
let users = 0;

/**
 * From now on memory for elements is used again once it is given back, by whoever needs some: fresh pages cost more than what is done
 * with them, and JavaScript engines free large buffers late.
 *
 * @returns what ends this; the last one to end frees all
 */
export function keepBuffers(): () => void {
  users++;
  return () => {
    users--;
    if (users === 0) free.length = 0;
  };
}

/** @throws ERR_REPFUSE_FORMAT where the engine has no more to give */
export function takeBuffer(length: number): Uint8Array<ArrayBuffer> {
  // None much larger: whoever needs that one would have to get another.
  const most = Math.max(2 * length, HUGE);
  const at = free.findIndex(({ byteLength }) => byteLength >= length && byteLength <= most);
  const [buffer] = at < 0 ? [allocate(length < LARGE ? length : Math.max(length, HUGE)).buffer] : free.splice(at, 1);
  return new Uint8Array(buffer!, 0, length);
}

/** Takes a buffer back: nothing may look at it any more. */
export function giveBuffer(buffer: ArrayBuffer): void {
  if (users === 0) return;
  free.push(buffer);
  free.sort((a, b) => a.byteLength - b.byteLength);
  if (free.length > KEPT) free.shift();
}
