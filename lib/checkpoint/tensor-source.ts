import { RepfuseError } from '../errors';
import type { DType } from '../tensor/dtype';
import { formatShape, Tensor } from '../tensor/tensor';

/** A tensor that is made when its turn comes to be written, so that not all of a file need be in memory. */
export interface TensorSource {
  readonly dtype: DType;
  readonly shape: readonly number[];
  /** Makes it, as declared. */
  load(): Promise<Tensor>;
  /** It has been written. */
  release?(): void;
}

/** A tensor as a source of itself, and a source that keeps what it declared. */
export function sourceOf(name: string, tensor: Tensor | TensorSource): TensorSource {
  if (tensor instanceof Tensor) return { dtype: tensor.dtype, shape: tensor.shape, load: async () => tensor };
  const { dtype, shape } = tensor;
  return {
    dtype,
    shape,
    async load() {
      const made = await tensor.load();
      if (made.dtype === dtype && formatShape(made.shape) === formatShape(shape)) return made;
      throw new RepfuseError(
        'ERR_REPFUSE_INVALID_ARGUMENT',
        `Expected ${dtype} ${formatShape(shape)} for ${JSON.stringify(name)} but its source made ${made.dtype} ${formatShape(made.shape)}`,
        { tensor: name },
      );
    },
    release: () => tensor.release?.(),
  };
}
