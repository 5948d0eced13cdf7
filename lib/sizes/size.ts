import { RepfuseError } from '../errors';

/** A size that is known, or an expression of sizes that only a run tells. */
export type Size = number | OpenSize;
export type Sizes = readonly Size[];
/** What arithmetic on such a size makes: a number of numbers. */
export type SizeLike<S extends Size> = S extends number ? number : Size;

/** What is multiplied in a term. Its text tells it from all others. */
export type Factor =
  | { readonly kind: 'name'; readonly text: string }
  | { readonly kind: 'floor'; readonly text: string; readonly of: Size; readonly by: Size }
  | { readonly kind: 'min' | 'max'; readonly text: string; readonly of: Size; readonly by: Size };

interface Term {
  readonly times: number;
  readonly factors: readonly Factor[];
}

/** Beyond any network's: a file could ask for a product of a thousand sums. */
const MAX_TERMS = 64;
const MAX_TEXT = 4000;

class TooLong extends RepfuseError {
  constructor() {
    super('ERR_REPFUSE_GRAPH', 'a size depends on the open ones by too long an expression');
  }
}

/** What `of` makes; undefined where a size in it would be too long an expression: then nothing is known of it. */
export function ifShort<T>(of: () => T): T | undefined {
  try {
    return of();
  } catch (error) {
    if (error instanceof TooLong) return undefined;
    throw error;
  }
}

/**
 * A polynomial with whole coefficients over names, floored quotients, minima and maxima, in one normal form: two that are the same sum of the
 * same terms have the same text.
 */
export class OpenSize {
  readonly text: string;

  /** @param terms none of them 0, no two of the same factors, at least one with factors */
  constructor(readonly terms: readonly Term[]) {
    this.text = textOf(terms);
    if (terms.length > MAX_TERMS || this.text.length > MAX_TEXT) throw new TooLong();
  }

  toString(): string {
    return this.text;
  }
}

export function openSize(name: string): OpenSize {
  return new OpenSize([{ times: 1, factors: [{ kind: 'name', text: name }] }]);
}

export function sum(...sizes: Sizes): Size {
  if (sizes.every((size) => typeof size === 'number')) return (sizes as number[]).reduce((a, b) => a + b, 0);
  return fromTerms(sizes.flatMap(termsOf));
}

export function minus(a: Size, b: Size): Size {
  return sum(a, times(-1, b));
}

export function times(a: Size, b: Size): Size {
  if (typeof a === 'number' && typeof b === 'number') return a * b + 0; // no -0
  const terms = termsOf(a).flatMap((one) =>
    termsOf(b).map((other) => ({ times: one.times * other.times, factors: [...one.factors, ...other.factors] })),
  );
  return fromTerms(terms);
}

export function product(sizes: Sizes): Size {
  return sizes.reduce<Size>(times, 1);
}

/** floor(a / b), of a `b` that is positive. */
export function floorOf(a: Size, b: Size): Size {
  if (typeof a === 'number' && typeof b === 'number') return Math.floor(a / b);
  if (b === 1) return a;
  const apart = extremeApart(a);
  // Rounding down keeps the order: floor((x + max(y, z)) / b) = max(floor((x + y) / b), floor((x + z) / b)).
  if (apart !== undefined)
    return extreme(apart.kind, floorOf(sum(apart.rest, apart.of), b), floorOf(sum(apart.rest, apart.by), b));
  const terms = termsOf(a);
  const divisor = termsOf(b);
  if (divisor.length > 1) return a instanceof OpenSize && a.text === String(b) ? 1 : floorFactor(a, b);
  // What divides goes out of the quotient; of a constant its whole part.
  const [by] = divisor as [Term];
  const outside: Term[] = [];
  const inside: Term[] = [];
  for (const term of terms) {
    const quotient = termQuotient(term, by);
    if (quotient !== undefined) outside.push(quotient);
    else if (term.factors.length === 0 && typeof b === 'number') {
      outside.push({ times: Math.floor(term.times / b), factors: [] });
      inside.push({ times: term.times - b * Math.floor(term.times / b), factors: [] });
    } else inside.push(term);
  }
  return sum(fromTerms(outside), floorOfRest(fromTerms(inside), b));
}

export function ceilOf(a: Size, b: Size): Size {
  if (typeof a === 'number' && typeof b === 'number') return Math.ceil(a / b) + 0;
  return floorOf(minus(sum(a, b), 1), b);
}

/** a / b rounded towards 0, as integers are divided in files. */
export function truncated(a: Size, b: Size): Size {
  if (typeof a === 'number' && typeof b === 'number') return Math.trunc(a / b) + 0;
  if (b === 1) return a;
  if (leastOf(a) >= 0) return floorOf(a, b);
  return sum(greater(0, floorOf(a, b)), lesser(0, ceilOf(a, b)));
}

