import { types } from 'node:util';
import { checkArgument, checkOptions } from '../arguments/check';
import { BOOLEAN, membersOf, oneOf, optional, SIGNAL, THREADS, value } from '../arguments/schemas';
import { RepfuseError } from '../errors';
import { callNative, callNativeAsync, throwIfAborted } from '../native/call';
import { mayHoldThread } from '../native/own-thread';
import { resolveThreads } from '../native/threads';
import { formatShape, newFloat32Array, Tensor } from '../tensor/tensor';
import { AFFINE_CONV, type AffineConv } from './affine-conv';
import { fuseCall } from './fuse-call';
import { largestBranch } from './largest-branch';
import { mostWeightElements, weightElements } from './weight-size';

export interface MaterializeOptions {
  /**
   * Where the weight goes: `'largest-branch'` writes it into the very buffer of the largest branch's weight (if that is
   * F32, of the result's size, and no other operand lies in it; else into a new one), an array of the right length into
   * that array. Default: a new array.
   */
  readonly into?: 'largest-branch' | Float32Array | undefined;
  /**
   * When values are checked for NaN, infinity and overflow. `'before'`: every operand is read before the first write, and a
   * failed check leaves everything as it was. `'during'`: within the one pass, at no cost; a failed check leaves the array
   * that is written (with `into`: a tensor of yours) half fused, so it is for working copies. Default: `'before'` where the
   * caller's memory is written, `'during'` where the result goes into a new array.
   */
  readonly check?: 'before' | 'during' | undefined;
  /**
   * How values become float32. `'nearest'` (default): rounded once. `'odd'`: to the neighbour whose last bit is 1 where they are not exact
   * (Boldo and Melquiond, 2008), so that a half type that is then rounded from them is rounded once, from the exact sum.
   */
  readonly rounding?: 'nearest' | 'odd' | undefined;
  readonly threads?: number | undefined;
}

export interface AsyncMaterializeOptions extends MaterializeOptions {
  /** Whether the tensors are used where they lie: leave them alone until the promise settles. Default: a copy of them is. */
  readonly borrow?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
}

const ENTRIES = {
  into: optional(
    value<'largest-branch' | Float32Array>(
      "'largest-branch' or a Float32Array",
      (given) => given === 'largest-branch' || types.isFloat32Array(given),
    ),
  ),
  check: optional(oneOf(['before', 'during'])),
  rounding: optional(oneOf(['nearest', 'odd'])),
  threads: optional(THREADS),
} as const;
const OPTIONS = membersOf<MaterializeOptions>()(ENTRIES);
const ASYNC_OPTIONS = membersOf<AsyncMaterializeOptions>()({
  ...ENTRIES,
  borrow: optional(BOOLEAN),
  signal: optional(SIGNAL),
});

export interface Materialized {
  /** F32 OIHW `[outChannels, inChannels / groups, kh, kw]`. */
  readonly weight: Tensor;
  /** F32 `[outChannels]`. */
  readonly bias: Tensor;
  /** Whether the weight lies in the buffer of the largest branch. */
  readonly inPlace: boolean;
  /** Float64 working memory of each thread: at most one output row, unless three or more kernels follow each other. */
  readonly scratchBytesPerThread: number;
}

/**
 * Evaluates the description in one native pass: every output row in float64 from the original tensors, terms added in a
 * fixed order without FMA, rounded once to float32. The result is within 1 ulp of `max(|exact|, 2^-28 * sum |terms|)`, and
 * bit-equal for every CPU level and thread count.
 *
 * @throws ERR_REPFUSE_NOT_FINITE if a tensor holds NaN or infinity (`details.tensor`, `details.name`) or a fused value would
 *   overflow, ERR_REPFUSE_MEMORY if the weight would hold more than 4 million elements and have 64 times the taps of its tensors,
 *   ERR_REPFUSE_INVALID_ARGUMENT if `into` has another length or overlaps an operand; nothing is then written (but
 *   see `check`, which may also leave the tensor at fault unnamed where it was overwritten).
 */
export function materialize(conv: AffineConv, options: MaterializeOptions = {}): Materialized {
  const call = prepare(conv, checkOptions('materialize', OPTIONS, options));
  try {
    callNative('fuse', call.args);
  } catch (error) {
    throw call.named(error);
  }
  return call.result();
}

/**
 * `materialize` on the thread pool. With `into: 'largest-branch'` the tensors are used where they lie: leave them alone until
 * the promise settles. Aborting stops it, unless it writes in place and has begun.
 */
export async function materializeAsync(conv: AffineConv, options: AsyncMaterializeOptions = {}): Promise<Materialized> {
  const { signal, borrow = false, ...rest } = checkOptions('materializeAsync', ASYNC_OPTIONS, options);
  const call = prepare(conv, rest);
  try {
    await callNativeAsync('fuse', call.args, { signal, borrow: borrow || call.inPlace });
  } catch (error) {
    throwIfAborted(signal);
    throw call.named(error);
  }
  return call.result();
}

/** A weight of so many elements is made within some 100 us. */
const SMALL = 1 << 16;

/**
 * As `materializeAsync`, but small ones at once where the thread may be held for them: the way to the pool and back takes longer.
 *
 * @param mayHold default: on a thread of our own
 */
export async function materializeSoon(
  conv: AffineConv,
  options: AsyncMaterializeOptions,
  mayHold: () => boolean = mayHoldThread,
): Promise<Materialized> {
  if (weightElements(conv) > SMALL || !mayHold()) return await materializeAsync(conv, options);
  const { signal, threads = 1, borrow: _, ...rest } = options;
  throwIfAborted(signal);
  return materialize(conv, { ...rest, threads });
}

function prepare(conv: AffineConv, { into, check, rounding, threads }: MaterializeOptions) {
  checkArgument('conv', AFFINE_CONV, conv);
  const shape = [conv.outChannels, conv.inChannels / conv.groups, ...conv.kernel];
  const size = weightElements(conv);
  const most = mostWeightElements(conv);
  if (size > most) {
    throw new RepfuseError(
      'ERR_REPFUSE_MEMORY',
      `Expected at most ${most} elements for a fused weight but ${formatShape(shape)} holds ${size}`,
      { shape, elements: size, limit: most },
    );
  }
  const own = into === 'largest-branch' ? largestBranch(conv, size) : undefined;
  const target = own ?? (into === 'largest-branch' ? undefined : into);
  const weight = target ?? newFloat32Array(size);
  const bias = new Float32Array(conv.outChannels);
  const stats = new Float64Array(1);
  const checkDuring = (check ?? (target === undefined ? 'during' : 'before')) === 'during';
  const call = fuseCall(conv);
  return {
    args: {
      ...call.args,
      weight,
      bias,
      checkDuring,
      roundToOdd: rounding === 'odd',
      stats,
      threads: resolveThreads(threads),
    },
    named: call.named,
    inPlace: own !== undefined,
    result: (): Materialized => ({
      weight: new Tensor('F32', shape, weight),
      bias: new Tensor('F32', [conv.outChannels], bias),
      inPlace: own !== undefined,
      scratchBytesPerThread: stats[0]!,
    }),
  };
}
