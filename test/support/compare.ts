interface Numbers {
  readonly length: number;
  readonly [index: number]: number;
}

/** max |got - want| / max |want| (plain max |got - want| when `want` is all zero); NaN anywhere gives Infinity. */
export function peakError(got: Numbers, want: Numbers): number {
  if (got.length !== want.length) throw new Error(`${got.length} values against ${want.length}`);
  // Arrays of one kind: a loop over whatever comes is several times slower.
  const [have, expected] = [asFloat64(got), asFloat64(want)];
  let worst = 0;
  let peak = 0;
  for (let i = 0; i < expected.length; i++) {
    const difference = Math.abs(have[i]! - expected[i]!);
    if (!(difference <= worst)) worst = Number.isNaN(difference) ? Number.POSITIVE_INFINITY : difference;
    peak = Math.max(peak, Math.abs(expected[i]!));
  }
  return peak === 0 ? worst : worst / peak;
}

function asFloat64(numbers: Numbers): Float64Array {
  return numbers instanceof Float64Array ? numbers : new Float64Array(numbers as ArrayLike<number>);
}
