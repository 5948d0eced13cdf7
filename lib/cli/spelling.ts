/** Options of the library whose flags have another name. */
const OTHER_NAMES: Readonly<Record<string, string>> = { families: 'family', hash: 'no-hash', keepBlocks: 'keep' };

/**
 * A text of the library with options as the command line spells them. The library marks their names in its texts with backticks
 * (`keyPath`), or tells one as an error's `details.option`: `--key-path`. What the command has no flag for keeps its name.
 *
 * @param flags the command's own, by their long names without dashes
 * @param option the name that the text may hold without backticks
 */
export function spellOptions(text: string, flags: ReadonlySet<string>, option?: unknown): string {
  const marked = text.replace(MARKED, (_, name: string) => flagOf(name, flags) ?? name);
  const flag = typeof option === 'string' ? flagOf(option, flags) : undefined;
  if (flag === undefined) return marked;
  // As a word of its own: not in a path, a quoted value or a flag.
  return marked.replace(new RegExp(`(?<![\\w./"'-])${option}(?![\\w/"'-]|\\.\\w)`, 'g'), flag);
}

/** A single word: `git lfs pull` is no option. */
const MARKED = /`([A-Za-z]+)`/g;

function flagOf(option: string, flags: ReadonlySet<string>): string | undefined {
  if (!/^[A-Za-z]+$/.test(option)) return undefined;
  const own = Object.hasOwn(OTHER_NAMES, option) ? OTHER_NAMES[option]! : option;
  const flag = own.replace(/[A-Z]/g, (capital) => `-${capital.toLowerCase()}`);
  return flags.has(flag) ? `--${flag}` : undefined;
}
