import { version } from '../../package.json';
import type { NativeInfo } from './addon';
import { loadAddon } from './load';
import { resolveThreads } from './threads';

/** What runs on this machine. */
export interface Info extends Omit<NativeInfo, 'defaultThreads'> {
  readonly version: string;
  readonly node: string;
  readonly napi: string | undefined;
  /** Threads that a call uses unless it says otherwise. */
  readonly threads: number;
}

/**
 * Version, CPU level and threads in force.
 *
 * @throws ERR_REPFUSE_NO_NATIVE if the addon cannot be loaded.
 */
export function info(): Info {
  const { defaultThreads: _, ...native } = loadAddon().info();
  return {
    version,
    node: process.versions.node,
    napi: process.versions.napi,
    threads: resolveThreads(undefined),
    ...native,
  };
}
