import type { Isa } from '../../lib/native/addon';
import { loadAddon } from '../../lib/native/load';

/** Every level, lowest first. What this machine lacks is reported by name in `.ci/run`'s summary. */
export const ALL_ISAS: readonly Isa[] = ['scalar', 'avx2', 'avx512', 'avx512bf16', 'amx'];

/** The levels that this machine can run. */
export function availableIsas(): readonly Isa[] {
  return loadAddon().info().isasAvailable;
}

/** Runs `body` with the kernels of one level, then (of what is asynchronous: in the end) restores the level that was in force. */
export function withIsa<T>(isa: Isa, body: () => T): T {
  const addon = loadAddon();
  const before = addon.info().isa;
  if (!addon.setIsa(isa)) throw new Error(`this machine lacks ${isa}`);
  const restore = () => {
    addon.setIsa(before);
  };
  let result: T;
  try {
    result = body();
  } catch (error) {
    restore();
    throw error;
  }
  if (result instanceof Promise) return result.finally(restore) as T;
  restore();
  return result;
}

/** A test that needs a level: where the machine lacks it, it is skipped by a name that says so, which the summary of `.ci/run` counts apart. */
export function testAt(isa: Isa, name: string, body: () => Promise<void>): void {
  if (availableIsas().includes(isa)) test(name, body);
  else test.skip(`${name} (needs ${isa})`, body);
}
