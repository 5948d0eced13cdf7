import { quote, show } from '../arguments/show';
import { RepfuseError } from '../errors';
import { DTYPES, type DType } from '../tensor/dtype';
import { checkMap, isTensorStub } from '../tensor/schemas';
import { elementCount, formatShape, isTensor, type Tensor } from '../tensor/tensor';

/** A tensor that is made when its turn comes to be written, so that not all of a file need be in memory. */
export interface TensorSource {
  readonly dtype: DType;
  readonly shape: readonly number[];
  /** Makes it, as declared. */
  load(): Promise<Tensor>;
  /** It has been written. */
  release?(): void;
}

/**
 * Tensors to be written, each as a source.
 *
 * @throws ERR_REPFUSE_INVALID_ARGUMENT naming the one that is none
 */
export function sourcesOf(
  tensors: ReadonlyMap<string, Tensor | TensorSource>,
): { readonly name: string; readonly source: TensorSource }[] {
  return [...checkMap('tensors', tensors, isTensorOrSource)].map(([name, tensor]) => ({
    name,
    source: sourceOf(name, tensor),
  }));
}

function isTensorOrSource(given: unknown): boolean {
  return isTensor(given) || (isTensorStub(given) && typeof (given as Partial<TensorSource>).load === 'function');
}

/** A tensor as a source of itself, and a source that keeps what it declared. */
function sourceOf(name: string, tensor: Tensor | TensorSource): TensorSource {
  if (isTensor(tensor)) return { dtype: tensor.dtype, shape: tensor.shape, load: async () => tensor };
  const { dtype, shape } = tensor;
  return {
    dtype,
    shape,
    async load() {
      const made = await tensor.load();
      if (!isTensor(made)) {
        throw new RepfuseError(
          'ERR_REPFUSE_INVALID_ARGUMENT',
          `Expected a Tensor from the source of ${quote(name)} but received ${show(made)}`,
          { tensor: name },
        );
      }
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

/** Tensors that are being made while one is written: a fused weight is followed by its bias, the next one's work by that. */
const AHEAD = 2;
/** More of small ones, to so many bytes with the one being written: the way to the threads and back takes longer than the work. */
const MAX_AHEAD = 6;
const AHEAD_BYTES = 1 << 23;

/** Hands each tensor to `use` in turn, while the next ones are being made. */
export async function inTurn(
  sources: readonly TensorSource[],
  use: (tensor: Tensor, index: number) => Promise<void>,
): Promise<void> {
  const started: Promise<Tensor>[] = [];
  let bytes = 0; // of those started and not yet used
  try {
    for (const [i, source] of sources.entries()) {
      const most = Math.min(i + 1 + MAX_AHEAD, sources.length);
      while (started.length < most && (started.length < i + 1 + AHEAD || bytes < AHEAD_BYTES)) {
        const next = sources[started.length]!;
        const made = next.load();
        made.catch(() => {}); // it is looked at when its turn comes
        started.push(made);
        bytes += bytesOf(next);
      }
      await use(await started[i]!, i);
      source.release?.();
      bytes -= bytesOf(source);
    }
  } finally {
    await Promise.allSettled(started); // after a failure they still read
  }
}

/** Bytes of the tensor's values. */
export function bytesOf({ dtype, shape }: TensorSource): number {
  return elementCount(shape) * DTYPES[dtype].bytes;
}