export function greater(a: Size, b: Size): Size {
  return extreme('max', a, b);
}

export function lesser(a: Size, b: Size): Size {
  return extreme('min', a, b);
}

/** Whether they are the same for all open sizes. */
export function isSame(a: Size, b: Size): boolean {
  return typeof a === 'number' || typeof b === 'number' ? a === b : a.text === b.text;
}

export function areSame(a: Sizes, b: Sizes): boolean {
  return a.length === b.length && a.every((size, i) => isSame(size, b[i]!));
}

/** A number that is not above the size, whatever the open ones, which are at least 1; -Infinity where none is known. */
export function leastOf(size: Size): number {
  if (typeof size === 'number') return size;
  let least = 0;
  for (const { times, factors } of size.terms) {
    let one = times;
    for (const factor of factors) {
      const own = leastFactor(factor);
      if (times < 0 || own < 0) return Number.NEGATIVE_INFINITY;
      one *= own;
    }
    least += one;
  }
  return least;
}

/** All names in a size. */
export function namesIn(size: Size): ReadonlySet<string> {
  const names = new Set<string>();
  for (const open: Size[] = [size]; open.length > 0; ) {
    for (const { factors } of termsOf(open.pop()!)) {
      for (const factor of factors) {
        if (factor.kind === 'name') names.add(factor.text);
        else open.push(factor.of, factor.by);
      }
    }
  }
  return names;
}

/** The size with others in the place of names; names of which nothing is said stay. */
export function substituted(size: Size, values: ReadonlyMap<string, Size>): Size {
  return new Substitution(values).of(size);
}

/** Puts the same sizes in the place of names in many others: what they have in common is worked out once. */
export class Substitution {
  private readonly known = new Map<string, Size>();

  constructor(private readonly values: ReadonlyMap<string, Size>) {}

  of(size: Size): Size {
    if (typeof size === 'number') return size;
    return sum(
      ...size.terms.map(({ times: count, factors }) =>
        factors.reduce<Size>((product, factor) => times(product, this.ofFactor(factor)), count),
      ),
    );
  }

  private ofFactor(factor: Factor): Size {
    let made = this.known.get(factor.text);
    if (made === undefined) {
      made = this.work(factor);
      this.known.set(factor.text, made);
    }
    return made;
  }

  private work(factor: Factor): Size {
    if (factor.kind === 'name') return this.values.get(factor.text) ?? openSize(factor.text);
    const [of, by] = [this.of(factor.of), this.of(factor.by)];
    if (factor.kind !== 'floor') return extreme(factor.kind, of, by);
    if (typeof by === 'number' && by <= 0)
      throw new RepfuseError('ERR_REPFUSE_SHAPE', `Expected a positive divisor but ${factor.text} divides by ${by}`);
    return floorOf(of, by);
  }
}

function leastFactor(factor: Factor): number {
  if (factor.kind === 'name') return 1;
  const [of, by] = [leastOf(factor.of), leastOf(factor.by)];
  if (factor.kind === 'min') return Math.min(of, by);
  if (factor.kind === 'max') return Math.max(of, by);
  if (typeof factor.by === 'number') return Math.floor(of / factor.by);
  return of >= 0 ? 0 : Number.NEGATIVE_INFINITY;
}

function termsOf(size: Size): readonly Term[] {
  return typeof size === 'number' ? [{ times: size, factors: [] }] : size.terms;
}

/** A sum in its normal form. */
function fromTerms(terms: readonly Term[]): Size {
  const byText = new Map<string, Term>();
  for (const { times: count, factors } of terms) {
    const sorted = [...factors].sort((a, b) => (a.text < b.text ? -1 : a.text > b.text ? 1 : 0));
    const text = sorted.map((factor) => factor.text).join(' * ');
    byText.set(text, { times: count + (byText.get(text)?.times ?? 0), factors: sorted });
    if (byText.size > 4 * MAX_TERMS) throw new TooLong();
  }
  const kept = [...byText].filter(([, term]) => term.times !== 0);
  if (kept.length === 0) return 0;
  if (kept.length === 1 && kept[0]![0] === '') return kept[0]![1].times;
  // The constant last.
  kept.sort(([a], [b]) => (a === '' ? 1 : b === '' ? -1 : a < b ? -1 : 1));
  return new OpenSize(kept.map(([, term]) => term));
}

/** A term divided by another, where that leaves no fraction. */
function termQuotient(term: Term, by: Term): Term | undefined {
  const factors = [...term.factors];
  for (const factor of by.factors) {
    const place = factors.findIndex((each) => each.text === factor.text);
    if (place < 0) return undefined;
    factors.splice(place, 1);
  }
  const quotient = term.times / by.times;
  return Number.isInteger(quotient) ? { times: quotient, factors } : undefined;
}

