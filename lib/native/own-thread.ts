/** About the longest that calls in a row hold a thread whose event loop somebody still wants to be heard on. */
const MILLISECONDS = 100;

/** When the event loop of a thread that is our own has turned last; undefined on a thread that is not. */
let turned: number | undefined;
let turning = false;

/**
 * From now on what is small is done on this thread itself, which has nothing else to do: the way to another thread and back takes longer
 * than the work. For the threads of a batch; on a caller's thread others wait for its event loop.
 */
export function ownThisThread(): void {
  turned = performance.now();
}

/**
 * Whether a small piece of work may hold this thread. Not where its event loop has not turned for a while: what is told to the thread, such
 * as to stop, has to be heard.
 */
export function mayHoldThread(): boolean {
  if (turned === undefined) return false;
  if (performance.now() - turned <= MILLISECONDS) return true;
  if (!turning) {
    turning = true;
    setImmediate(() => {
      turning = false;
      turned = performance.now();
    });
  }
  return false;
}
