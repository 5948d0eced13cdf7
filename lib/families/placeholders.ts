/** Numbers for placeholders: `{ i: 2 }` makes `conv.{i}.weight` `conv.2.weight`. */
export type Numbers = Readonly<Record<string, number>>;

/** Data with its placeholders filled in, in every text; `{n+1}` is the number after `{n}`. */
export function fillPlaceholders<T>(data: T, numbers: Numbers): T {
  const fill = (value: unknown): unknown => {
    if (typeof value === 'string') return fillText(value, numbers);
    if (Array.isArray(value)) return value.map(fill);
    if (typeof value !== 'object' || value === null) return value;
    return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, fill(item)]));
  };
  return fill(data) as T;
}

function fillText(text: string, numbers: Numbers): string {
  return text.replace(/\{([a-z])(\+1)?\}/g, (whole, name: string, next?: string) => {
    const number = numbers[name];
    return number === undefined ? whole : String(next === undefined ? number : number + 1);
  });
}

/** A regular expression for a key, its placeholders as groups of their names. */
export function placeholderPattern(key: string): string {
  return key
    .split(/(\{[a-z]\})/)
    .map((part) =>
      /^\{[a-z]\}$/.test(part) ? `(?<${part[1]}>0|[1-9]\\d*)` : part.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&'),
    )
    .join('');
}
