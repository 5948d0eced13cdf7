import { RepfuseError } from './errors';

/** @throws ERR_REPFUSE_INVALID_ARGUMENT for an option that does not exist, naming the nearest that does. */
export function checkOptions(owner: string, options: object, known: readonly string[]): void {
  if (typeof options !== 'object' || options === null) {
    throw new RepfuseError(
      'ERR_REPFUSE_INVALID_ARGUMENT',
      `Expected an object for the options of ${owner} but received ${options}`,
    );
  }
  for (const name of Object.keys(options)) {
    if (known.includes(name)) continue;
    const nearest = nearestOf(name, known);
    throw new RepfuseError(
      'ERR_REPFUSE_INVALID_ARGUMENT',
      `Expected an option of ${owner} but received ${name}: did you mean ${nearest}?`,
      { option: name, nearest },
    );
  }
}

/**
 * @param given options that mean nothing for a file, by their names
 * @param what it is, such as `x.onnx, an ONNX model`
 * @throws ERR_REPFUSE_INVALID_ARGUMENT for the first that is there
 */
export function expectNone(given: Readonly<Record<string, unknown>>, what: string, file: string): void {
  const [option] = Object.keys(given).filter((name) => given[name] !== undefined);
  if (option === undefined) return;
  throw new RepfuseError('ERR_REPFUSE_INVALID_ARGUMENT', `Expected no \`${option}\` for ${what}`, { file, option });
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

/** @throws ERR_REPFUSE_INVALID_ARGUMENT unless true, false or absent. */
export function expectBoolean(value: boolean | undefined, name: string, fallback: boolean): boolean {
  if (value === undefined) return fallback;
  if (typeof value !== 'boolean') {
    throw new RepfuseError(
      'ERR_REPFUSE_INVALID_ARGUMENT',
      `Expected true or false for ${name} but received ${JSON.stringify(value)}`,
    );
  }
  return value;
}

/** @throws ERR_REPFUSE_INVALID_ARGUMENT unless one of `choices`, or absent: then the first. */
export function expectChoice<T extends string>(value: T | undefined, name: string, choices: readonly [T, ...T[]]): T {
  if (value === undefined) return choices[0];
  if (!choices.includes(value)) {
    throw new RepfuseError(
      'ERR_REPFUSE_INVALID_ARGUMENT',
      `Expected ${choices.join(' or ')} for ${name} but received ${JSON.stringify(value)}`,
    );
  }
  return value;
}

/** The known name that takes the fewest edits to reach. */
export function nearestOf(name: string, known: readonly string[]): string {
  return [...known].sort((a, b) => editDistance(name, a) - editDistance(name, b))[0]!;
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
