import { type Numbers, placeholderPattern } from './placeholders';

/** The keys of a state dict, sorted: finds those with a common beginning without walking through all. */
export class KeyIndex {
  private readonly sorted: readonly string[];
  private readonly positions: ReadonlyMap<string, number>;

  constructor(keys: Iterable<string>) {
    const inOrder = [...keys];
    this.positions = new Map(inOrder.map((key, position) => [key, position]));
    this.sorted = inOrder.sort();
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
