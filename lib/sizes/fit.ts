import { evaluate, type OpenSizes } from './evaluate';
import { type Polynomial, UnusableSize } from './polynomial';
import type { Requirement } from './shape';
import { openNames, polynomial, type Size } from './size';

/** Longest period that is looked through. */
const MAX_PERIOD = 4096;

/** Whether sizes are what they must be. */
export function isMet({ left, right }: Requirement, open: OpenSizes): boolean {
  try {
    return evaluate(left, open) === evaluate(right, open);
  } catch (error) {
    if (error instanceof UnusableSize) return false;
    throw error;
  }
}

/**
 * The number of which an open size must be a multiple, or as good as: the least whose multiples all meet the requirements. Sizes are linear but for
 * divisions by numbers, so that what holds over one period of all divisions holds everywhere.
 *
 * @returns undefined where it is none
 */
export function requiredMultiple(name: string, requirements: readonly Requirement[]): number | undefined {
  const own = requirements.filter(({ left, right }) => openNames(left).has(name) || openNames(right).has(name));
  const period = own.flatMap(({ left, right }) => [periodOf(left), periodOf(right)]).reduce(commonPeriod, 1);
  if (own.length === 0 || period > MAX_PERIOD) return undefined;
  const others = own.flatMap(({ left, right }) => [...openNames(left), ...openNames(right)]);
  for (let multiple = 1; multiple <= period; multiple++) {
    if (period % multiple !== 0) continue;
    const count = period / multiple;
    const all = Array.from({ length: count }, (_, i) => period + i * multiple);
    const fits = (size: number) => {
      const open = new Map([...others.map((other) => [other, period] as const), [name, size] as const]);
      return own.every((requirement) => isMet(requirement, open));
    };
    if (all.every(fits)) return multiple;
  }
  return undefined;
}

function periodOf(size: Size): number {
  return divisorsOf(polynomial(size)).reduce(commonPeriod, 1);
}

/** The numbers that a size divides by. */
function divisorsOf(sum: Polynomial): number[] {
  return sum.flatMap(({ atoms }) =>
    atoms.flatMap(({ operation }) => {
      if (operation === undefined) return [];
      const inner = [...divisorsOf(operation.first), ...divisorsOf(operation.second)];
      const [divisor] = operation.second;
      return operation.kind === 'floor' && divisor?.atoms.length === 0 ? [...inner, divisor.factor] : inner;
    }),
  );
}

/** The least common multiple; Infinity beyond the longest period. */
function commonPeriod(a: number, b: number): number {
  let [x, y] = [a, b];
  while (y !== 0) [x, y] = [y, x % y];
  const multiple = (a / x) * b;
  return multiple <= MAX_PERIOD ? multiple : Number.POSITIVE_INFINITY;
}
