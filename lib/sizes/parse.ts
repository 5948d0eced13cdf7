import { floored, larger, MAX_TEXT, smaller } from './canonical';
import { added, constantOf, multiplied, negated, type Polynomial, polynomialOf, UnusableSize } from './polynomial';

/** Parentheses and functions inside one another. */
const MAX_DEPTH = 64;

/**
 * A size from text: whole numbers, names of open sizes, + - *, `floor(a / b)`, `ceil(a / b)`, `min(a, b)`, `max(a, b)` and parentheses.
 *
 * @throws UnusableSize for what is none, or is longer or deeper than any of a network
 */
export function parse(text: string): Polynomial {
  if (text.length > MAX_TEXT) throw new UnusableSize(`a size of more than ${MAX_TEXT} characters`);
  return new Parser(tokensOf(text)).whole();
}

function tokensOf(text: string): readonly string[] {
  const token = /\s*(\d+|[A-Za-z_][A-Za-z0-9_.]*|[-+*/(),])/y;
  const tokens: string[] = [];
  let end = 0;
  for (let match = token.exec(text); match !== null; match = token.exec(text)) {
    tokens.push(match[1]!);
    end = token.lastIndex;
  }
  if (text.slice(end).trim() !== '') throw unexpected(text.slice(end).trim());
  return tokens;
}

class Parser {
  private at = 0;
  private depth = 0;

  constructor(private readonly tokens: readonly string[]) {}

  whole(): Polynomial {
    const sum = this.sum();
    if (this.at < this.tokens.length) throw unexpected(this.tokens[this.at]);
    return sum;
  }

  private sum(): Polynomial {
    if (++this.depth > MAX_DEPTH) throw new UnusableSize(`a size of more than ${MAX_DEPTH} levels`);
    let sum = this.takes('-') ? negated(this.product()) : this.product();
    for (;;) {
      if (this.takes('+')) sum = added(sum, this.product());
      else if (this.takes('-')) sum = added(sum, negated(this.product()));
      else break;
    }
    this.depth--;
    return sum;
  }

  private product(): Polynomial {
    let product = this.factor();
    while (this.takes('*')) product = multiplied(product, this.factor());
    return product;
  }

  private factor(): Polynomial {
    const token = this.tokens[this.at++];
    if (token === '(') return this.closed();
    if (token === undefined || !/^\w/.test(token)) throw unexpected(token);
    if (/^\d/.test(token)) return constantOf(Number(token));
    return this.takes('(') ? this.call(token) : polynomialOf({ text: token });
  }

  private call(name: string): Polynomial {
    const first = this.sum();
    this.expect(name === 'floor' || name === 'ceil' ? '/' : ',');
    const second = this.closed();
    switch (name) {
      case 'floor':
        return floored(first, second);
      case 'ceil':
        return floored(added(first, second, constantOf(-1)), second);
      case 'min':
        return smaller(first, second);
      case 'max':
        return larger(first, second);
      default:
        throw unexpected(name);
    }
  }

  private closed(): Polynomial {
    const sum = this.sum();
    this.expect(')');
    return sum;
  }

  private expect(token: string): void {
    if (!this.takes(token)) throw unexpected(this.tokens[this.at]);
  }

  private takes(token: string): boolean {
    if (this.tokens[this.at] !== token) return false;
    this.at++;
    return true;
  }
}

function unexpected(token: string | undefined): UnusableSize {
  return new UnusableSize(
    token === undefined ? 'a size that ends too early' : `no size: ${JSON.stringify(token.slice(0, 20))}`,
  );
}
