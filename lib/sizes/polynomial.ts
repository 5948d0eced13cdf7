/** What sizes are sums of products of: a name, or an operation on sizes. Equal texts are equal atoms. */
export interface Atom {
  readonly text: string;
  readonly operation?: Operation;
}

export interface Operation {
  readonly kind: 'floor' | 'min' | 'max';
  readonly first: Polynomial;
  readonly second: Polynomial;
}

/** A product: a whole factor times atoms, in the order of their texts. */
export interface Term {
  readonly factor: number;
  readonly atoms: readonly Atom[];
}

/** A sum of terms of different atoms, none with the factor 0, in the order of their texts; a constant comes last. */
export type Polynomial = readonly Term[];

/** No size, or one beyond what sizes may be; who reads or computes it says where. */
export class UnusableSize extends Error {}

/** Far more than those of any network's sizes, few enough that nothing made of them takes long. */
const MAX_TERMS = 64;
const MAX_FACTORS = 16;

export const constantOf = (value: number): Polynomial => (value === 0 ? [] : [{ factor: safe(value), atoms: [] }]);
export const polynomialOf = (atom: Atom): Polynomial => [{ factor: 1, atoms: [atom] }];

/** The number that a polynomial is; undefined where it has atoms. */
export function numberOf(sum: Polynomial): number | undefined {
  const [first] = sum;
  if (first === undefined) return 0;
  return first.atoms.length === 0 ? first.factor : undefined;
}

/** What is added to the terms that have atoms. */
export function constantIn(sum: Polynomial): number {
  const last = sum.at(-1);
  return last?.atoms.length === 0 ? last.factor : 0;
}

export function added(...sums: readonly Polynomial[]): Polynomial {
  const terms = new Map<string, Term>();
  for (const { factor, atoms } of sums.flat()) {
    const key = keyOf(atoms);
    terms.set(key, { factor: safe((terms.get(key)?.factor ?? 0) + factor), atoms });
  }
  const sum = [...terms].filter(([, { factor }]) => factor !== 0);
  if (sum.length > MAX_TERMS) throw new UnusableSize(`a size of more than ${MAX_TERMS} terms`);
  return sum.sort(([a], [b]) => (a === '' ? 1 : b === '' || a < b ? -1 : 1)).map(([, term]) => term);
}

export function multiplied(a: Polynomial, b: Polynomial): Polynomial {
  return added(
    a.flatMap((first) =>
      b.map((second) => {
        const atoms = [...first.atoms, ...second.atoms].sort((x, y) => (x.text < y.text ? -1 : 1));
        if (atoms.length > MAX_FACTORS) throw new UnusableSize(`a product of more than ${MAX_FACTORS} sizes`);
        return { factor: safe(first.factor * second.factor), atoms };
      }),
    ),
  );
}

export function negated(sum: Polynomial): Polynomial {
  return sum.map(({ factor, atoms }) => ({ factor: -factor, atoms }));
}

/** a / b where that is a polynomial. */
export function divided(a: Polynomial, b: Polynomial): Polynomial | undefined {
  const [lead] = b;
  if (lead === undefined) return undefined;
  let [quotient, rest]: [Polynomial, Polynomial] = [[], a];
  for (let i = 0; rest.length > 0; i++) {
    const next = rest.map((term) => over(term, lead)).find((term) => term !== undefined);
    if (next === undefined || i > MAX_TERMS) return undefined;
    quotient = added(quotient, [next]);
    rest = added(rest, negated(multiplied([next], b)));
  }
  return quotient;
}

/** A term over another, where that is one. */
function over(a: Term, b: Term): Term | undefined {
  const atoms = [...a.atoms];
  for (const { text } of b.atoms) {
    const place = atoms.findIndex((atom) => atom.text === text);
    if (place < 0) return undefined;
    atoms.splice(place, 1);
  }
  return a.factor % b.factor === 0 ? { factor: a.factor / b.factor, atoms } : undefined;
}

export function textOf(sum: Polynomial): string {
  if (sum.length === 0) return '0';
  return sum
    .map(({ factor, atoms }, i) => {
      const size = Math.abs(factor);
      const product = [...(size === 1 && atoms.length > 0 ? [] : [size]), ...atoms.map(({ text }) => text)].join('*');
      const sign = factor < 0 ? '-' : '+';
      return i > 0 ? ` ${sign} ${product}` : factor < 0 ? `-${product}` : product;
    })
    .join('');
}

/** The names of open sizes in a polynomial. */
export function namesIn(sum: Polynomial, names = new Set<string>()): Set<string> {
  for (const { atoms } of sum) {
    for (const { text, operation } of atoms) {
      if (operation === undefined) names.add(text);
      else for (const part of [operation.first, operation.second]) namesIn(part, names);
    }
  }
  return names;
}

/** @throws UnusableSize beyond 2^53 */
export function safe(value: number): number {
  if (!Number.isSafeInteger(value)) throw new UnusableSize('a size beyond 2^53');
  return value === 0 ? 0 : value;
}

function keyOf(atoms: readonly Atom[]): string {
  return atoms.map(({ text }) => text).join('*');
}
