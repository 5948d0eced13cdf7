import { setImmediate } from 'node:timers/promises';
import { throwIfAborted } from './call';

/** The longest that a piece of work on the event loop's thread holds it, as far as its own steps allow. */
const MILLISECONDS = 20;

/**
 * A pause for long work in JavaScript, to be awaited between its steps: it lets the event loop turn where that has not for a while.
 *
 * @throws the signal's reason once it has fired
 */
export function eventLoopPause(signal: AbortSignal | undefined): () => Promise<void> | undefined {
  let last = performance.now();
  const turn = async () => {
    await setImmediate();
    last = performance.now();
    throwIfAborted(signal);
  };
  throwIfAborted(signal);
  return () => (performance.now() - last > MILLISECONDS ? turn() : undefined);
}
