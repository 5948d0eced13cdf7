/** The keys of a state dict, sorted: finds those with a common beginning without walking through all. */
export class KeyIndex {
  private readonly sorted: readonly string[];

  constructor(keys: Iterable<string>) {
    this.sorted = [...keys].sort();
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

  /** The whole numbers that follow `start`, up to the next dot, ascending. */
  indicesAfter(start: string): number[] {
    const numbers = this.under(start).flatMap((key) => /^(0|[1-9]\d*)\./.exec(key.slice(start.length))?.[1] ?? []);
    return [...new Set(numbers)].map(Number).sort((a, b) => a - b);
  }
}
