import { checkRequiredOptions } from '../arguments/check';
import { BOOLEAN, oneOf, optional, optionsOf } from '../arguments/schemas';
import { RepfuseError } from '../errors';
import type { FamilyRule } from '../families/rule';
import { REPVGG, TIMM_REPVGG } from '../families/rules/repvgg';
import { resolveBranches } from '../families/stages';
import { ReparameterizableBlock } from './block';
import { BLOCK_OPTIONS, type BlockOptions, keepsShape, resolveGeometry } from './geometry';

export interface RepVGGBlockOptions extends BlockOptions {
  /** Squeeze-excite before the activation (RepVGG-D2se). Default false. */
  readonly useSe?: boolean | undefined;
  /** Squeeze-excite after the activation (RepVGGplus), under the authors' names only. Default false. */
  readonly usePostSe?: boolean | undefined;
  /** Key names: the authors' or timm's. Default 'authors'. */
  readonly naming?: 'authors' | 'timm' | undefined;
}

const OPTIONS = optionsOf<RepVGGBlockOptions>()({
  ...BLOCK_OPTIONS,
  useSe: optional(BOOLEAN),
  usePostSe: optional(BOOLEAN),
  naming: optional(oneOf(['authors', 'timm'])),
});

/**
 * RepVGG: KxK + BN, 1x1 + BN and, where the shape is kept, BN of the input itself; summed, then ReLU.
 * Source: Ding et al., RepVGG: Making VGG-style ConvNets Great Again, CVPR 2021, section 3.3.
 */
export class RepVGGBlock extends ReparameterizableBlock {
  /** @throws ERR_REPFUSE_INVALID_ARGUMENT */
  constructor(given: RepVGGBlockOptions) {
    const options = checkRequiredOptions('RepVGGBlock', OPTIONS, given);
    const geometry = resolveGeometry(options);
    const rule = { authors: REPVGG, timm: TIMM_REPVGG }[options.naming ?? 'authors'];
    super(options, geometry, {
      rule,
      branches: resolveBranches(rule, { main: 1, pointwise: 1, identity: keepsShape(options, geometry) ? 1 : 0 }),
      activation: 'relu',
      squeezeExcite: squeezeExciteOf(options, rule),
    });
  }
}

function squeezeExciteOf(options: RepVGGBlockOptions, { family, squeezeExcite = [] }: FamilyRule) {
  const { useSe: before = false, usePostSe: after = false } = options;
  if (!before && !after) return null;
  const found = squeezeExcite.find(({ position }) => position === `${before ? 'before' : 'after'}-activation`);
  if (found === undefined || (before && after)) {
    throw new RepfuseError(
      'ERR_REPFUSE_INVALID_ARGUMENT',
      `Expected a squeeze-excite that ${family} has for useSe and usePostSe but received ${before} and ${after}`,
    );
  }
  return found;
}