/** Of what has no part that divides. */
function floorOfRest(rest: Size, by: Size): Size {
  if (typeof rest === 'number')
    return typeof by === 'number' ? Math.floor(rest / by) : rest === 0 ? 0 : floorFactor(rest, by);
  if (typeof by !== 'number') return floorFactor(rest, by);
  const constant = rest.terms.find(({ factors }) => factors.length === 0)?.times ?? 0;
  const others = rest.terms.filter(({ factors }) => factors.length > 0);
  const common = others.reduce((divisor, term) => gcd(divisor, Math.abs(term.times)), by);
  if (common > 1) {
    const lowered = others.map((term) => ({ ...term, times: term.times / common }));
    return floorOf(fromTerms([...lowered, { times: Math.floor(constant / common), factors: [] }]), by / common);
  }
  // floor((floor(x / a) + c) / b) = floor((x + a c) / (a b))
  const [only] = others as [Term];
  const [inner] = only.factors as [Factor];
  if (others.length === 1 && only.times === 1 && only.factors.length === 1 && inner.kind === 'floor') {
    if (typeof inner.by === 'number') return floorOf(sum(inner.of, inner.by * constant), inner.by * by);
  }
  return floorFactor(rest, by);
}

/** A sum as a minimum or maximum and the rest, where one of its terms is one. */
function extremeApart(size: Size) {
  const terms = termsOf(size);
  for (const term of terms) {
    const [factor, ...others] = term.factors;
    if (term.times !== 1 || factor === undefined || others.length > 0) continue;
    if (factor.kind !== 'min' && factor.kind !== 'max') continue;
    return { ...factor, kind: factor.kind, rest: fromTerms(terms.filter((each) => each !== term)) };
  }
  return undefined;
}

function floorFactor(of: Size, by: Size): Size {
  if (typeof of !== 'number' && typeof by !== 'number' && of.text === by.text) return 1;
  const text = `floor(${inBrackets(of)} / ${inBrackets(by)})`;
  return new OpenSize([{ times: 1, factors: [{ kind: 'floor', text, of, by }] }]);
}

function extreme(kind: 'min' | 'max', a: Size, b: Size): Size {
  if (typeof a === 'number' && typeof b === 'number') return Math[kind](a, b);
  if (leastOf(minus(a, b)) >= 0) return kind === 'max' ? a : b;
  if (leastOf(minus(b, a)) >= 0) return kind === 'max' ? b : a;
  // Of the same sizes, however they were compared, the same text: each of them once, in one order, none that another makes idle.
  const isIdle = (size: Size, beside: Size) => leastOf(kind === 'max' ? minus(beside, size) : minus(size, beside)) >= 0;
  const kept: Size[] = [];
  for (const size of [...among(kind, a), ...among(kind, b)]) {
    if (kept.some((each) => isIdle(size, each))) continue;
    const left = kept.filter((each) => !isIdle(each, size));
    kept.splice(0, kept.length, ...left, size);
  }
  kept.sort((one, other) => (String(one) < String(other) ? -1 : 1));
  const [first, ...others] = kept as [Size, ...Size[]];
  return others.reduce<Size>((of, by) => {
    return new OpenSize([{ times: 1, factors: [{ kind, text: `${kind}(${of}, ${by})`, of, by }] }]);
  }, first);
}

/** What a minimum or maximum is of; else the size itself. */
function among(kind: 'min' | 'max', size: Size): Sizes {
  const [term, ...others] = termsOf(size);
  const [factor, ...more] = term?.factors ?? [];
  const isOne = others.length === 0 && term?.times === 1 && more.length === 0 && factor?.kind === kind;
  return isOne ? [...among(kind, factor.of), ...among(kind, factor.by)] : [size];
}

function textOf(terms: readonly Term[]): string {
  return terms
    .map(({ times, factors }, i) => {
      const count = Math.abs(times);
      const parts = [...(count === 1 && factors.length > 0 ? [] : [String(count)]), ...factors.map(({ text }) => text)];
      const sign = times < 0 ? (i === 0 ? '-' : ' - ') : i === 0 ? '' : ' + ';
      return sign + parts.join(' * ');
    })
    .join('');
}

function inBrackets(size: Size): string {
  return typeof size === 'number' ||
    (size.terms.length === 1 && size.terms[0]!.times === 1 && size.terms[0]!.factors.length === 1)
    ? String(size)
    : `(${size})`;
}

function gcd(a: number, b: number): number {
  let [x, y] = [a, b];
  while (y !== 0) [x, y] = [y, x % y];
  return x;
}
