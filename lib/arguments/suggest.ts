/** Letters that may be wrong in a name for another to be meant: with more it is a guess. */
const MAX_EDITS = 2;

/** `: did you mean stride?` where one of the known names is at most two letters away, case aside; else nothing. */
export function suggestion(name: string, known: readonly string[]): string {
  const nearest = nearestOf(name, known);
  return nearest === undefined ? '' : `: did you mean ${nearest}?`;
}

/** The known name that takes the fewest edits to reach, at most two and fewer than it has letters. */
export function nearestOf(name: string, known: readonly string[]): string | undefined {
  const near = known
    .filter((other) => Math.abs(other.length - name.length) <= MAX_EDITS)
    .map((other) => ({ other, edits: editDistance(name.toLowerCase(), other.toLowerCase()) }))
    .filter(({ other, edits }) => edits <= MAX_EDITS && edits < other.length);
  return near.sort((a, b) => a.edits - b.edits)[0]?.other;
}

/** Levenshtein's. */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      next.push(Math.min(next[j - 1]! + 1, row[j]! + 1, row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1)));
    }
    row = next;
  }
  return row[b.length]!;
}
