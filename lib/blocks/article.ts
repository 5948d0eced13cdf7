import type { OpOptions } from '../ops';
import { ReparameterizableBlock } from './block';
import { FAMILY } from './family';
import { type BlockOptions, keepsShape, resolveGeometry } from './geometry';
import { checkOptions } from './options';

/** Options of the article's blocks, under its names (in camel case). */
export interface ArticleBlockOptions
  extends Pick<BlockOptions, 'kernelSize' | 'stride' | 'groups' | 'deploy' | 'eps' | 'seed'> {}

const ARTICLE_OPTIONS = ['kernelSize', 'stride', 'groups', 'deploy', 'eps', 'seed'];

abstract class ArticleBlock extends ReparameterizableBlock {
  /** The article's name for `switchToDeploy`. */
  _switch_to_deploy(options: OpOptions = {}): void {
    this.switchToDeploy(options);
  }
}

/**
 * The article's ACNet: ReLU(KxK + BN + 1xK + BN + Kx1 + BN). Unlike the original its stride reaches the branches, its kernel
 * size too, and its deploy form keeps the groups; see docs/article-differences.md.
 */
export class ACNet extends ArticleBlock {
  /** @throws ERR_REPFUSE_INVALID_ARGUMENT */
  constructor(inputChannel: number, outputChannel: number, options: ArticleBlockOptions = {}) {
    checkOptions('ACNet', options, ARTICLE_OPTIONS);
    const block = { ...options, inChannels: inputChannel, outChannels: outputChannel };
    const geometry = resolveGeometry(block);
    const inPerGroup = inputChannel / geometry.groups;
    const [kh, kw] = geometry.kernel;
    super(
      {
        rule: FAMILY.articleAcnet.rule,
        branches: FAMILY.articleAcnet.branches(['brb_1x3', 'brb_3x1', 'brb_3x3']),
        convShapes: new Map([
          ['brb_1x3.conv', [outputChannel, inPerGroup, 1, kw]],
          ['brb_3x1.conv', [outputChannel, inPerGroup, kh, 1]],
          ['brb_3x3.conv', [outputChannel, inPerGroup, kh, kw]],
        ]),
        inChannels: inputChannel,
        outChannels: outputChannel,
        geometry,
        activation: 'relu',
        squeezeExcite: null,
        affine: true,
        eps: options.eps ?? 1e-5,
      },
      { deploy: options.deploy ?? false, seed: options.seed ?? 0 },
    );
  }
}

/**
 * The article's RepBlock: ReLU(3x3 + BN + 1x1 + BN + BN of the input). Unlike the original its stride reaches the branches,
 * the identity exists only where the shape is kept, and its deploy form keeps the groups; see docs/article-differences.md.
 */
export class RepBlock extends ArticleBlock {
  /** @throws ERR_REPFUSE_INVALID_ARGUMENT */
  constructor(inputChannel: number, outputChannel: number, options: ArticleBlockOptions = {}) {
    checkOptions('RepBlock', options, ARTICLE_OPTIONS);
    const block = { ...options, inChannels: inputChannel, outChannels: outputChannel };
    const geometry = resolveGeometry(block);
    const inPerGroup = inputChannel / geometry.groups;
    const names = ['brb_3x3', 'brb_1x1', 'brb_identity'];
    super(
      {
        rule: FAMILY.articleRepvgg.rule,
        branches: FAMILY.articleRepvgg.branches(keepsShape(block, geometry) ? names : names.slice(0, 2)),
        convShapes: new Map([
          ['brb_3x3.conv', [outputChannel, inPerGroup, ...geometry.kernel]],
          ['brb_1x1.conv', [outputChannel, inPerGroup, 1, 1]],
        ]),
        inChannels: inputChannel,
        outChannels: outputChannel,
        geometry,
        activation: 'relu',
        squeezeExcite: null,
        affine: true,
        eps: options.eps ?? 1e-5,
      },
      { deploy: options.deploy ?? false, seed: options.seed ?? 0 },
    );
  }
}
