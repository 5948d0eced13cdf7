import { ReparameterizableBlock } from './block';
import { FAMILY } from './family';
import { BLOCK_OPTIONS, type BlockOptions, keepsShape, resolveGeometry } from './geometry';
import { checkOptions, expectInteger } from './options';

export interface MobileOneBlockOptions extends BlockOptions {
  /** Copies of the main branch. Default 1. */
  readonly numConvBranches?: number | undefined;
  /** Squeeze-excite before the activation. Default false. */
  readonly useSe?: boolean | undefined;
  /** Key names: Apple's or timm's. Default 'apple'. */
  readonly naming?: 'apple' | 'timm' | undefined;
}

/**
 * MobileOne: several KxK + BN, a 1x1 + BN if K > 1 and, where the shape is kept, BN of the input; summed, then ReLU.
 * Source: Vasu et al., MobileOne: An Improved One Millisecond Mobile Backbone, CVPR 2023, section 3.3.
 */
export class MobileOneBlock extends ReparameterizableBlock {
  /** @throws ERR_REPFUSE_INVALID_ARGUMENT */
  constructor(options: MobileOneBlockOptions) {
    checkOptions('MobileOneBlock', options, [...BLOCK_OPTIONS, 'numConvBranches', 'useSe', 'naming']);
    const geometry = resolveGeometry(options);
    const { inChannels, outChannels, naming = 'apple' } = options;
    const family = naming === 'timm' ? FAMILY.timmMobileone : FAMILY.mobileone;
    const [conv, scale, skip] =
      naming === 'timm'
        ? (['conv_kxk', 'conv_scale', 'identity'] as const)
        : (['rbr_conv', 'rbr_scale', 'rbr_skip'] as const);
    const copies = Array.from(
      { length: expectInteger(options.numConvBranches ?? 1, 'numConvBranches') },
      (_, i) => `${conv}.${i}`,
    );
    const hasScale = Math.max(...geometry.kernel) > 1;
    const inPerGroup = inChannels / geometry.groups;
    super(
      {
        rule: family.rule,
        branches: family.branches([
          ...copies,
          ...(hasScale ? [scale] : []),
          ...(keepsShape(options, geometry) ? [skip] : []),
        ]),
        convShapes: new Map([
          ...copies.map((name) => [`${name}.conv`, [outChannels, inPerGroup, ...geometry.kernel]] as const),
          [`${scale}.conv`, [outChannels, inPerGroup, 1, 1]],
        ]),
        inChannels,
        outChannels,
        geometry,
        activation: 'relu',
        squeezeExcite: options.useSe
          ? {
              reduce: 'se.reduce',
              expand: 'se.expand',
              hidden: Math.max(1, Math.floor(outChannels / 16)),
              position: 'before-activation',
            }
          : null,
        affine: true,
        eps: options.eps ?? 1e-5,
      },
      { deploy: options.deploy ?? false, seed: options.seed ?? 0 },
    );
  }
}
