import { ReparameterizableBlock } from './block';
import { FAMILY } from './family';
import { BLOCK_OPTIONS, type BlockOptions, resolveGeometry } from './geometry';
import { checkOptions } from './options';

export interface ACNetBlockOptions extends BlockOptions {
  /** Whether the BatchNorms have weight and bias. Default true. */
  readonly useAffine?: boolean | undefined;
  /** Activation after the sum; the authors' block has none. Default 'none'. */
  readonly activation?: 'none' | 'relu' | undefined;
}

/**
 * ACNet's asymmetric convolution block: KxK, Kx1 and 1xK convolutions, each with BN, summed.
 * Source: Ding et al., ACNet: Strengthening the Kernel Skeletons, ICCV 2019, section 3.2. Dilation and padding below K // 2 are
 * exact here (the authors' alignment fails for the first and crops for the second).
 */
export class ACNetBlock extends ReparameterizableBlock {
  /** @throws ERR_REPFUSE_INVALID_ARGUMENT */
  constructor(options: ACNetBlockOptions) {
    checkOptions('ACNetBlock', options, [...BLOCK_OPTIONS, 'useAffine', 'activation']);
    const geometry = resolveGeometry(options);
    const { inChannels, outChannels } = options;
    const inPerGroup = inChannels / geometry.groups;
    const [kh, kw] = geometry.kernel;
    super(
      {
        rule: FAMILY.acnet.rule,
        branches: FAMILY.acnet.branches(['square', 'ver', 'hor']),
        convShapes: new Map([
          ['square_conv', [outChannels, inPerGroup, kh, kw]],
          ['ver_conv', [outChannels, inPerGroup, kh, 1]],
          ['hor_conv', [outChannels, inPerGroup, 1, kw]],
        ]),
        inChannels,
        outChannels,
        geometry,
        activation: options.activation ?? 'none',
        squeezeExcite: null,
        affine: options.useAffine ?? true,
        eps: options.eps ?? 1e-5,
      },
      { deploy: options.deploy ?? false, seed: options.seed ?? 0 },
    );
  }
}
