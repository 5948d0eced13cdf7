import { type ErrorCode, RepfuseError } from '../errors';
import type { NativeArguments, NativeCall, NativeOperator, NativeStatus } from './addon';
import { loadAddon } from './load';

/** Error codes by the native status, in the order of `Code` in native/include/repfuse/status.h. */
const STATUS_CODES: readonly ErrorCode[] = [
  'ERR_REPFUSE_NATIVE', // kOk, never an error
  'ERR_REPFUSE_INVALID_ARGUMENT',
  'ERR_REPFUSE_NATIVE',
  'ERR_REPFUSE_NOT_FINITE',
  'ERR_REPFUSE_NATIVE',
  'ERR_REPFUSE_NATIVE', // kCancelled: the signal's reason is thrown first
  'ERR_REPFUSE_MEMORY',
];

/** Runs a native operator on the calling thread, helped by the pool. @throws RepfuseError when it reports a failure. */
export function callNative(operator: NativeOperator, args: NativeArguments): void {
  throwIfFailed(operator, loadAddon()[operator](args));
}

export interface AsyncCallOptions {
  readonly signal?: AbortSignal | undefined;
  /** Use the arrays where they lie instead of copying them: only for memory that nobody else can touch or detach. */
  readonly borrow?: boolean | undefined;
}

/**
 * Runs a native operator on the process-wide pool: the event loop stays free and libuv's threads are not used.
 *
 * @throws the signal's reason when aborted before or during the run.
 */
export async function callNativeAsync(
  operator: NativeOperator,
  args: NativeArguments,
  { signal, borrow = false }: AsyncCallOptions = {},
): Promise<void> {
  throwIfAborted(signal);
  const addon = loadAddon();
  const started = addon[`${operator}Async`](args, borrow);
  if (!isCall(started)) return throwIfFailed(operator, started);
  const onAbort = () => addon.cancel(started.id);
  signal?.addEventListener('abort', onAbort, { once: true });
  try {
    const status = await started.promise;
    throwIfAborted(signal);
    throwIfFailed(operator, status);
  } finally {
    signal?.removeEventListener('abort', onAbort);
  }
}

/** @throws the signal's reason, whatever it is, if the signal has fired: as `fetch` does. */
export function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw signal.reason;
}

function isCall(started: NativeCall | NativeStatus): started is NativeCall {
  return 'promise' in started;
}

/** @throws RepfuseError for a status that is a failure. */
export function throwIfFailed(operator: string, status: NativeStatus | null): void {
  if (status === null) return;
  throw new RepfuseError(STATUS_CODES[status.code] ?? 'ERR_REPFUSE_NATIVE', `${operator} failed: ${status.message}`, {
    operator,
    where: status.where,
  });
}
