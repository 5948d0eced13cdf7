import { checkRequiredOptions } from '../arguments/check';
import { oneOf, optional, optionsOf } from '../arguments/schemas';
import { RepfuseError } from '../errors';
import { DBB } from '../families/rules/dbb';
import { resolveBranches } from '../families/stages';
import { CHANNELS } from '../ops/geometry';
import { ReparameterizableBlock } from './block';
import { BLOCK_OPTIONS, type BlockOptions, resolveGeometry } from './geometry';

export interface DiverseBranchBlockOptions extends BlockOptions {
  /** Channels between the 1x1 and the KxK convolution. Default: inChannels, twice that for depthwise blocks. */
  readonly internalChannels?: number | undefined;
  /** Activation after the sum. Default 'none'. */
  readonly activation?: 'none' | 'relu' | undefined;
}

const OPTIONS = optionsOf<DiverseBranchBlockOptions>()({
  ...BLOCK_OPTIONS,
  internalChannels: optional(CHANNELS),
  activation: optional(oneOf(['none', 'relu'])),
});

/**
 * Diverse Branch Block: KxK, 1x1, 1x1 then average pooling, 1x1 then KxK, each with its BatchNorms, summed. Depthwise blocks
 * (groups = outChannels) have no 1x1 branch and pool their input as it is. No dilation: pooling has none.
 * Source: Ding et al., Diverse Branch Block, CVPR 2021, section 3.3.
 */
export class DiverseBranchBlock extends ReparameterizableBlock {
  /** @throws ERR_REPFUSE_INVALID_ARGUMENT */
  constructor(given: DiverseBranchBlockOptions) {
    const options = checkRequiredOptions('DiverseBranchBlock', OPTIONS, given);
    const geometry = resolveGeometry(options);
    const { inChannels, outChannels } = options;
    const { groups, dilation } = geometry;
    if (dilation[0] !== 1 || dilation[1] !== 1) throw refused('dilation 1', 'dilation', dilation.join('x'));
    const depthwise = groups === outChannels;
    if (depthwise && inChannels !== outChannels) {
      throw refused(`${outChannels}, as many as outChannels in a depthwise block,`, 'inChannels', inChannels);
    }
    const { internalChannels = depthwise ? 2 * inChannels : inChannels } = options;
    if (internalChannels % groups !== 0) {
      throw refused(`a multiple of ${groups} groups`, 'internalChannels', internalChannels);
    }
    super(options, geometry, {
      rule: DBB,
      branches: resolveBranches(
        DBB,
        { main: 1, pointwise: depthwise ? 0 : 1, average: 1, sequential: 1 },
        // The rule's second chains: pooling the input itself, and a 1x1 kernel that is stored as it is. The first stores the
        // difference to the identity, which takes as many channels on both sides.
        { average: depthwise ? 1 : 0, sequential: internalChannels === inChannels ? 0 : 1 },
      ),
      activation: options.activation ?? 'none',
      internalChannels,
    });
  }
}

function refused(expected: string, name: string, value: number | string): RepfuseError {
  return new RepfuseError(
    'ERR_REPFUSE_INVALID_ARGUMENT',
    `Expected ${expected} for ${name} of DiverseBranchBlock but received ${value}`,
  );
}
