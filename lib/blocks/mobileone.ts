import { MOBILEONE, TIMM_MOBILEONE } from '../families/rules/mobileone';
import { planBranches } from '../families/stages';
import { checkOptions, expectBoolean, expectChoice, expectInteger } from '../options';
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

/**
 * MobileOne: a 1x1 + BN if K > 1, BN of the input where the shape is kept, and several KxK + BN; summed, then ReLU.
 * Source: Vasu et al., MobileOne: An Improved One Millisecond Mobile Backbone, CVPR 2023, section 3.3.
 */
export class MobileOneBlock extends ReparameterizableBlock {
  /** @throws ERR_REPFUSE_INVALID_ARGUMENT */
  constructor(options: MobileOneBlockOptions) {
    checkOptions('MobileOneBlock', options, [...BLOCK_OPTIONS, 'numConvBranches', 'useSe', 'naming']);
    const geometry = resolveGeometry(options);
    const rule = { apple: MOBILEONE, timm: TIMM_MOBILEONE }[expectChoice(options.naming, 'naming', ['apple', 'timm'])];
    super(options, geometry, {
      rule,
      branches: planBranches(rule, {
        main: expectInteger(options.numConvBranches ?? 1, 'numConvBranches'),
        pointwise: Math.max(...geometry.kernel) > 1 ? 1 : 0,
        identity: keepsShape(options, geometry) ? 1 : 0,
      }),
      activation: 'relu',
      squeezeExcite: expectBoolean(options.useSe, 'useSe', false) ? rule.squeezeExcite![0]! : null,
    });
  }
}
