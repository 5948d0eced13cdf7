import { RepfuseError } from '../errors';
import { loadAddon } from './load';

/** Upper bound on the threads of one call (kMaxThreads of native/include/repfuse/parallel.h). */
const MAX_THREADS = 64;

/** Asked for once: reading the cgroup's files takes longer than a small operator. */
let defaultThreads: number | undefined;

/**
 * How many threads a call uses: the option, else `REPFUSE_NUM_THREADS`, else min(CPU affinity, ceil(cgroup quota)).
 *
 * @throws ERR_REPFUSE_INVALID_ARGUMENT unless an integer from 1 to 64.
 */
export function resolveThreads(option: number | undefined): number {
  if (option !== undefined) return checkThreads(option, 'threads');
  const fromEnvironment = process.env.REPFUSE_NUM_THREADS;
  if (fromEnvironment !== undefined && fromEnvironment !== '') {
    return checkThreads(Number(fromEnvironment), 'REPFUSE_NUM_THREADS', JSON.stringify(fromEnvironment));
  }
  defaultThreads ??= loadAddon().info().defaultThreads;
  return defaultThreads;
}

/** @param received what the caller gave, where that is no number yet */
function checkThreads(threads: number, name: string, received = String(threads)): number {
  if (!Number.isInteger(threads) || threads < 1 || threads > MAX_THREADS) {
    throw new RepfuseError(
      'ERR_REPFUSE_INVALID_ARGUMENT',
      `Expected an integer from 1 to ${MAX_THREADS} for ${name} but received ${received}`,
    );
  }
  return threads;
}
