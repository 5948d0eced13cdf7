interface Numbers {
  readonly length: number;
  readonly [index: number]: number;
}

/** max |got - want| / max |want| (plain max |got - want| when `want` is all zero); NaN anywhere gives Infinity. */
export function peakError(got: Numbers, want: Numbers): number {
  if (got.length !== want.length) throw new Error(`${got.length} values against ${want.length}`);
  let worst = 0;
  let peak = 0;
  for (let i = 0; i < want.length; i++) {
    const difference = Math.abs(got[i]! - want[i]!);
    if (!(difference <= worst)) worst = Number.isNaN(difference) ? Number.POSITIVE_INFINITY : difference;
    peak = Math.max(peak, Math.abs(want[i]!));
  }
  return peak === 0 ? worst : worst / peak;
}
