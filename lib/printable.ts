/** What a terminal acts on, or turns the reading direction with, and JSON leaves as it is. */
const UNSEEN = /[\u007f-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]/g;

/** Control characters, which JSON escapes. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: those are looked for
const CONTROL = /[\0-\x1f]/g;

function escaped(char: string): string {
  return `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`;
}

/** A text of several lines with nothing in it that a terminal would act on; JSON stays what it is. */
export function printableLines(text: string): string {
  return text.replace(CONTROL, (char) => (char === '\n' ? char : escaped(char))).replace(UNSEEN, escaped);
}

/** A text as one line with nothing in it that a terminal would act on; of a list or an object all texts in it. */
export function printable<T>(value: T): T {
  if (typeof value === 'string') return value.replace(CONTROL, escaped).replace(UNSEEN, escaped) as T;
  if (Array.isArray(value)) return value.map(printable) as T;
  if (typeof value !== 'object' || value === null || Object.getPrototypeOf(value) !== Object.prototype) return value;
  return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, printable(item)])) as T;
}
