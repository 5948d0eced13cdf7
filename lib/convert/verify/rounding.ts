import type { DType } from '../../tensor/dtype';

/** The most by which rounding to a type moves a value, of the value: half a unit in the last place. What is float64 is computed in float32. */
export function roundingOf(dtype: DType): number {
  return Object.hasOwn(ROUNDING, dtype) ? ROUNDING[dtype as keyof typeof ROUNDING] : 2 ** -24;
}

const ROUNDING = { F16: 2 ** -11, BF16: 2 ** -8 } as const;
