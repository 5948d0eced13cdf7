import { checkRequiredOptions } from '../arguments/check';
import { oneOf, optional, optionsOf } from '../arguments/schemas';
import { ACNET } from '../families/rules/acnet';
import { resolveBranches } from '../families/stages';
import { ReparameterizableBlock } from './block';
import { BLOCK_OPTIONS, type BlockOptions, resolveGeometry } from './geometry';

export interface ACNetBlockOptions extends BlockOptions {
  /** Activation after the sum; the authors' block has none. Default 'none'. */
  readonly activation?: 'none' | 'relu' | undefined;
}

const OPTIONS = optionsOf<ACNetBlockOptions>()({
  ...BLOCK_OPTIONS,
  activation: optional(oneOf(['none', 'relu'])),
});

/**
 * ACNet's asymmetric convolution block: KxK, Kx1 and 1xK convolutions, each with BN, summed.
 * Source: Ding et al., ACNet: Strengthening the Kernel Skeletons, ICCV 2019, section 3.2. Dilation and padding below K // 2 are
 * exact here (the authors' alignment fails for the first and crops for the second).
 */
export class ACNetBlock extends ReparameterizableBlock {
  /** @throws ERR_REPFUSE_INVALID_ARGUMENT */
  constructor(given: ACNetBlockOptions) {
    const options = checkRequiredOptions('ACNetBlock', OPTIONS, given);
    super(options, resolveGeometry(options), {
      rule: ACNET,
      branches: resolveBranches(ACNET, { main: 1, vertical: 1, horizontal: 1 }),
      activation: options.activation ?? 'none',
    });
  }
}
