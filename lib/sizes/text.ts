import { floorOf, greater, lesser, minus, openSize, type Size, sum, times } from './size';

const TOKEN = /\s*(\d{1,15}|[A-Za-z_][A-Za-z0-9_.]*|[-+*/(),])/y;
const MAX_DEPTH = 40;
const MAX_LENGTH = 4000;

/**
 * A size as `OpenSize.text` writes it: sums, differences and products of integers, names, floor(a / b), min(a, b) and max(a, b).
 *
 * @returns undefined where the text is no size, or too long or deep to be one of a network
 */
export function parseSize(text: string): Size | undefined {
  const known = parsed.get(text);
  if (known !== undefined) return known;
  const tokens = tokensOf(text);
  if (tokens === undefined) return undefined;
  try {
    const parser = new Parser(tokens);
    const size = parser.sum(0);
    if (!parser.isAtEnd()) return undefined;
    if (parsed.size >= MAX_KEPT) parsed.clear();
    parsed.set(text, size);
    return size;
  } catch {
    return undefined; // no size, or beyond the limits of one
  }
}

/** The same texts come again with every shape. */
const parsed = new Map<string, Size>();
const MAX_KEPT = 1000;

function tokensOf(text: string): string[] | undefined {
  if (text.length > MAX_LENGTH) return undefined;
  const tokens: string[] = [];
  TOKEN.lastIndex = 0;
  while (TOKEN.lastIndex < text.length) {
    const found = TOKEN.exec(text);
    if (found === null) return undefined;
    tokens.push(found[1]!);
  }
  return tokens;
}

class Parser {
  private place = 0;

  constructor(private readonly tokens: readonly string[]) {}

  isAtEnd(): boolean {
    return this.place === this.tokens.length;
  }

  sum(depth: number): Size {
    if (depth > MAX_DEPTH) throw new Error('too deep');
    let size: Size = this.takes('-') ? times(-1, this.product(depth)) : this.product(depth);
    for (;;) {
      if (this.takes('+')) size = sum(size, this.product(depth));
      else if (this.takes('-')) size = minus(size, this.product(depth));
      else return size;
    }
  }

  private product(depth: number): Size {
    let size = this.factor(depth);
    while (this.takes('*')) size = times(size, this.factor(depth));
    return size;
  }

  private factor(depth: number): Size {
    const token = this.tokens[this.place++];
    if (token === undefined) throw new Error('ends early');
    if (/^\d/.test(token)) return Number(token);
    if (token === '(') {
      const size = this.sum(depth + 1);
      this.expect(')');
      return size;
    }
    if (!/^[A-Za-z_]/.test(token)) throw new Error('no factor');
    if (token !== 'floor' && token !== 'min' && token !== 'max') return openSize(token);
    this.expect('(');
    const of = this.sum(depth + 1);
    this.expect(token === 'floor' ? '/' : ',');
    const by = this.sum(depth + 1);
    this.expect(')');
    if (token === 'floor' && typeof by === 'number' && by <= 0) throw new Error('divides by nothing');
    return (token === 'floor' ? floorOf : token === 'min' ? lesser : greater)(of, by);
  }

  private takes(token: string): boolean {
    if (this.tokens[this.place] !== token) return false;
    this.place++;
    return true;
  }

  private expect(token: string): void {
    if (!this.takes(token)) throw new Error(`no ${token}`);
  }
}
