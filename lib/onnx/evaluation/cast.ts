import type { DType, TensorData } from '../../tensor/dtype';
import { encodeHalf, floatValues } from '../../tensor/half';
import { Tensor } from '../../tensor/tensor';
import { type IntegerType, integerWriter, isFloat, isInteger, wrapped } from './arithmetic';
import type { Budget } from './budget';

/** In another type; undefined where a value is none of it: NaN or beyond its range, of which ONNX says nothing. */
export function cast(x: Tensor, dtype: DType | undefined, budget: Budget): Tensor | undefined {
  if (dtype === x.dtype) return x;
  if (dtype === undefined) return undefined;
  const data = budget.allocate(dtype, x.shape);
  if (data === undefined) return undefined;
  const values = x.dtype === 'F16' || x.dtype === 'BF16' ? floatValues(x) : (x.data as ArrayLike<number | bigint>);
  const one = x.dtype === 'BOOL' ? (value: number | bigint) => (value ? 1 : 0) : (value: number | bigint) => value;
  const write = writerOf(data, dtype);
  for (let i = 0; i < values.length; i++) if (!write(i, one(values[i]!))) return undefined;
  return new Tensor(dtype, x.shape, data);
}

/** False where the type does not have the value. */
function writerOf(data: TensorData, dtype: DType): (place: number, value: number | bigint) => boolean {
  const numbers = data as { [index: number]: number };
  if (dtype === 'F16' || dtype === 'BF16') {
    return (place, value) => {
      numbers[place] = encodeHalf(Number(value), dtype);
      return true;
    };
  }
  if (dtype === 'BOOL' || isFloat(dtype)) {
    return (place, value) => {
      numbers[place] = dtype === 'BOOL' ? Number(Number(value) !== 0) : Number(value);
      return true;
    };
  }
  if (!isInteger(dtype)) return () => false;
  const write = integerWriter(data, dtype as IntegerType);
  return (place, value) => {
    if (typeof value === 'number' && !Number.isFinite(value)) return false;
    const whole = typeof value === 'bigint' ? value : BigInt(Math.trunc(value));
    write(place, whole);
    return wrapped(whole, dtype) === whole;
  };
}
