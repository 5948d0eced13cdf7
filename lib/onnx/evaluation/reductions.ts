import { Tensor } from '../../tensor/tensor';
import { type IntegerType, integerWriter, isFloat, isInteger, wrapped } from './arithmetic';
import type { Budget } from './budget';
import { axesOf, axisOf, stridesOf, walkRows } from './elements';

/** How elements are reduced to one: floats in float64, rounded once; integers exactly, in their type. */
export interface Reduction {
  readonly float: (sum: number, x: number) => number;
  readonly integer?: (sum: bigint, x: bigint) => bigint;
  /** What nothing is. */
  readonly start: number;
  /** What the reduced value of so many elements becomes. */
  readonly finish?: (value: number, count: number) => number;
}

/** Over the given axes (undefined: all). Nothing is known of what is reduced from no element. */
export function reduced(
  x: Tensor,
  given: readonly number[] | undefined,
  keepDims: boolean,
  { float, integer, start, finish }: Reduction,
  budget: Budget,
): Tensor | undefined {
  const axes = axesOf(given ?? x.shape.map((_, axis) => axis), x.shape.length);
  if (axes === undefined || x.shape.includes(0)) return undefined;
  const kept = x.shape.map((size, axis) => (axes.includes(axis) ? 1 : size));
  const strides = stridesOf(kept);
  const steps = kept.map((_, axis) => (axes.includes(axis) ? 0 : strides[axis]!));
  const shape = keepDims ? kept : x.shape.filter((_, axis) => !axes.includes(axis));
  const { dtype } = x;
  if (isFloat(dtype)) {
    const sums = budget.spend(x.size) ? (budget.allocate('F64', shape) as Float64Array | undefined) : undefined;
    const data = sums && budget.allocate(dtype, shape);
    if (sums === undefined || data === undefined) return undefined;
    const xs = x.data as Float64Array;
    sums.fill(start);
    walkRows(x.shape, [steps], ([move]) => (place, count, [first]) => {
      for (let i = 0, at = first!; i < count; i++, at += move!) sums[at] = float(sums[at]!, xs[place + i]!);
    });
    const count = x.size / sums.length;
    (data as Float64Array).set(finish === undefined ? sums : sums.map((sum) => finish(sum, count)));
    return new Tensor(dtype, shape, data);
  }
  if (!isInteger(dtype) || integer === undefined || !budget.spend(8 * x.size)) return undefined;
  const data = budget.allocate(dtype, shape);
  if (data === undefined) return undefined;
  const sums = Array<bigint | undefined>(data.length).fill(Number.isFinite(start) ? BigInt(start) : undefined);
  const xs = x.data as BigInt64Array;
  walkRows(x.shape, [steps], ([move]) => (place, count, [first]) => {
    for (let i = 0, at = first!; i < count; i++, at += move!) {
      const value = BigInt(xs[place + i]!);
      const sum = sums[at];
      sums[at] = sum === undefined ? value : wrapped(integer(sum, value), dtype);
    }
  });
  const write = integerWriter(data, dtype);
  for (const [i, sum] of sums.entries()) write(i, sum!);
  return new Tensor(dtype, shape, data);
}

/** Running sums along an axis; `exclusive` of what comes before, `reverse` from the end. */
export function cumulated(
  x: Tensor,
  given: number,
  exclusive: boolean,
  reverse: boolean,
  budget: Budget,
): Tensor | undefined {
  const { dtype, shape } = x;
  const axis = axisOf(given, shape.length);
  if (axis === undefined || !(isFloat(dtype) || isInteger(dtype))) return undefined;
  const data = budget.allocate(dtype, shape);
  if (data === undefined) return undefined;
  const stride = stridesOf(shape)[axis]!;
  const size = shape[axis]!;
  const write = isInteger(dtype) ? integerWriter(data, dtype as IntegerType) : undefined;
  for (let first = 0; first < x.size; first++) {
    if (Math.floor(first / stride) % size !== 0) continue;
    let [sum, exact] = [0, 0n];
    for (let i = 0; i < size; i++) {
      const place = first + (reverse ? size - 1 - i : i) * stride;
      const before = [sum, exact] as const;
      if (write === undefined) sum += (x.data as Float64Array)[place]!;
      else exact += BigInt((x.data as BigInt64Array)[place]!);
      if (write === undefined) (data as Float64Array)[place] = exclusive ? before[0] : sum;
      else write(place, exclusive ? before[1] : exact);
    }
  }
  return new Tensor(dtype, shape, data);
}
