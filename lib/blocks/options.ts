import { RepfuseError } from '../errors';

/** @throws ERR_REPFUSE_INVALID_ARGUMENT for an option that does not exist, naming the nearest that does. */
export function checkOptions(owner: string, options: object, known: readonly string[]): void {
  for (const name of Object.keys(options)) {
    if (known.includes(name)) continue;
    const nearest = [...known].sort((a, b) => editDistance(name, a) - editDistance(name, b))[0]!;
    throw new RepfuseError(
      'ERR_REPFUSE_INVALID_ARGUMENT',
      `Expected an option of ${owner} but received ${name}: did you mean ${nearest}?`,
      { option: name, nearest },
    );
  }
}

/** @throws ERR_REPFUSE_INVALID_ARGUMENT unless an integer of at least `minimum`. */
export function expectInteger(value: number, name: string, minimum = 1): number {
  if (!Number.isSafeInteger(value) || value < minimum) {
    throw new RepfuseError(
      'ERR_REPFUSE_INVALID_ARGUMENT',
      `Expected an integer of at least ${minimum} for ${name} but received ${value}`,
    );
  }
  return value;
}

/** Levenshtein distance, case aside. */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1]!.toLowerCase() === b[j - 1]!.toLowerCase();
      next.push(Math.min(next[j - 1]! + 1, row[j]! + 1, row[j - 1]! + (same ? 0 : 1)));
    }
    row = next;
  }
  return row[b.length]!;
}
