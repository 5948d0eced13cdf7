/** What is wrong with a JSON text. */
export class JsonProblem extends Error {
  constructor(
    problem: string,
    /** The name that an object has twice. */
    readonly duplicate?: string,
  ) {
    super(problem);
  }
}

/** Objects and lists in a text: three a tensor are needed, and each costs far more memory than text. */
const MAX_VALUES = 1 << 22;

const [QUOTE, COMMA, COLON, BACKSLASH] = [0x22, 0x2c, 0x3a, 0x5c];
const [OPEN_LIST, CLOSE_LIST, OPEN_OBJECT, CLOSE_OBJECT] = [0x5b, 0x5d, 0x7b, 0x7d];

/**
 * The entries of an untrusted JSON object, one at a time, so that a large one can be read in turns: `JSON.parse` would hold the thread,
 * keep the last of two equal names in silence, and give `__proto__` a meaning. Names are decoded, values still text: `parseValue` reads
 * one.
 *
 * @throws JsonProblem for what is no JSON object, a name that occurs twice, more than 4 million values
 */
export function* jsonEntries(text: string): Generator<readonly [name: string, value: string], void, void> {
  const cursor = new Cursor(text);
  const names = new Set<string>();
  cursor.expect(OPEN_OBJECT);
  if (cursor.peek() !== CLOSE_OBJECT) {
    do {
      const name = cursor.string();
      if (names.has(name)) throw twice(name);
      names.add(name);
      cursor.expect(COLON);
      yield [name, cursor.value()];
    } while (cursor.goesOn());
  }
  cursor.expect(CLOSE_OBJECT);
  cursor.expectEnd();
}

/** A value of the text. @throws JsonProblem for what is no JSON, or an object in it with a name twice */
export function parseValue(text: string): unknown {
  const value = parse(text);
  const duplicate = duplicateName(text);
  if (duplicate !== undefined) throw twice(duplicate);
  return value;
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new JsonProblem((error as Error).message);
  }
}

function twice(name: string): JsonProblem {
  return new JsonProblem('a name occurs twice', name);
}

/** A place in a JSON text. Blanks before a token are passed over. */
class Cursor {
  private at = 0;
  private values = 0;

  constructor(private readonly text: string) {}

  /** The next character's code; NaN at the end. */
  peek(): number {
    for (;;) {
      const code = this.text.charCodeAt(this.at);
      if (code !== 0x20 && code !== 0x0a && code !== 0x0d && code !== 0x09) return code;
      this.at++;
    }
  }

  expect(code: number): void {
    if (this.peek() !== code) throw this.unexpected(`"${String.fromCharCode(code)}"`);
    this.at++;
  }

  expectEnd(): void {
    if (!Number.isNaN(this.peek())) throw this.unexpected('its end');
  }

  goesOn(): boolean {
    if (this.peek() !== COMMA) return false;
    this.at++;
    return true;
  }

  string(): string {
    if (this.peek() !== QUOTE) throw this.unexpected('a name in quotes');
    const start = this.at;
    this.skipString();
    return parse(this.text.slice(start, this.at)) as string;
  }

  /** The text of a value: up to the comma or brace that ends it, so that what is none shows when it is parsed. */
  value(): string {
    this.peek();
    const start = this.at;
    for (let depth = 0; ; ) {
      const code = this.text.charCodeAt(this.at);
      if (Number.isNaN(code)) throw this.unexpected('more');
      if (code === QUOTE) {
        this.skipString();
        continue;
      }
      if (code === OPEN_OBJECT || code === OPEN_LIST) {
        depth++;
        if (++this.values > MAX_VALUES) throw new JsonProblem(`more than ${MAX_VALUES} values`);
      } else if (depth === 0 && (code === COMMA || code === CLOSE_OBJECT)) return this.text.slice(start, this.at);
      else if (code === CLOSE_OBJECT || code === CLOSE_LIST) depth--;
      this.at++;
    }
  }

  private skipString(): void {
    for (this.at++; ; this.at++) {
      const code = this.text.charCodeAt(this.at);
      if (Number.isNaN(code)) throw this.unexpected('the end of a string');
      if (code === BACKSLASH) this.at++;
      else if (code === QUOTE) break;
    }
    this.at++;
  }

  private unexpected(expected: string): JsonProblem {
    const found = this.at < this.text.length ? JSON.stringify(this.text[this.at]) : 'the end';
    return new JsonProblem(`expected ${expected} at position ${this.at} but found ${found}`);
  }
}

/** The first name that an object of a JSON text has twice; the text is JSON. */
function duplicateName(text: string): string | undefined {
  /** Names of the objects around the cursor; undefined for a list. */
  const open: (Set<string> | undefined)[] = [];
  let expectName = false;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code === QUOTE) {
      let end = i + 1;
      while (text.charCodeAt(end) !== QUOTE) end += text.charCodeAt(end) === BACKSLASH ? 2 : 1;
      if (expectName) {
        const name = JSON.parse(text.slice(i, end + 1)) as string;
        const names = open.at(-1)!;
        if (names.has(name)) return name;
        names.add(name);
        expectName = false;
      }
      i = end;
    } else if (code === OPEN_OBJECT || code === OPEN_LIST) {
      open.push(code === OPEN_OBJECT ? new Set() : undefined);
      expectName = code === OPEN_OBJECT;
    } else if (code === CLOSE_OBJECT || code === CLOSE_LIST) open.pop();
    else if (code === COMMA) expectName = open.at(-1) !== undefined;
  }
  return undefined;
}
