import { PyFloat, type PyValue } from './python-values';

// How pickles write down numbers and strings. Every function returns undefined for what is malformed.

const UTF8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

export function decodeUtf8(bytes: Uint8Array): string | undefined {
  try {
    return UTF8.decode(bytes);
  } catch {
    return undefined;
  }
}

function decodeLatin1(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('latin1');
}

/** Strings of Python 2 are bytes of no stated encoding. */
export function decodeBytes(bytes: Uint8Array): string {
  return decodeUtf8(bytes) ?? decodeLatin1(bytes);
}

/** Two's complement, little endian; no bytes are 0. */
export function decodeInteger(digits: Uint8Array): number | bigint {
  if (digits.length === 0) return 0;
  const value = BigInt(`0x${Buffer.from(digits).reverse().toString('hex')}`); // byte by byte would be quadratic
  return narrow(BigInt.asIntN(8 * digits.length, value));
}

/** A number where that is exact. */
function narrow(value: bigint): number | bigint {
  return value >= BigInt(Number.MIN_SAFE_INTEGER) && value <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(value) : value;
}

export function makeFloat(value: number): PyValue {
  return Number.isInteger(value) ? new PyFloat(value) : value;
}

/** Integers of protocol 0; 00 and 01 are booleans there. */
export function parseInteger(text: string): PyValue | undefined {
  if (text === '00') return false;
  if (text === '01') return true;
  return /^-?\d{1,400}L?$/.test(text) ? narrow(BigInt(text.replace(/L$/, ''))) : undefined;
}

/** Floats of protocol 0, as Python's repr writes them. */
export function parseFloat64(text: string): PyValue | undefined {
  if (text === 'nan') return Number.NaN;
  const value = Number(text.replace(/inf$/, 'Infinity'));
  return text.trim() === '' || Number.isNaN(value) ? undefined : makeFloat(value);
}

export function parseIndex(text: string): number | undefined {
  return /^\d{1,9}$/.test(text) ? Number(text) : undefined;
}

const ESCAPES: ReadonlyMap<string, string> = new Map([
  ['n', '\n'],
  ['r', '\r'],
  ['t', '\t'],
  ['\\', '\\'],
  ["'", "'"],
  ['"', '"'],
]);

/** Strings of protocol 0 are Python literals. */
export function parseLiteral(text: string): string | undefined {
  const quote = text[0];
  if ((quote !== "'" && quote !== '"') || text.length < 2 || text.at(-1) !== quote) return undefined;
  let known = true;
  const value = text.slice(1, -1).replace(/\\(?:x([0-9a-f]{2})|(.?))/gi, (_, hex: string | undefined, char: string) => {
    if (hex !== undefined) return String.fromCharCode(Number.parseInt(hex, 16));
    known &&= ESCAPES.has(char);
    return ESCAPES.get(char) ?? '';
  });
  return known ? value : undefined;
}

/** Unicode of protocol 0: Latin-1 with `\uXXXX` and `\UXXXXXXXX`. */
export function parseUnicode(bytes: Uint8Array): string | undefined {
  let valid = true;
  const text = decodeLatin1(bytes).replace(
    /\\u([0-9a-f]{4})|\\U([0-9a-f]{8})/g,
    (_, short: string | undefined, long: string) => {
      const point = Number.parseInt(short ?? long, 16);
      valid &&= point <= 0x10ffff;
      return valid ? String.fromCodePoint(point) : '';
    },
  );
  return valid ? text : undefined;
}
