import type { TensorSource } from '../checkpoint/tensor-source';
import { RepfuseError } from '../errors';
import type { DType } from '../tensor/dtype';
import { toFloat64 } from '../tensor/half';
import { type FloatType, LARGEST, roundTo } from '../tensor/round';

/** What an output has lost. */
export interface OutputLosses {
  /** Values that rounding took away: other than 0 before, 0 afterwards. */
  flushed: number;
  /** Tensors that its format cannot hold. */
  readonly leftOut: string[];
}

/**
 * A tensor that is rounded to another type when it is made. What it counts as lost is added to `losses`.
 *
 * @throws ERR_REPFUSE_RANGE, when it is made, for a finite value beyond the type's range
 */
export function roundedSource(
  name: string,
  source: TensorSource,
  dtype: DType,
  losses: OutputLosses,
  threads: number | undefined,
): TensorSource {
  if (source.dtype === dtype) return source;
  return {
    dtype,
    shape: source.shape,
    async load() {
      const tensor = await source.load();
      const type = dtype as FloatType;
      const rounded = await roundTo(tensor, type, { threads });
      if (rounded.overflow >= 0) throw outOfRange(name, toFloat64(tensor)[rounded.overflow]!, rounded.overflow, type);
      losses.flushed += rounded.flushed;
      return rounded.tensor;
    },
    release: () => source.release?.(),
  };
}

function outOfRange(tensor: string, value: number, index: number, type: FloatType): RepfuseError {
  const advice = type === 'F16' ? 'bf16 or f32' : 'another type';
  return new RepfuseError(
    'ERR_REPFUSE_RANGE',
    `Expected values of at most ${LARGEST[type]} for ${tensor} in ${type} but element ${index} is ${value}: nothing was written, choose ${advice} (\`dtype\`)`,
    { tensor, index, value, dtype: type },
  );
}
