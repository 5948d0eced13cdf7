import { RepfuseError } from '../errors';
import { ReparameterizableBlock } from './block';
import type { KernelShape } from './definition';
import { FAMILY } from './family';
import { BLOCK_OPTIONS, type BlockOptions, resolveGeometry } from './geometry';
import { checkOptions, expectInteger } from './options';

export interface DiverseBranchBlockOptions extends BlockOptions {
  /** Channels between the 1x1 and the KxK convolution. Default: inChannels, twice that for depthwise blocks. */
  readonly internalChannels?: number | undefined;
  /** Activation after the sum. Default 'none'. */
  readonly activation?: 'none' | 'relu' | undefined;
}

/**
 * Diverse Branch Block: KxK, 1x1, 1x1 then average pooling, 1x1 then KxK, each with its BatchNorms, summed. Depthwise blocks
 * (groups = outChannels) have no 1x1 branch and pool their input as it is.
 * Source: Ding et al., Diverse Branch Block, CVPR 2021, section 3.3.
 */
export class DiverseBranchBlock extends ReparameterizableBlock {
  /** @throws ERR_REPFUSE_INVALID_ARGUMENT */
  constructor(options: DiverseBranchBlockOptions) {
    checkOptions('DiverseBranchBlock', options, [...BLOCK_OPTIONS, 'internalChannels', 'activation']);
    const geometry = resolveGeometry(options);
    const { inChannels, outChannels } = options;
    const { groups, kernel } = geometry;
    if (geometry.dilation.some((dilation) => dilation !== 1)) {
      throw new RepfuseError(
        'ERR_REPFUSE_INVALID_ARGUMENT',
        `Expected dilation 1 for DiverseBranchBlock but received ${geometry.dilation}: pooling has none`,
      );
    }
    const depthwise = groups === outChannels;
    const internal = expectInteger(
      options.internalChannels ?? (depthwise ? 2 * inChannels : inChannels),
      'internalChannels',
    );
    if (internal % groups !== 0) {
      throw new RepfuseError(
        'ERR_REPFUSE_INVALID_ARGUMENT',
        `Expected a multiple of ${groups} groups for internalChannels but received ${internal}`,
      );
    }
    // The authors store the square 1x1 kernel as its difference to the identity, under another name.
    const first = internal === inChannels ? 'dbb_1x1_kxk.idconv1' : 'dbb_1x1_kxk.conv1';
    const inPerGroup = inChannels / groups;
    const shapes: (readonly [string, KernelShape])[] = [
      ['dbb_origin.conv', [outChannels, inPerGroup, ...kernel]],
      [first, [internal, inPerGroup, 1, 1]],
      ['dbb_1x1_kxk.conv2', [outChannels, internal / groups, ...kernel]],
      ...(depthwise
        ? []
        : ([
            ['dbb_1x1.conv', [outChannels, inPerGroup, 1, 1]],
            ['dbb_avg.conv', [outChannels, inPerGroup, 1, 1]],
          ] as const)),
    ];
    const names = ['dbb_origin', ...(depthwise ? [] : ['dbb_1x1']), 'dbb_avg', 'dbb_1x1_kxk'];
    const convs = new Map(shapes);
    super(
      {
        rule: FAMILY.dbb.rule,
        branches: FAMILY.dbb.branches(
          names,
          (key) => !/conv\d?\.weight$/.test(key) || convs.has(key.replace(/\.weight$/, '')),
        ),
        convShapes: convs,
        inChannels,
        outChannels,
        geometry,
        activation: options.activation ?? 'none',
        squeezeExcite: null,
        affine: true,
        eps: options.eps ?? 1e-5,
      },
      { deploy: options.deploy ?? false, seed: options.seed ?? 0 },
    );
  }
}
