import type { StateDict } from '../checkpoint/state-dict';
import type { DetectOptions } from './detect-options';
import type { TextEvidence } from './network-evidence';
import type { FamilyRule } from './rule';

/** Layouts that are remembered: those of some sweeps at once. */
const MAX_KNOWN = 8;
/** Tensors of a layout that is remembered: of more the search is the least of the work, and its memory would stay. */
const MAX_TENSORS = 4096;

/**
 * All that the search for blocks looks at, as a text: names, types and shapes in their order, what texts tell, and the options. No
 * value of a tensor is among it, and none may be. undefined where it looks at more: at a graph or at modules.
 */
export function layoutOf(
  tensors: StateDict,
  evidence: TextEvidence,
  { unread = new Map(), rules, families, keyless, eps, epsOf, keysInOrder, moduleAt }: DetectOptions,
): string | undefined {
  if (epsOf !== undefined || moduleAt !== undefined || tensors.size > MAX_TENSORS) return undefined;
  const lines: string[] = [];
  // A name may hold any character: its length tells where it ends.
  for (const [name, { dtype, shape }] of tensors) lines.push(`${name.length} ${name} ${dtype} ${shape.join()}`);
  return (
    JSON.stringify([evidence, [...unread], numberOf(rules), families, keyless, eps, keysInOrder]) + lines.join('\n')
  );
}

const numbers = new WeakMap<readonly FamilyRule[], number>();
let lists = 0;

/** Which list of rules it is: they are known by being the same, and stay as they are once they are checked. */
function numberOf(rules: readonly FamilyRule[] | undefined): number {
  if (rules === undefined) return 0;
  const number = numbers.get(rules) ?? ++lists;
  numbers.set(rules, number);
  return number;
}

/** What is known of the layouts that were seen last. */
export class KnownLayouts<T> {
  private readonly known = new Map<string, T>();

  get(layout: string | undefined): T | undefined {
    return layout === undefined ? undefined : this.known.get(layout);
  }

  set(layout: string | undefined, value: T): void {
    if (layout === undefined) return;
    this.known.delete(layout); // the one used last stands at the end
    this.known.set(layout, value);
    const [oldest] = this.known.keys();
    if (this.known.size > MAX_KNOWN) this.known.delete(oldest!);
  }
}
