import { type AffineConv, addBranches, conv, type Materialized, scale } from '../../algebra';
import { materializeSoon } from '../../algebra/materialize';
import { RepfuseError } from '../../errors';
import { throwIfAborted } from '../../native/call';
import { DTYPES } from '../../tensor/dtype';
import { type FloatType, LARGEST, roundTo } from '../../tensor/round';
import { elementCount, Tensor } from '../../tensor/tensor';
import { describeNode } from '../attributes';
import type { Node } from '../schema/onnx_pb';
import type { FoldOptions } from './report';

/**
 * The weights of the convolution that nodes are, or only their shapes (`dryRun`): float64 inside, rounded once to the model's type.
 *
 * @param make the convolution
 * @param node the last of them
 * @throws ERR_REPFUSE_NOT_FINITE, ERR_REPFUSE_RANGE (a half type is too small) naming the node; the signal's reason
 */
export async function fuseWeights(
  make: () => AffineConv,
  node: Node,
  dtype: FloatType | 'F64',
  { dryRun, threads, signal }: FoldOptions,
): Promise<Pick<Materialized, 'weight' | 'bias'>> {
  try {
    const map = make();
    if (dryRun === true) {
      const { outChannels, inChannels, groups, kernel } = map;
      const zeros = (...shape: number[]) => new Tensor(dtype, shape, new DTYPES[dtype].array(elementCount(shape)));
      return { weight: zeros(outChannels, inChannels / groups, ...kernel), bias: zeros(outChannels) };
    }
    if (dtype === 'F64') return await inFloat64(map, { threads, signal });
    const rounding = dtype === 'F32' ? 'nearest' : 'odd';
    const { weight, bias } = await materializeSoon(map, { rounding, threads, signal });
    const round = async (tensor: Tensor) => {
      const { tensor: rounded, overflow } = await roundTo(tensor, dtype, { threads });
      if (overflow < 0) return rounded;
      throw new RepfuseError(
        'ERR_REPFUSE_RANGE',
        `Expected fused values of at most ${LARGEST[dtype]} in ${dtype} but element ${overflow} is ${tensor.data[overflow]}`,
        { index: overflow, dtype },
      );
    };
    return { weight: await round(weight), bias: await round(bias) };
  } catch (error) {
    throwIfAborted(signal);
    if (!(error instanceof RepfuseError)) throw error;
    const details = { ...error.details, node: node.name };
    throw new RepfuseError(error.code, `${describeNode(node)}: ${error.message}`, details, { cause: error });
  }
}

/** Terms of float32 that add up to a float64. */
const TERMS = 3;

/** Weights of double precision: what float32 leaves of them is a sum of convolutions, too, of which one is what is there already. */
async function inFloat64(
  map: AffineConv,
  run: Pick<FoldOptions, 'threads' | 'signal'>,
): Promise<Pick<Materialized, 'weight' | 'bias'>> {
  const { stride, padding, dilation, groups } = map;
  let rest = map;
  let sum: Pick<Materialized, 'weight' | 'bias'> | undefined;
  for (let term = 0; term < TERMS; term++) {
    const made = await materializeSoon(rest, run);
    sum = { weight: added(sum?.weight, made.weight), bias: added(sum?.bias, made.bias) };
    const known = conv(made.weight, made.bias, { stride, padding, dilation, groups });
    rest = addBranches([rest, scale(known, -1)]);
  }
  return sum!;
}

function added(sum: Tensor | undefined, { shape, data }: Tensor): Tensor {
  const values = Float64Array.from(data as Float32Array);
  if (sum !== undefined) for (let i = 0; i < values.length; i++) values[i]! += (sum.data as Float64Array)[i]!;
  return new Tensor('F64', shape, values);
}
