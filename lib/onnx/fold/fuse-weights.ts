import { type AffineConv, type Materialized, materializeAsync } from '../../algebra';
import { RepfuseError } from '../../errors';
import { throwIfAborted } from '../../native/call';
import { Tensor } from '../../tensor/tensor';
import { describeNode } from '../attributes';
import type { Node } from '../schema/onnx_pb';
import type { FoldOptions } from './report';

/**
 * The weights of the convolution that nodes are, or only their shapes (`dryRun`).
 *
 * @param make the convolution
 * @param node the last of them
 * @throws ERR_REPFUSE_NOT_FINITE naming the node; the signal's reason
 */
export async function fuseWeights(
  make: () => AffineConv,
  node: Node,
  { dryRun, threads, signal }: FoldOptions,
): Promise<Pick<Materialized, 'weight' | 'bias'>> {
  try {
    const conv = make();
    if (dryRun === true) {
      const { outChannels, inChannels, groups, kernel } = conv;
      return { weight: Tensor.f32([outChannels, inChannels / groups, ...kernel]), bias: Tensor.f32([outChannels]) };
    }
    return await materializeAsync(conv, { threads, signal });
  } catch (error) {
    throwIfAborted(signal);
    if (!(error instanceof RepfuseError)) throw error;
    const details = { ...error.details, node: node.name };
    throw new RepfuseError(error.code, `${describeNode(node)}: ${error.message}`, details, { cause: error });
  }
}
