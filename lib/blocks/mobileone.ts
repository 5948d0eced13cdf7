import { checkRequiredOptions } from '../arguments/check';
import { BOOLEAN, integer, oneOf, optional, optionsOf } from '../arguments/schemas';
import { MOBILEONE, TIMM_MOBILEONE } from '../families/rules/mobileone';
import { resolveBranches } from '../families/stages';
import { ReparameterizableBlock } from './block';
import { BLOCK_OPTIONS, type BlockOptions, keepsShape, resolveGeometry } from './geometry';

export interface MobileOneBlockOptions extends BlockOptions {
  /** Copies of the main branch. Default 1. */
  readonly numConvBranches?: number | undefined;
  /** Squeeze-excite before the activation. Default false. */
  readonly useSe?: boolean | undefined;
  /** Key names: Apple's or timm's. Default 'apple'. */
  readonly naming?: 'apple' | 'timm' | undefined;
}

const OPTIONS = optionsOf<MobileOneBlockOptions>()({
  ...BLOCK_OPTIONS,
  numConvBranches: optional(integer(1, 1000)),
  useSe: optional(BOOLEAN),
  naming: optional(oneOf(['apple', 'timm'])),
});

/**
 * MobileOne: a 1x1 + BN if K > 1, BN of the input where the shape is kept, and several KxK + BN; summed, then ReLU.
 * Source: Vasu et al., MobileOne: An Improved One Millisecond Mobile Backbone, CVPR 2023, section 3.3.
 */
export class MobileOneBlock extends ReparameterizableBlock {
  /** @throws ERR_REPFUSE_INVALID_ARGUMENT */
  constructor(given: MobileOneBlockOptions) {
    const options = checkRequiredOptions('MobileOneBlock', OPTIONS, given);
    const geometry = resolveGeometry(options);
    const rule = { apple: MOBILEONE, timm: TIMM_MOBILEONE }[options.naming ?? 'apple'];
    super(options, geometry, {
      rule,
      branches: resolveBranches(rule, {
        main: options.numConvBranches ?? 1,
        pointwise: Math.max(...geometry.kernel) > 1 ? 1 : 0,
        identity: keepsShape(options, geometry) ? 1 : 0,
      }),
      activation: 'relu',
      squeezeExcite: options.useSe ? rule.squeezeExcite![0]! : null,
    });
  }
}
