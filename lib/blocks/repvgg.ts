import { ReparameterizableBlock } from './block';
import { FAMILY } from './family';
import { BLOCK_OPTIONS, type BlockOptions, keepsShape, resolveGeometry } from './geometry';
import { checkOptions } from './options';

export interface RepVGGBlockOptions extends BlockOptions {
  /** Squeeze-excite before the activation (RepVGG-D2se). Default false. */
  readonly useSe?: boolean | undefined;
  /** Squeeze-excite after the activation (RepVGGplus). Default false. */
  readonly usePostSe?: boolean | undefined;
  /** Key names: the authors' or timm's. Default 'authors'. */
  readonly naming?: 'authors' | 'timm' | undefined;
}

/**
 * RepVGG: KxK + BN, 1x1 + BN and, where the shape is kept, BN of the input itself; summed, then ReLU.
 * Source: Ding et al., RepVGG: Making VGG-style ConvNets Great Again, CVPR 2021, section 3.3.
 */
export class RepVGGBlock extends ReparameterizableBlock {
  /** @throws ERR_REPFUSE_INVALID_ARGUMENT */
  constructor(options: RepVGGBlockOptions) {
    checkOptions('RepVGGBlock', options, [...BLOCK_OPTIONS, 'useSe', 'usePostSe', 'naming']);
    const geometry = resolveGeometry(options);
    const { inChannels, outChannels, naming = 'authors' } = options;
    const rule = naming === 'timm' ? FAMILY.timmRepvgg : FAMILY.repvgg;
    const names =
      naming === 'timm'
        ? (['conv_kxk', 'conv_1x1', 'identity'] as const)
        : (['rbr_dense', 'rbr_1x1', 'rbr_identity'] as const);
    const inPerGroup = inChannels / geometry.groups;
    super(
      {
        rule: rule.rule,
        branches: rule.branches(keepsShape(options, geometry) ? names : names.slice(0, 2)),
        convShapes: new Map([
          [`${names[0]}.conv`, [outChannels, inPerGroup, ...geometry.kernel]],
          [`${names[1]}.conv`, [outChannels, inPerGroup, 1, 1]],
        ]),
        inChannels,
        outChannels,
        geometry,
        activation: 'relu',
        squeezeExcite: squeezeExciteOf(options),
        affine: true,
        eps: options.eps ?? 1e-5,
      },
      { deploy: options.deploy ?? false, seed: options.seed ?? 0 },
    );
  }
}

function squeezeExciteOf({ useSe = false, usePostSe = false, outChannels }: RepVGGBlockOptions) {
  if (useSe)
    return {
      reduce: 'se.down',
      expand: 'se.up',
      hidden: Math.floor(outChannels / 16),
      position: 'before-activation',
    } as const;
  if (usePostSe)
    return {
      reduce: 'post_se.down',
      expand: 'post_se.up',
      hidden: Math.floor(outChannels / 4),
      position: 'after-activation',
    } as const;
  return null;
}
