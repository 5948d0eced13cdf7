import {
  added,
  constantIn,
  constantOf,
  divided,
  multiplied,
  negated,
  numberOf,
  type Operation,
  type Polynomial,
  polynomialOf,
  safe,
  type Term,
  textOf,
  UnusableSize,
} from './polynomial';

/**
 * floor(a / b) in its one form: what b divides stands before the division, divisions of divisions are one, and the first factor is at most half
 * of the divisor (ceil(a / b) is floor((a + b - 1) / b), or minus the floor of -a / b, which would be two).
 *
 * @throws UnusableSize where b is 0
 */
export function floored(a: Polynomial, b: Polynomial): Polynomial {
  const exact = divided(a, b);
  if (exact !== undefined) return exact;
  const divisor = numberOf(b);
  if (divisor === undefined) return operation('floor', a, b);
  if (divisor === 0) throw new UnusableSize('a division by 0');
  return divisor < 0 ? flooredBy(negated(a), -divisor) : flooredBy(a, divisor);
}

function flooredBy(a: Polynomial, divisor: number): Polynomial {
  const whole = a.map(({ factor, atoms }) => ({ factor: Math.floor(factor / divisor), atoms }));
  const rest = added(a, negated(scaled(whole, divisor)));
  return added(whole, fraction(rest, divisor));
}

/** Of factors from 0 to the divisor. */
function fraction(rest: Polynomial, divisor: number): Polynomial {
  const [first] = rest;
  if (first === undefined || first.atoms.length === 0) return [];
  const constant = constantIn(rest);
  const open = rest.filter(({ atoms }) => atoms.length > 0);
  const common = open.reduce((divisor, { factor }) => greatestCommonDivisor(divisor, factor), divisor);
  if (common > 1) {
    const reduced = open.map(({ factor, atoms }) => ({ factor: factor / common, atoms }));
    return flooredBy(added(reduced, constantOf(Math.floor(constant / common))), divisor / common);
  }
  const inner =
    open.length === 1 && first.factor === 1 && first.atoms.length === 1 ? first.atoms[0]!.operation : undefined;
  const innerDivisor = inner?.kind === 'floor' ? numberOf(inner.second) : undefined;
  if (inner !== undefined && innerDivisor !== undefined)
    return flooredBy(added(inner.first, constantOf(safe(constant * innerDivisor))), safe(divisor * innerDivisor));
  if (2 * first.factor > divisor) return negated(flooredBy(added(negated(rest), constantOf(divisor - 1)), divisor));
  return operation('floor', rest, constantOf(divisor));
}

export function smaller(a: Polynomial, b: Polynomial): Polynomial {
  if (isAtLeast(b, a)) return a;
  return isAtLeast(a, b) ? b : operation('min', ...inOrder(a, b));
}

export function larger(a: Polynomial, b: Polynomial): Polynomial {
  if (isAtLeast(a, b)) return a;
  return isAtLeast(b, a) ? b : operation('max', ...inOrder(a, b));
}

function inOrder(a: Polynomial, b: Polynomial): readonly [Polynomial, Polynomial] {
  return textOf(a) < textOf(b) ? [a, b] : [b, a];
}

/** Levels of operations within operations. */
const MAX_DEPTH = 24;

function operation(kind: Operation['kind'], first: Polynomial, second: Polynomial): Polynomial {
  if (1 + Math.max(depthOf(first), depthOf(second)) > MAX_DEPTH)
    throw new UnusableSize(`a size of more than ${MAX_DEPTH} levels`);
  const text =
    kind === 'floor' ? `floor(${operand(first)}/${operand(second)})` : `${kind}(${textOf(first)}, ${textOf(second)})`;
  if (text.length > MAX_TEXT) throw new UnusableSize(`a size of more than ${MAX_TEXT} characters`);
  return polynomialOf({ text, operation: { kind, first, second } });
}

/** Of a division, in parentheses where it is more than a name or a number. */
function operand(sum: Polynomial): string {
  const text = textOf(sum);
  return /^[\w.]+$/.test(text) ? text : `(${text})`;
}

/** Characters of a size: far beyond those of any network. */
export const MAX_TEXT = 1000;

function depthOf(sum: Polynomial): number {
  const depths = sum.flatMap(({ atoms }) =>
    atoms.map(({ operation }) =>
      operation === undefined ? 0 : 1 + Math.max(depthOf(operation.first), depthOf(operation.second)),
    ),
  );
  return Math.max(0, ...depths);
}

/** Whether a >= b for all sizes that there are: open ones are 1 at least. False where that is not seen. */
export function isAtLeast(a: Polynomial, b: Polynomial): boolean {
  return leastOf(added(a, negated(b))) >= 0;
}

/** A number that a polynomial is never below, where open sizes are 1 at least; -Infinity where none is found. */
export function leastOf(sum: Polynomial): number {
  const constant = constantIn(sum);
  // A division by a number lies between two lines; over them what the terms have in common cancels out.
  const lines = new Map<string, { factor: number; term: Term }>();
  const line = (factor: number, term: Term) => {
    const key = textOf([{ ...term, factor: 1 }]);
    lines.set(key, { factor: (lines.get(key)?.factor ?? 0) + factor, term });
  };
  let least = constant;
  for (const term of sum) {
    const { factor, atoms } = term;
    if (atoms.length === 0) continue;
    const [atom] = atoms;
    const divisor =
      atoms.length === 1 && atom!.operation?.kind === 'floor' ? numberOf(atom!.operation.second) : undefined;
    if (divisor === undefined) {
      line(factor, term);
      continue;
    }
    const { first } = atom!.operation!;
    least += (factor * (constantIn(first) - (factor > 0 ? divisor - 1 : 0))) / divisor;
    for (const inner of first) if (inner.atoms.length > 0) line((factor * inner.factor) / divisor, inner);
  }
  for (const { factor, term } of lines.values()) {
    if (Math.abs(factor) < 1e-9) continue;
    const bounds = term.atoms.map(({ operation }) => (operation === undefined ? 1 : leastOfOperation(operation)));
    if (factor < 0 || bounds.some((bound) => bound < 0)) return -Infinity;
    least += factor * bounds.reduce((product, bound) => product * bound, 1);
  }
  return Math.ceil(least - 1e-9);
}

function leastOfOperation({ kind, first, second }: Operation): number {
  const [a, b] = [leastOf(first), leastOf(second)];
  if (kind === 'min') return Math.min(a, b);
  if (kind === 'max') return Math.max(a, b);
  return a >= 0 && b >= 1 ? 0 : -Infinity;
}

function scaled(sum: Polynomial, factor: number): Polynomial {
  return multiplied(sum, constantOf(factor));
}

function greatestCommonDivisor(a: number, b: number): number {
  return b === 0 ? Math.abs(a) : greatestCommonDivisor(b, a % b);
}
