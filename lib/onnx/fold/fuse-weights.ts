import { type AffineConv, type Materialized, materializeAsync } from '../../algebra';
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
  dtype: FloatType,
  { dryRun, threads, signal }: FoldOptions,
): Promise<Pick<Materialized, 'weight' | 'bias'>> {
  try {
    const conv = make();
    if (dryRun === true) {
      const { outChannels, inChannels, groups, kernel } = conv;
      const zeros = (...shape: number[]) => new Tensor(dtype, shape, new DTYPES[dtype].array(elementCount(shape)));
      return { weight: zeros(outChannels, inChannels / groups, ...kernel), bias: zeros(outChannels) };
    }
    const rounding = dtype === 'F32' ? 'nearest' : 'odd';
    const { weight, bias } = await materializeAsync(conv, { rounding, threads, signal });
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
