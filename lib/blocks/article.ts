import { checkArgument, checkOptions } from '../arguments/check';
import { optionsOf } from '../arguments/schemas';
import type { FamilyRule } from '../families/rule';
import { ARTICLE_ACNET, ARTICLE_REPVGG } from '../families/rules/article';
import { type BranchCounts, resolveBranches } from '../families/stages';
import type { OpOptions } from '../ops';
import { CHANNELS } from '../ops/geometry';
import { ReparameterizableBlock } from './block';
import { BLOCK_OPTIONS, type BlockOptions, keepsShape, resolveGeometry } from './geometry';

/** Options of the article's blocks, under its names (in camel case). Its use_se did nothing and is left out. */
export type ArticleBlockOptions = Pick<BlockOptions, 'kernelSize' | 'stride' | 'groups' | 'deploy' | 'eps' | 'seed'>;

const { kernelSize, stride, groups, deploy, eps, seed } = BLOCK_OPTIONS;
const ARTICLE_OPTIONS = optionsOf<ArticleBlockOptions>()({ kernelSize, stride, groups, deploy, eps, seed });

/** What the article's two blocks share: ReLU(sum of branches), and the names. docs/article-differences.md tells the rest. */
export abstract class ArticleBlock extends ReparameterizableBlock {
  /** @internal */
  protected constructor(
    name: string,
    channels: readonly [inputChannel: number, outputChannel: number],
    given: ArticleBlockOptions,
    rule: FamilyRule,
    counts: BranchCounts,
  ) {
    const options = checkOptions(name, ARTICLE_OPTIONS, given);
    const inChannels = checkArgument('inputChannel', CHANNELS, channels[0]);
    const outChannels = checkArgument('outputChannel', CHANNELS, channels[1]);
    const block = { ...options, inChannels, outChannels };
    const geometry = resolveGeometry(block);
    const identity = keepsShape(block, geometry) ? (counts.identity ?? 0) : 0;
    super(block, geometry, { rule, branches: resolveBranches(rule, { ...counts, identity }), activation: 'relu' });
  }

  /** The article's name for `switchToDeploy`. */
  _switch_to_deploy(options: OpOptions = {}): void {
    this.switchToDeploy(options);
  }
}

/**
 * The article's ACNet: ReLU(1xK + BN + Kx1 + BN + KxK + BN). Unlike the original its stride and kernel size reach the branches,
 * and its deploy form keeps the groups; see docs/article-differences.md.
 */
export class ACNet extends ArticleBlock {
  /** @throws ERR_REPFUSE_INVALID_ARGUMENT */
  constructor(inputChannel: number, outputChannel: number, options: ArticleBlockOptions = {}) {
    super('ACNet', [inputChannel, outputChannel], options, ARTICLE_ACNET, { main: 1, vertical: 1, horizontal: 1 });
  }
}

/**
 * The article's RepBlock: ReLU(1x1 + BN + KxK + BN + BN of the input). Unlike the original its stride and kernel size reach the
 * branches, the identity exists only where the shape is kept, and its deploy form keeps the groups; see
 * docs/article-differences.md.
 */
export class RepBlock extends ArticleBlock {
  /** @throws ERR_REPFUSE_INVALID_ARGUMENT */
  constructor(inputChannel: number, outputChannel: number, options: ArticleBlockOptions = {}) {
    super('RepBlock', [inputChannel, outputChannel], options, ARTICLE_REPVGG, { main: 1, pointwise: 1, identity: 1 });
  }
}
