import { DTYPES, type DType } from '../../tensor/dtype';
import { Tensor } from '../../tensor/tensor';
import type { Budget } from './budget';
import { metShape, spreadSteps, walkRows } from './elements';

/** A function of two numbers: of floats in float64, to be rounded once; of integers exactly. What it lacks, or where it has no value, is not known. */
export interface BinaryRule {
  readonly float?: (x: number, y: number) => number;
  readonly integer?: (x: bigint, y: bigint, dtype: IntegerType) => bigint | undefined;
}

export interface UnaryRule {
  readonly float?: (x: number) => number;
  readonly integer?: (x: bigint) => bigint;
}

export type IntegerType = 'I64' | 'I32' | 'I16' | 'I8' | 'U8';

/** What an integer is in its type: the bits that it has room for, as every implementation keeps them. */
export function wrapped(value: bigint, dtype: IntegerType): bigint {
  const bits = 8 * DTYPES[dtype].bytes;
  return dtype === 'U8' ? BigInt.asUintN(bits, value) : BigInt.asIntN(bits, value);
}

/** Writes integers into a tensor's memory. */
export function integerWriter(data: Tensor['data'], dtype: IntegerType): (place: number, value: bigint) => void {
  if (dtype === 'I64') {
    const to = data as BigInt64Array;
    return (place, value) => {
      to[place] = value; // wraps
    };
  }
  const to = data as Int32Array;
  return (place, value) => {
    to[place] = Number(wrapped(value, dtype));
  };
}

export function isInteger(dtype: DType): dtype is IntegerType {
  return !DTYPES[dtype].floating && dtype !== 'BOOL';
}

/** Half types are not computed with. */
export function isFloat(dtype: DType): dtype is 'F32' | 'F64' {
  return dtype === 'F32' || dtype === 'F64';
}

export function binary(a: Tensor, b: Tensor, rule: BinaryRule, budget: Budget): Tensor | undefined {
  const shape = metShape([a, b]);
  if (shape === undefined || a.dtype !== b.dtype) return undefined;
  const { dtype } = a;
  const steps = [spreadSteps(a.shape, shape), spreadSteps(b.shape, shape)];
  if (isFloat(dtype) && rule.float !== undefined) {
    const { float } = rule;
    const data = budget.allocate(dtype, shape) as Float64Array | undefined;
    if (data === undefined) return undefined;
    const [xs, ys] = [a.data as Float64Array, b.data as Float64Array];
    walkRows(shape, steps, ([dx, dy]) => (place, count, [x, y]) => {
      for (let i = 0, a = x!, b = y!; i < count; i++, a += dx!, b += dy!) data[place + i] = float(xs[a]!, ys[b]!);
    });
    return new Tensor(dtype, shape, data);
  }
  if (!isInteger(dtype) || rule.integer === undefined) return undefined;
  const { integer } = rule;
  const data = budget.allocate(dtype, shape);
  if (data === undefined) return undefined;
  const write = integerWriter(data, dtype);
  const [xs, ys] = [a.data as BigInt64Array, b.data as BigInt64Array];
  let isKnown = true;
  walkRows(shape, steps, ([dx, dy]) => (place, count, [x, y]) => {
    for (let i = 0, a = x!, b = y!; i < count && isKnown; i++, a += dx!, b += dy!) {
      const value = integer(BigInt(xs[a]!), BigInt(ys[b]!), dtype);
      if (value === undefined) isKnown = false;
      else write(place + i, value);
    }
  });
  return isKnown ? new Tensor(dtype, shape, data) : undefined;
}

export function unary(x: Tensor, rule: UnaryRule, budget: Budget): Tensor | undefined {
  const { dtype, shape } = x;
  if (!(isFloat(dtype) ? rule.float : isInteger(dtype) && rule.integer)) return undefined;
  const data = budget.allocate(dtype, shape);
  if (data === undefined) return undefined;
  if (isFloat(dtype)) {
    const { float } = rule;
    (x.data as Float64Array).forEach((value, i) => {
      (data as Float64Array)[i] = float!(value);
    });
  } else {
    const write = integerWriter(data, dtype as IntegerType);
    (x.data as BigInt64Array).forEach((value, i) => {
      write(i, rule.integer!(BigInt(value)));
    });
  }
  return new Tensor(dtype, shape, data);
}

/** A comparison, or a function of truth values. */
export function compare(
  a: Tensor,
  b: Tensor,
  test: (x: number, y: number) => boolean,
  budget: Budget,
): Tensor | undefined {
  const shape = metShape([a, b]);
  const isComparable = a.dtype === 'BOOL' || isFloat(a.dtype) || isInteger(a.dtype);
  if (shape === undefined || a.dtype !== b.dtype || !isComparable) return undefined;
  const data = budget.allocate('BOOL', shape);
  if (data === undefined) return undefined;
  const [xs, ys] = [a.data as Float64Array, b.data as Float64Array];
  walkRows(shape, [spreadSteps(a.shape, shape), spreadSteps(b.shape, shape)], ([dx, dy]) => (place, count, [x, y]) => {
    for (let i = 0, m = x!, n = y!; i < count; i++, m += dx!, n += dy!) data[place + i] = test(xs[m]!, ys[n]!) ? 1 : 0;
  });
  return new Tensor('BOOL', shape, data);
}

/** Towards zero, as ONNX divides integers. */
export function divided(x: bigint, y: bigint, dtype: IntegerType): bigint | undefined {
  if (y === 0n) return undefined;
  const quotient = x / y;
  return wrapped(quotient, dtype) === quotient ? quotient : undefined; // the least one by -1
}

/** With the divisor's sign (fmod 0), or the dividend's. */
export function remainder(x: bigint, y: bigint, fmod: boolean): bigint | undefined {
  if (y === 0n) return undefined;
  const rest = x % y;
  return fmod || rest === 0n || rest < 0n === y < 0n ? rest : rest + y;
}

/** Modulo the size of the type, whatever the exponent. */
export function power(base: bigint, exponent: bigint, dtype: IntegerType): bigint | undefined {
  if (exponent < 0n) return undefined;
  let [result, square] = [1n, base];
  for (let rest = exponent; rest > 0n; rest >>= 1n) {
    if (rest & 1n) result = wrapped(result * square, dtype);
    square = wrapped(square * square, dtype);
  }
  return result;
}

/** Halves to the even neighbour. */
export function roundedToEven(x: number): number {
  const low = Math.floor(x);
  const rest = x - low;
  if (rest !== 0.5) return Math.round(x);
  return low % 2 === 0 ? low : low + 1;
}
