import { type Numbers, placeholderPattern } from './placeholders';

/** Names at the end of a key that the index knows; longer endings are looked for by the last of them. */
const TAIL_NAMES = 6;

/** The keys of a state dict: finds those with a common beginning, or a common ending, without walking through all. */
export class KeyIndex {
  private readonly sorted: readonly string[];
  private readonly positions: ReadonlyMap<string, number>;
  private readonly tails = new Map<string, string[]>();

  constructor(keys: Iterable<string>) {
    const inOrder = [...keys];
    this.positions = new Map(inOrder.map((key, position) => [key, position]));
    for (const key of inOrder) this.addTails(key);
    this.sorted = inOrder.sort();
  }

  private addTails(key: string): void {
    const shape = shapeOf(key);
    for (let names = 0, at = shape.length; names < TAIL_NAMES && at >= 0; names++) {
      at = at === 0 ? -1 : shape.lastIndexOf('.', at - 1);
      const tail = shape.slice(at + 1);
      const known = this.tails.get(tail);
      if (known === undefined) this.tails.set(tail, [key]);
      else known.push(key);
    }
  }

  /** The keys of which the last names are those of `ending`, whatever the numbers in it: candidates to look at closely. */
  endingLike(ending: string): readonly string[] {
    const names = shapeOf(ending).split('.');
    return this.tails.get(names.slice(-TAIL_NAMES).join('.')) ?? [];
  }

  has(key: string): boolean {
    return this.positions.has(key);
  }

  /** Position of a key in the state dict, which must have it. */
  positionOf(key: string): number {
    return this.positions.get(key)!;
  }

  /** The keys that begin with `start`. */
  under(start: string): string[] {
    let low = 0;
    let high = this.sorted.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.sorted[middle]! < start) low = middle + 1;
      else high = middle;
    }
    const found: string[] = [];
    for (let i = low; this.sorted[i]?.startsWith(start) === true; i++) found.push(this.sorted[i]!);
    return found;
  }

  /**
   * The sets of numbers for which there is a key that begins like `key`, up to its last placeholder and then a dot, ascending.
   *
   * @param prefix of `key`, taken literally
   */
  numbersOf(prefix: string, key: string): Numbers[] {
    const beginning = key.slice(0, key.lastIndexOf('}') + 1);
    const literal = prefix + beginning.slice(0, beginning.indexOf('{'));
    const pattern = new RegExp(`^${placeholderPattern(beginning)}\\.`);
    const found = new Map<string, Numbers>();
    for (const name of this.under(literal)) {
      const groups = pattern.exec(name.slice(prefix.length))?.groups;
      if (groups === undefined) continue;
      const numbers = Object.fromEntries(
        Object.entries(groups).map(([placeholder, text]) => [placeholder, Number(text)]),
      );
      found.set(Object.values(groups).join(), numbers);
    }
    return [...found.values()].sort(ascending);
  }
}

function ascending(a: Numbers, b: Numbers): number {
  const difference = Object.keys(a).find((name) => a[name] !== b[name]);
  return difference === undefined ? 0 : a[difference]! - b[difference]!;
}

/** A key with its numbers, and the placeholders for numbers, made equal. */
function shapeOf(key: string): string {
  return key.replace(/\d+|\{[a-z](?:\+1)?\}/g, '#');
}
