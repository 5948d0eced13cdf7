import { greater, isSame, leastOf, minus, openSize, type Size, Substitution, times } from './size';

/** Two sizes that must be the same, which depends on open ones. */
export type Condition = readonly [Size, Size];

let gathered: Map<string, Condition> | undefined;

/** What `of` makes, and the conditions under which the sizes that it met fit each other. */
export function withConditions<T>(of: () => T): { readonly made: T; readonly conditions: readonly Condition[] } {
  const outer = gathered;
  const own = new Map<string, Condition>();
  gathered = own;
  try {
    const made = of();
    for (const [text, condition] of own) outer?.set(text, condition);
    return { made, conditions: [...own.values()] };
  } finally {
    gathered = outer;
  }
}

/** Whether two sizes may be the same: not where they never are. Where it depends on open sizes, it is a condition. */
export function agree(a: Size, b: Size): boolean {
  if (typeof a === 'number' && typeof b === 'number') return a === b;
  if (isSame(a, b)) return true;
  if (leastOf(minus(a, b)) > 0 || leastOf(minus(b, a)) > 0) return false;
  gathered?.set(`${a} = ${b}`, [a, b]);
  return true;
}

export function allAgree(a: readonly Size[], b: readonly Size[]): boolean {
  return a.length === b.length && a.every((size, i) => agree(size, b[i]!));
}

/** Numpy's rule for one axis: a 1 spreads; undefined where they never meet. */
export function met(a: Size, b: Size): Size | undefined {
  if (a === 1) return b;
  if (b === 1 || isSame(a, b)) return a;
  if (typeof a === 'number' && typeof b === 'number') return undefined;
  agree(a, b);
  return typeof a === 'number' ? a : typeof b === 'number' ? b : greater(a, b);
}

/** The least number of which the sizes of these names must be multiples, so that as many of the conditions hold as can. */
export function multipleFor(conditions: readonly Condition[], names: readonly string[]): number {
  let [best, most] = [1, -1];
  for (const multiple of MULTIPLES) {
    // By numbers first, which is quick: few multiples are worth the expressions.
    const likely = SAMPLES.reduce((left, sample) => holdAt(left, names, multiple * sample), conditions);
    if (likely.length <= most) continue;
    const substitution = new Substitution(new Map(names.map((name) => [name, times(multiple, openSize(name))])));
    const { length } = likely.filter((condition) => holds(condition, substitution));
    if (length > most) [best, most] = [multiple, length];
    if (most === conditions.length) break;
  }
  return best;
}

/** The conditions that may hold once all of the names are of this size; one that says nothing of it may. */
function holdAt(conditions: readonly Condition[], names: readonly string[], size: number): readonly Condition[] {
  const substitution = new Substitution(new Map(names.map((name) => [name, size])));
  return conditions.filter((condition) => {
    try {
      return holds(condition, substitution);
    } catch {
      return true; // it divides by what is 0 there
    }
  });
}

function holds([a, b]: Condition, substitution: Substitution): boolean {
  return isSame(substitution.of(a), substitution.of(b));
}

/** How many times a multiple is tried: even, odd, and past the halvings of any network. */
const SAMPLES = [1, 2, 3, 37];

/** Of halvings, of windows of 3, 5, 7 and so on, and of both. */
const MULTIPLES = [
  ...new Set(
    [1, 3, 5, 7, 9, 11, 13, 14, 15].flatMap((odd) => [1, 2, 4, 8, 16, 32, 64, 128].map((power) => odd * power)),
  ),
]
  .filter((multiple) => multiple <= 512)
  .sort((a, b) => a - b);
