interface Numbers {
  readonly length: number;
  readonly [index: number]: number;
}

const EXPONENT_BITS = new Uint32Array(1);
const FLOAT = new Float32Array(EXPONENT_BITS.buffer);

/** Distance of neighbouring float32 values around `x`, of the smaller ones at a power of two. */
export function ulpOf(x: number): number {
  FLOAT[0] = Math.abs(x);
  // Rounding up to a power of two would double the ulp.
  if (FLOAT[0] > Math.abs(x)) EXPONENT_BITS[0]!--;
  const exponent = Math.max(1, EXPONENT_BITS[0]! >>> 23);
  return 2 ** (exponent - 127 - 23);
}

/**
 * The worst `|got - exact|` in ulp of `max(|exact|, 2^-28 * terms)`, where `terms` is the sum of the absolute values of what
 * was added up (docs/precision.md); Infinity for NaN.
 */
export function worstUlp(got: Numbers, exact: Numbers, terms: Numbers): number {
  if (got.length !== exact.length || terms.length !== exact.length) {
    throw new Error(`${got.length} values against ${exact.length} (${terms.length} sums of terms)`);
  }
  let worst = 0;
  for (let i = 0; i < exact.length; i++) {
    const error = Math.abs(got[i]! - exact[i]!) / ulpOf(Math.max(Math.abs(exact[i]!), 2 ** -28 * terms[i]!));
    if (!(error <= worst)) worst = Number.isNaN(error) ? Number.POSITIVE_INFINITY : error;
  }
  return worst;
}
